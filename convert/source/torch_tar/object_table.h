/// \file
/// The storages and tensors of a tar checkpoint, which lie outside of its pickle.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "convert/base/limits.h"
#include "convert/base/result.h"
#include "convert/source/torch/storage.h"

namespace weightfs {

/// Storages and tensors by key: decimal addresses, as one name space.
class TarObjects final : public StorageSource {
 public:
  explicit TarObjects(std::string file) : StorageSource(std::move(file)) {}

  /// Reads the member `storages`: pickle(count); per storage pickle((key, location, class)), int64 count,
  /// elements; then pickle(list of (key, root key, offset, count)), the views.
  /// \error kCorrupt and as pickle::Parse, naming `member`
  Status ReadStorages(const FilePtr& member, const Limits& limits);
  /// Reads the member `tensors`: pickle(count); per tensor pickle((key, storage key, class)), int32 rank, 4
  /// bytes, int64 sizes, int64 strides, int64 offset.
  /// \error kCorrupt, kLimitExceeded and as pickle::Parse, naming `member`
  Status ReadTensors(const FilePtr& member, const Limits& limits);

  Result<std::shared_ptr<const TorchStorage>> Find(const pickle::Node& persistent) override;
  const TorchTensor* FindTensor(const pickle::Node& persistent) const override;

  /// Bytes of the two members that are not elements.
  uint64_t metadata_bytes() const { return metadata_bytes_; }

 private:
  class Cursor;
  Status ReadStorage(const FilePtr& member, Cursor& cursor);
  Status AddView(const pickle::Node& view, std::string_view member);
  Status ReadTensor(Cursor& cursor, const Limits& limits);

  std::map<std::string, std::shared_ptr<const TorchStorage>, std::less<>> storages_;
  std::map<std::string, TorchTensor, std::less<>> tensors_;
  uint64_t metadata_bytes_ = 0;
};

}  // namespace weightfs
