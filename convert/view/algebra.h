/// \file
/// Index operations on views: which element of the source each served element is.
///
/// Every operation takes finished views and returns a finished view; nothing is read. Operations do not nest:
/// a result is again *pieces* (piece_map.h), each a box of the output fed by a strided map over one storage,
/// so the cost of a read does not depend on how a view was put together.
///
/// Laws, brute-forced against a dense evaluator in tests/unit/view/algebra_test.cc. `v[i]` is the element of
/// `v` at index tuple `i`; flat means row-major.
///   Reshape   flat(Reshape(v, s)) == flat(v)
///   Permute   Permute(v, p)[i_0 ..] == v[j] with j[p[k]] == i_k
///   Slice     Slice(v, a, b, s, n)[.., i_a, ..] == v[.., b + s * i_a, ..]
///   Concat    Concat(v.., a)[.., i_a, ..] == v_k[.., i_a - o_k, ..] where o_k is the sum of the extents
///   before v_k Repeat    Repeat(v, a, n)[.., i_a, ..] == v[.., i_a / n, ..]
/// and each operation commutes with casts, sign flips, byte swaps, and (as sums are taken element by element)
/// Sum. Two views are equal (`SameElements`) exactly when every element of one is the same stored element of
/// the same storage as that of the other, in whatever way the two were put together.
///
/// Errors, all of them when the view is built:
/// \error kInvalidArgument  an axis, range, shape or order that does not fit the view; the message has the
/// numbers
/// \error kUnsupported      an index operation on elements narrower than a byte
/// \error kLimitExceeded    more than `Limits::view_pieces_max` pieces, or a size that does not fit 64 bits
/// Thread-safe: views are immutable values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "convert/base/dtype.h"
#include "convert/base/result.h"
#include "convert/view/tensor_view.h"

namespace weightfs {

/// The same elements in row-major order under another shape. Free: nothing but the shape changes.
/// \param shape  with as many elements as `view`
Result<TensorView> Reshape(const TensorView& view, Shape shape);

/// Axis `order[k]` of `view` becomes axis k.
/// \param order  every axis once
Result<TensorView> Permute(const TensorView& view, std::span<const size_t> order);

/// Axes `a` and `b` change places.
Result<TensorView> Transpose(const TensorView& view, size_t a, size_t b);

/// `count` indices of `axis`: begin, begin + step, ...: a gather of whole rows by an affine map.
/// \param step  may be negative, or zero when `count` is at most 1; every index must lie within the axis
Result<TensorView> Slice(const TensorView& view, size_t axis, uint64_t begin, int64_t step, uint64_t count);

/// Indices `[begin, begin + count)` of `axis`.
Result<TensorView> Narrow(const TensorView& view, size_t axis, uint64_t begin, uint64_t count);

/// Index `index` of `axis`; the axis goes away.
Result<TensorView> Select(const TensorView& view, size_t axis, uint64_t index);

/// The indices of `axis` in reverse order.
Result<TensorView> Flip(const TensorView& view, size_t axis);

/// Parts of `axis` in order, `extents[k]` indices each.
/// \param extents  their sum is the extent of the axis
Result<std::vector<TensorView>> Split(const TensorView& view, size_t axis, std::span<const uint64_t> extents);

/// `views` one after the other along `axis`.
/// \param views  at least one; equal in dtype, element operations and all extents but that of `axis`
Result<TensorView> Concat(std::span<const TensorView> views, size_t axis);

/// `views` as the indices of a new axis `axis`.
/// \param views  at least one; equal in dtype, element operations and shape
Result<TensorView> Stack(std::span<const TensorView> views, size_t axis);

/// `views` in turn along `axis`: index `i * views.size() + k` of the result is index i of `views[k]`.
/// \param views  as Stack
Result<TensorView> Interleave(std::span<const TensorView> views, size_t axis);

/// Every index of `axis` `count` times, one after the other.
Result<TensorView> Repeat(const TensorView& view, size_t axis, uint64_t count);

/// `before` and `after` more indices at the ends of `axis`, every element of them `value`.
/// \param value  as Fill
Result<TensorView> Pad(const TensorView& view, size_t axis, uint64_t before, uint64_t after, double value);

/// A tensor whose elements all are `value`.
/// \param value  exactly representable in `dtype`, which is bool, an integer type, f16, bf16, f32 or f64
/// \error kInvalidArgument  it is not
Result<TensorView> Fill(Shape shape, DType dtype, double value);

/// The sum of `views`, element by element in order of the list, in their own dtype, rounded after every
/// addition as torch rounds; `Mean` divides the sum by their number in that dtype.
/// \param views  at least one; equal in castable dtype, element operations and shape; none of them a sum
/// already
Result<TensorView> Sum(std::span<const TensorView> views);
Result<TensorView> Mean(std::span<const TensorView> views);

/// Whether the views are equal by the law above, and their shapes, dtypes and element operations too.
/// Exact for views of any construction; takes time in the number of pieces.
bool SameElements(const TensorView& a, const TensorView& b);

}  // namespace weightfs
