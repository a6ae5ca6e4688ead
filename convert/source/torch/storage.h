/// \file
/// What torch calls storages: element types, storage classes, persistent ids, and where the bytes are.
///
/// Follows docs/formats/torch.md, "Storages". Shared by the three torch containers.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "convert/base/dtype.h"
#include "convert/base/result.h"
#include "convert/io/random_access_file.h"
#include "convert/pickle/value.h"

namespace weightfs {

/// An element type of torch, those that safetensors lacks included.
struct TorchDType {
  std::string_view name;       ///< Without the `torch.` prefix.
  uint32_t element_bytes = 1;  ///< Of one torch element: a pair for float4_e2m1fn_x2, a group for quint2x4.
  std::optional<DType> dtype;  ///< Nothing when safetensors cannot carry it.
  uint8_t swap_bytes = 1;      ///< Width of the groups that a big-endian file stores reversed.
};

/// The type that torch pickles as the global `torch.NAME` (aliases such as `half` too), or nullptr.
/// \param dotted  with the `torch.` prefix
const TorchDType* TorchDTypeFromGlobal(std::string_view dotted);

/// A storage class named by a pickle.
struct StorageClass {
  const TorchDType* dtype = nullptr;  ///< uint8 for untyped storages, as torch has it.
  bool untyped = false;
};

/// The storage class that the global `dotted` names: `torch.FloatStorage`, `torch.cuda.FloatStorage`,
/// `torch.storage.UntypedStorage`, ...; nothing when it is not one.
std::optional<StorageClass> StorageClassFromGlobal(std::string_view dotted);

/// A persistent id of a storage, decoded.
struct StorageId {
  StorageClass storage_class;
  std::string key;             ///< As text: a number, which torch takes too, is written in decimal.
  bool meta = false;           ///< The location is `meta`: there are no bytes.
  uint64_t element_count = 0;  ///< Of the class's type; bytes for untyped storages.
  uint64_t size_bytes = 0;
  pickle::NodePtr view_metadata = nullptr;  ///< Sixth item, when `item_count` is 6; never None.
};

/// Decodes `persistent`, a kPersistent node whose id is ("storage", class, key, location, element count[,
/// view]).
/// \param item_count  5 in zip files, 6 in legacy files
/// \error kCorrupt      the tuple has another length or other types, or the size does not fit 64 bits
/// \error kUnsupported  a storage class that is not known
Result<StorageId> DecodeStorageId(const pickle::Node& persistent, size_t item_count);

/// A storage as tensors see it. Immutable.
struct TorchStorage {
  FilePtr bytes;  ///< Exactly the bytes that tensors may use; nullptr for a meta storage.
  StorageClass storage_class;
  uint64_t size_bytes = 0;
  std::string label;  ///< For messages and manifests: "data/0", a storage key.
};

/// A tensor that a container describes outside of its pickle (tar files).
struct TorchTensor {
  std::shared_ptr<const TorchStorage> storage;
  uint64_t offset = 0;  ///< In elements.
  std::vector<uint64_t> shape;
  std::vector<uint64_t> strides;  ///< In elements.
};

/// Finds storages by persistent id: what a container provides to the rebuilding of tensors. Used by one
/// thread. Messages do not name the file: who asks for a tensor puts the file and the tensor's name before
/// them.
class StorageSource {
 public:
  virtual ~StorageSource() = default;
  StorageSource(const StorageSource&) = delete;
  StorageSource& operator=(const StorageSource&) = delete;

  /// The storage that a kPersistent node stands for. Equal keys give the same storage.
  /// \error kCorrupt, kUnsupported  as DecodeStorageId; no such storage; bytes that are not there; a key that
  /// has
  ///                                two sizes or two element types
  virtual Result<std::shared_ptr<const TorchStorage>> Find(const pickle::Node& persistent) = 0;

  /// The tensor that a kPersistent node stands for, or nullptr: only tar files have these.
  virtual const TorchTensor* FindTensor(const pickle::Node& persistent) const;

  /// Name of the checkpoint file for messages.
  const std::string& file() const { return file_; }
  /// Elements are stored with their most significant byte first.
  bool big_endian() const { return big_endian_; }

 protected:
  explicit StorageSource(std::string file, bool big_endian = false)
      : file_(std::move(file)), big_endian_(big_endian) {}

 private:
  std::string file_;
  bool big_endian_;
};

/// The storages of one file by key, each made when it is first asked for.
class StorageTable {
 public:
  using Make = std::function<Result<std::shared_ptr<const TorchStorage>>()>;

  /// The storage `id.key`, made by `make` at first.
  /// \error kCorrupt  the key was used before with another size, or another element type and bytes
  /// \error whatever `make` returns
  Result<std::shared_ptr<const TorchStorage>> Get(const StorageId& id, const Make& make);

 private:
  std::map<std::string, std::shared_ptr<const TorchStorage>, std::less<>> storages_;
};

}  // namespace weightfs
