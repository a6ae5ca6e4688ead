/// \file
/// A tensor to serve: a shape, a dtype, and a way to produce any byte range of its row-major little-endian bytes.
///
/// Element operations apply in this order: byte swap (big-endian storages), sign flips (torch's lazy `conj` and
/// `neg`), cast.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "convert/base/dtype.h"
#include "convert/io/block_cache.h"
#include "convert/io/random_access_file.h"
#include "convert/view/layout.h"

namespace weightfs {

using Shape = std::vector<uint64_t>;

/// Which sign bits of the stored elements are flipped.
enum class SignFlip : uint8_t { kNone, kAll, kImaginary, kReal };

/// What is done to stored elements before the cast.
struct ElementOps {
  uint8_t swap_bytes = 1;  ///< Width of the groups whose bytes are reversed: 1 (none), 2, 4 or 8.
  SignFlip sign_flip = SignFlip::kNone;
  friend bool operator==(const ElementOps&, const ElementOps&) = default;
};

/// Bytes of the unit (layout.h) that elements of `dtype` are moved in: one element, or one byte of packed elements
/// for the types narrower than a byte. A 4-bit pair may be strided; 6-bit elements lie packed, so their units are
/// just bytes.
uint32_t UnitBytes(DType dtype);

/// An immutable value, cheap enough to copy; safe to share between threads. Shares ownership of its storage.
class TensorView {
 public:
  TensorView() = default;

  /// A view of `storage` through `layout`.
  /// \param shape  logical shape: elements, so for 4-bit types twice the packed bytes
  /// \error kCorrupt          the layout reaches past the storage, its units are not the shape's elements, or the
  ///                          elements do not fill whole bytes
  /// \error kInvalidArgument  element operations that do not suit the dtype
  static Result<TensorView> Make(FilePtr storage, Layout layout, DType dtype, Shape shape, ElementOps ops = {});

  /// This view with elements cast to `to`, rounded as torch rounds (docs/semantics.md, "Casts"). The identity when
  /// the dtypes are equal. A cast of a cast is refused: cast once, from the stored type.
  /// \error kInvalidArgument  either type is not castable (dtype.h), or this is a cast already
  /// \error kLimitExceeded    the size does not fit 64 bits
  Result<TensorView> Cast(DType to) const;

  const Shape& shape() const { return shape_; }
  DType dtype() const { return dtype_; }                 ///< As served.
  DType stored_dtype() const { return stored_dtype_; }   ///< As stored.
  uint64_t element_count() const { return element_count_; }
  uint64_t size_bytes() const { return size_bytes_; }    ///< As served.
  uint64_t stored_size_bytes() const;                    ///< Of its elements in the stored dtype.
  const FilePtr& storage() const { return storage_; }
  const Layout& layout() const { return layout_; }
  const ElementOps& ops() const { return ops_; }

  /// The bytes of the view are bytes of the storage: the range of them. Nothing when anything is done to them.
  std::optional<ByteRange> IdentityRange() const;

  /// Operations from storage to served bytes for people and manifests, in order:
  /// "byteswap", "neg", "conj", "strided", "cast f16 to f32". Empty for identity.
  std::vector<std::string> Operations() const;

  /// Both views serve the same stored elements in the same order, through the same operations (an alias). Shapes may
  /// differ. A view without elements is no alias.
  bool IsAliasOf(const TensorView& other) const;

 private:
  FilePtr storage_;
  Layout layout_;
  Shape shape_;
  ElementOps ops_;
  DType dtype_ = DType::kU8;
  DType stored_dtype_ = DType::kU8;
  uint64_t element_count_ = 0;
  uint64_t size_bytes_ = 0;
};

}  // namespace weightfs
