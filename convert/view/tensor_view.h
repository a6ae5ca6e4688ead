/// \file
/// A tensor to serve: a shape, a dtype, and a way to produce any byte range of its row-major little-endian
/// bytes.
///
/// Element operations apply in this order: byte swap (big-endian storages), sign flips (torch's lazy `conj`
/// and `neg`), a sum over views, cast, scale, add. Arithmetic is done in the served type, each step rounded
/// as torch rounds it on a CPU. Index operations are in algebra.h.
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
#include "convert/view/piece_map.h"

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

/// Arithmetic on elements after the cast, in the served type.
struct Arithmetic {
  std::optional<double> scale;  ///< Every element times this,
  std::optional<double> add;    ///< then plus this.
  bool is_none() const { return !scale && !add; }
  friend bool operator==(const Arithmetic&, const Arithmetic&) = default;
};

/// What a view is made of that is not one layout over one storage.
struct ViewPieces {
  /// One: the pieces of the view. Several: views whose elements are added up.
  std::vector<PieceMap> terms;
  bool is_mean = false;  ///< The sum is divided by the number of terms.
};

/// Bytes of the unit (layout.h) that elements of `dtype` are moved in: one element, or one byte of packed
/// elements for the types narrower than a byte. A 4-bit pair may be strided; 6-bit elements lie packed, so
/// their units are just bytes.
uint32_t UnitBytes(DType dtype);

/// An immutable value, cheap enough to copy; safe to share between threads. Shares ownership of its storage.
class TensorView {
 public:
  TensorView() = default;

  /// A view of `storage` through `layout`.
  /// \param shape  logical shape: elements, so for 4-bit types twice the packed bytes
  /// \error kCorrupt          the layout reaches past the storage, its units are not the shape's elements, or
  /// the
  ///                          elements do not fill whole bytes
  /// \error kInvalidArgument  element operations that do not suit the dtype
  static Result<TensorView> Make(FilePtr storage, Layout layout, DType dtype, Shape shape,
                                 ElementOps ops = {});

  /// This view with elements cast to `to`, rounded as torch rounds (docs/semantics.md, "Casts"). The identity
  /// when the dtypes are equal. A cast of a cast takes its place: elements are cast once, from the stored
  /// type.
  /// \error kInvalidArgument  either type is not castable (dtype.h)
  /// \error kLimitExceeded    the size does not fit 64 bits
  Result<TensorView> Cast(DType to) const;

  /// A view of pieces: one map, or several whose elements are added up. Becomes a view of one layout where
  /// the pieces are that.
  /// \param terms  normalized, of as many units of the size that `dtype` needs as `shape` has elements, each
  /// within
  ///               its storage; several only for castable types without element operations
  /// \error kLimitExceeded  the size does not fit 64 bits
  static Result<TensorView> FromPieces(ViewPieces terms, DType dtype, Shape shape, ElementOps ops = {});

  /// The same elements under another shape. \pre `shape` has as many elements (algebra.h, Reshape, checks)
  TensorView WithShape(Shape shape) const {
    TensorView view = *this;
    view.shape_ = std::move(shape);
    return view;
  }

  /// This view with every element multiplied by `factor`, after the cast (whenever that is put on).
  /// \error kInvalidArgument  the dtype is not castable, or arithmetic was put on already that this would
  /// follow
  Result<TensorView> Scale(double factor) const;
  /// This view with `term` added to every element, after the cast and the scaling.
  /// \error kInvalidArgument  the dtype is not castable, or a term was added already
  Result<TensorView> AddScalar(double term) const;

  const Shape& shape() const { return shape_; }
  DType dtype() const { return dtype_; }                ///< As served.
  DType stored_dtype() const { return stored_dtype_; }  ///< As stored.
  uint64_t element_count() const { return element_count_; }
  uint64_t size_bytes() const { return size_bytes_; }  ///< As served.
  /// Units (layout.h) of the elements as stored.
  uint64_t element_units() const { return stored_size_bytes() / UnitBytes(stored_dtype_); }
  uint64_t stored_size_bytes() const;  ///< Of its elements in the stored dtype.
  /// Of a view that is one layout over one storage; nullptr and empty for a view of pieces.
  const FilePtr& storage() const { return storage_; }
  const Layout& layout() const { return layout_; }
  /// Of a view that is not; else nullptr.
  const ViewPieces* pieces() const { return pieces_.get(); }
  /// The same for every view with elements: its terms (one, mostly) as piece maps.
  std::vector<PieceMap> Terms() const;
  const ElementOps& ops() const { return ops_; }
  const Arithmetic& arithmetic() const { return arithmetic_; }

  /// What reads of the view wait for (RandomAccessFile::wait_group): the group of its storages, `several`
  /// when they have different ones, nullptr when there is nothing to wait for.
  const void* wait_group(const void* several) const;

  /// The bytes of the view are bytes of the storage: the range of them. Nothing when anything is done to
  /// them.
  std::optional<ByteRange> IdentityRange() const;

  /// Operations from storage to served bytes for people and manifests, in order:
  /// "byteswap", "neg", "conj", "strided", "4 pieces", "sum of 2", "mean of 2", "cast f16 to f32", "times
  /// 0.5", "plus -1". Empty for identity.
  std::vector<std::string> Operations() const;

  /// Both views serve the same stored elements in the same order, through the same operations (an alias).
  /// Shapes may differ. A view without elements is no alias.
  bool IsAliasOf(const TensorView& other) const;

 private:
  FilePtr storage_;
  Layout layout_;
  std::shared_ptr<const ViewPieces> pieces_;
  Shape shape_;
  ElementOps ops_;
  Arithmetic arithmetic_;
  DType dtype_ = DType::kU8;
  DType stored_dtype_ = DType::kU8;
  uint64_t element_count_ = 0;
  uint64_t size_bytes_ = 0;
};

}  // namespace weightfs
