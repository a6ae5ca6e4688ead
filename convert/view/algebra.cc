#include "convert/view/algebra.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "convert/base/bytes.h"

namespace weightfs {
namespace {

constexpr uint64_t kPiecesMax = Limits{}.view_pieces_max;

std::string ShapeText(const Shape& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

std::unexpected<Error> FailArgument(std::string message) {
  return Fail(ErrorCode::kInvalidArgument, std::move(message));
}

Status CheckAxis(const TensorView& view, size_t axis) {
  if (axis < view.shape().size()) return {};
  return FailArgument(fmt::format("axis {} of a tensor of shape {}; expected one below {}", axis,
                                  ShapeText(view.shape()), view.shape().size()));
}

/// Index operations move whole bytes.
Status CheckWholeBytes(const TensorView& view) {
  if (BitWidth(view.stored_dtype()) >= 8) return {};
  return Fail(
      ErrorCode::kUnsupported,
      fmt::format("an index operation on {}, whose elements are narrower than a byte; expected a type of "
                  "whole bytes",
                  SafetensorsName(view.stored_dtype())));
}

/// The product of the extents of the axes after `axis`. \pre the shape has no extent 0
uint64_t InnerOf(const Shape& shape, size_t axis) {
  uint64_t inner = 1;
  for (size_t i = axis + 1; i < shape.size(); ++i) inner *= shape[i];
  return inner;
}

/// A view without elements: nothing of its storage is ever read.
Result<TensorView> Empty(DType dtype, Shape shape, ElementOps ops) {
  WEIGHTFS_TRY(Layout layout, Layout::Contiguous(0, UnitBytes(dtype), 0));
  return TensorView::Make(MakeMemoryFile("", "nothing"), std::move(layout), dtype, std::move(shape), ops);
}

/// Puts the cast and the arithmetic of `like` on a view of its stored elements.
Result<TensorView> Finish(TensorView view, const TensorView& like) {
  WEIGHTFS_TRY(view, view.Cast(like.dtype()));
  if (like.arithmetic().scale) {
    WEIGHTFS_TRY(view, view.Scale(*like.arithmetic().scale));
  }
  if (like.arithmetic().add) {
    WEIGHTFS_TRY(view, view.AddScalar(*like.arithmetic().add));
  }
  return view;
}

/// Applies `change` to every term of `view` and gives the result `shape`.
template <typename Change>
Result<TensorView> Map(const TensorView& view, Shape shape, const Change& change) {
  WEIGHTFS_CHECK(CheckWholeBytes(view));
  const bool is_empty = std::ranges::find(shape, 0u) != shape.end();
  if (is_empty || view.element_count() == 0) {
    WEIGHTFS_TRY(TensorView empty, Empty(view.stored_dtype(), std::move(shape), view.ops()));
    return Finish(std::move(empty), view);
  }
  ViewPieces pieces{view.Terms(), view.pieces() != nullptr && view.pieces()->is_mean};
  for (PieceMap& term : pieces.terms) {
    WEIGHTFS_CHECK(change(term));
    term.Normalize();
  }
  WEIGHTFS_TRY(TensorView mapped,
               TensorView::FromPieces(std::move(pieces), view.stored_dtype(), std::move(shape), view.ops()));
  return Finish(std::move(mapped), view);
}

Status CheckAlike(std::span<const TensorView> views, std::string_view what) {
  if (views.empty()) return FailArgument(fmt::format("{} of no tensors; expected at least one", what));
  const TensorView& first = views.front();
  for (const TensorView& view : views) {
    if (view.stored_dtype() != first.stored_dtype() || view.dtype() != first.dtype())
      return FailArgument(fmt::format("{} of {} and {}; expected one dtype", what,
                                      SafetensorsName(first.stored_dtype()),
                                      SafetensorsName(view.stored_dtype())));
    if (view.ops() != first.ops() || view.arithmetic() != first.arithmetic())
      return FailArgument(
          fmt::format("{} of tensors with different element operations ({}; {}); expected the same", what,
                      fmt::join(first.Operations(), ", "), fmt::join(view.Operations(), ", ")));
  }
  return {};
}

Status CheckShapes(std::span<const TensorView> views, size_t but_axis, std::string_view what) {
  const Shape& first = views.front().shape();
  for (const TensorView& view : views) {
    bool fits = view.shape().size() == first.size();
    for (size_t i = 0; fits && i < first.size(); ++i) fits = i == but_axis || view.shape()[i] == first[i];
    if (!fits)
      return FailArgument(fmt::format(
          "{} of shapes {} and {}; expected equal extents{}", what, ShapeText(first), ShapeText(view.shape()),
          but_axis < first.size() ? fmt::format(" but of axis {}", but_axis) : ""));
  }
  return {};
}

/// Concatenates term by term. \pre alike, of fitting shapes, none without elements
Result<TensorView> ConcatTerms(std::span<const TensorView> views, size_t axis, Shape shape) {
  const TensorView& first = views.front();
  const size_t term_count = first.Terms().size();
  const bool is_mean = first.pieces() != nullptr && first.pieces()->is_mean;
  std::vector<std::vector<PieceMap>> columns(term_count);
  std::vector<uint64_t> extents;
  for (const TensorView& view : views) {
    std::vector<PieceMap> terms = view.Terms();
    if (terms.size() != term_count || is_mean != (view.pieces() != nullptr && view.pieces()->is_mean))
      return Fail(ErrorCode::kUnsupported,
                  "a concat of sums of different numbers of tensors; expected equal ones");
    for (size_t i = 0; i < term_count; ++i) columns[i].push_back(std::move(terms[i]));
    extents.push_back(view.shape()[axis]);
  }
  ViewPieces pieces{{}, is_mean};
  for (std::vector<PieceMap>& column : columns) {
    WEIGHTFS_TRY(PieceMap joined,
                 PieceMap::Concat(std::move(column), extents, InnerOf(first.shape(), axis), kPiecesMax));
    joined.Normalize();
    pieces.terms.push_back(std::move(joined));
  }
  WEIGHTFS_TRY(TensorView view, TensorView::FromPieces(std::move(pieces), first.stored_dtype(),
                                                       std::move(shape), first.ops()));
  return Finish(std::move(view), first);
}

Result<TensorView> AddUp(std::span<const TensorView> views, bool is_mean) {
  const std::string_view what = is_mean ? "a mean" : "a sum";
  WEIGHTFS_CHECK(CheckAlike(views, what));
  WEIGHTFS_CHECK(CheckShapes(views, SIZE_MAX, what));
  const TensorView& first = views.front();
  if (!IsCastable(first.stored_dtype()))
    return FailArgument(
        fmt::format("{} of {}; expected f64, f32, f16 or bf16", what, SafetensorsName(first.stored_dtype())));
  if (first.ops() != ElementOps{} || !first.arithmetic().is_none() || first.dtype() != first.stored_dtype())
    return Fail(ErrorCode::kUnsupported,
                fmt::format("{} of tensors with element operations ({}); expected them as stored", what,
                            fmt::join(first.Operations(), ", ")));
  if (views.size() == 1 || first.element_count() == 0) return first;
  ViewPieces pieces{{}, is_mean};
  for (const TensorView& view : views) {
    std::vector<PieceMap> terms = view.Terms();
    if (terms.size() > 1) return FailArgument(fmt::format("{} of sums; expected plain tensors", what));
    pieces.terms.push_back(std::move(terms[0]));
  }
  return TensorView::FromPieces(std::move(pieces), first.stored_dtype(), first.shape());
}

}  // namespace

Result<TensorView> Reshape(const TensorView& view, Shape shape) {
  const std::optional<uint64_t> count = CheckedProduct(shape);
  if (!count || *count != view.element_count())
    return FailArgument(fmt::format("a tensor of shape {} as shape {}; expected as many elements",
                                    ShapeText(view.shape()), ShapeText(shape)));
  return view.WithShape(std::move(shape));
}

Result<TensorView> Permute(const TensorView& view, std::span<const size_t> order) {
  std::vector<size_t> sorted(order.begin(), order.end());
  std::ranges::sort(sorted);
  bool is_order = order.size() == view.shape().size();
  for (size_t i = 0; is_order && i < sorted.size(); ++i) is_order = sorted[i] == i;
  if (!is_order)
    return FailArgument(fmt::format("axes [{}] of a tensor of shape {}; expected every axis once",
                                    fmt::join(order, ", "), ShapeText(view.shape())));
  Shape shape;
  for (const size_t axis : order) shape.push_back(view.shape()[axis]);
  return Map(view, std::move(shape),
             [&](PieceMap& map) { return map.Permute(view.shape(), order, kPiecesMax); });
}

Result<TensorView> Transpose(const TensorView& view, size_t a, size_t b) {
  WEIGHTFS_CHECK(CheckAxis(view, a));
  WEIGHTFS_CHECK(CheckAxis(view, b));
  std::vector<size_t> order(view.shape().size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::swap(order[a], order[b]);
  return Permute(view, order);
}

Result<TensorView> Slice(const TensorView& view, size_t axis, uint64_t begin, int64_t step, uint64_t count) {
  WEIGHTFS_CHECK(CheckAxis(view, axis));
  const uint64_t extent = view.shape()[axis];
  const __int128 last =
      static_cast<__int128>(begin) + static_cast<__int128>(step) * (count == 0 ? 0 : count - 1);
  const bool fits = count == 0 ? begin <= extent
                               : begin < extent && last >= 0 && last < static_cast<__int128>(extent) &&
                                     (step != 0 || count == 1);
  if (!fits)
    return FailArgument(
        fmt::format("{} indices from {} by {} of axis {} of a tensor of shape {}; expected indices "
                    "from 0 to {}",
                    count, begin, step, axis, ShapeText(view.shape()), extent == 0 ? 0 : extent - 1));
  Shape shape = view.shape();
  shape[axis] = count;
  return Map(view, std::move(shape), [&](PieceMap& map) {
    return map.Slice(InnerOf(view.shape(), axis), extent, begin, step, count, kPiecesMax);
  });
}

Result<TensorView> Narrow(const TensorView& view, size_t axis, uint64_t begin, uint64_t count) {
  return Slice(view, axis, begin, 1, count);
}

Result<TensorView> Select(const TensorView& view, size_t axis, uint64_t index) {
  WEIGHTFS_TRY(const TensorView row, Slice(view, axis, index, 1, 1));
  Shape shape = row.shape();
  shape.erase(shape.begin() + static_cast<ptrdiff_t>(axis));
  return Reshape(row, std::move(shape));
}

Result<TensorView> Flip(const TensorView& view, size_t axis) {
  WEIGHTFS_CHECK(CheckAxis(view, axis));
  const uint64_t extent = view.shape()[axis];
  return Slice(view, axis, extent == 0 ? 0 : extent - 1, -1, extent);
}

Result<std::vector<TensorView>> Split(const TensorView& view, size_t axis,
                                      std::span<const uint64_t> extents) {
  WEIGHTFS_CHECK(CheckAxis(view, axis));
  std::optional<uint64_t> total = 0;
  for (const uint64_t extent : extents) total = total ? CheckedAdd(*total, extent) : std::nullopt;
  if (total != view.shape()[axis])
    return FailArgument(fmt::format("parts of [{}] of axis {} of a tensor of shape {}; expected {} in all",
                                    fmt::join(extents, ", "), axis, ShapeText(view.shape()),
                                    view.shape()[axis]));
  std::vector<TensorView> parts;
  uint64_t begin = 0;
  for (const uint64_t extent : extents) {
    WEIGHTFS_TRY(TensorView part, Narrow(view, axis, begin, extent));
    parts.push_back(std::move(part));
    begin += extent;
  }
  return parts;
}

Result<TensorView> Concat(std::span<const TensorView> views, size_t axis) {
  WEIGHTFS_CHECK(CheckAlike(views, "a concat"));
  WEIGHTFS_CHECK(CheckAxis(views.front(), axis));
  WEIGHTFS_CHECK(CheckShapes(views, axis, "a concat"));
  WEIGHTFS_CHECK(CheckWholeBytes(views.front()));
  std::optional<uint64_t> extent = 0;
  std::vector<TensorView> filled;
  for (const TensorView& view : views) {
    extent = extent ? CheckedAdd(*extent, view.shape()[axis]) : std::nullopt;
    if (view.element_count() > 0) filled.push_back(view);
  }
  Shape shape = views.front().shape();
  shape[axis] = extent.value_or(0);
  if (!extent || !CheckedProduct(shape))
    return Fail(ErrorCode::kLimitExceeded,
                "a concat whose size does not fit 64 bits; expected a smaller one");
  if (filled.empty()) {
    WEIGHTFS_TRY(TensorView empty,
                 Empty(views.front().stored_dtype(), std::move(shape), views.front().ops()));
    return Finish(std::move(empty), views.front());
  }
  if (filled.size() == 1) return filled.front();
  return ConcatTerms(filled, axis, std::move(shape));
}

Result<TensorView> Stack(std::span<const TensorView> views, size_t axis) {
  WEIGHTFS_CHECK(CheckAlike(views, "a stack"));
  WEIGHTFS_CHECK(CheckShapes(views, SIZE_MAX, "a stack"));
  if (axis > views.front().shape().size())
    return FailArgument(fmt::format("a stack along axis {} of tensors of shape {}; expected at most {}", axis,
                                    ShapeText(views.front().shape()), views.front().shape().size()));
  std::vector<TensorView> rows;
  for (const TensorView& view : views) {
    Shape shape = view.shape();
    shape.insert(shape.begin() + static_cast<ptrdiff_t>(axis), 1);
    WEIGHTFS_TRY(TensorView row, Reshape(view, std::move(shape)));
    rows.push_back(std::move(row));
  }
  return Concat(rows, axis);
}

Result<TensorView> Interleave(std::span<const TensorView> views, size_t axis) {
  WEIGHTFS_CHECK(CheckAlike(views, "an interleave"));
  WEIGHTFS_CHECK(CheckAxis(views.front(), axis));
  WEIGHTFS_TRY(const TensorView stacked, Stack(views, axis + 1));
  Shape shape = views.front().shape();
  const std::optional<uint64_t> extent = CheckedMultiply(shape[axis], views.size());
  if (!extent) return Fail(ErrorCode::kLimitExceeded, "an interleave whose size does not fit 64 bits");
  shape[axis] = *extent;
  return Reshape(stacked, std::move(shape));
}

Result<TensorView> Repeat(const TensorView& view, size_t axis, uint64_t count) {
  WEIGHTFS_CHECK(CheckAxis(view, axis));
  Shape shape = view.shape();
  const std::optional<uint64_t> extent = CheckedMultiply(shape[axis], count);
  if (extent) shape[axis] = *extent;
  const std::optional<uint64_t> elements = extent ? CheckedProduct(shape) : std::nullopt;
  if (!elements)
    return Fail(ErrorCode::kLimitExceeded,
                fmt::format("axis {} of a tensor of shape {} repeated {} times does not fit 64 bits", axis,
                            ShapeText(view.shape()), count));
  return Map(view, std::move(shape),
             [&](PieceMap& map) { return map.Repeat(InnerOf(view.shape(), axis), count, kPiecesMax); });
}

Result<TensorView> Pad(const TensorView& view, size_t axis, uint64_t before, uint64_t after, double value) {
  WEIGHTFS_CHECK(CheckAxis(view, axis));
  if (view.dtype() != view.stored_dtype() || view.ops() != ElementOps{} || !view.arithmetic().is_none())
    return Fail(ErrorCode::kUnsupported,
                fmt::format("padding of a tensor with element operations ({}); expected it as stored",
                            fmt::join(view.Operations(), ", ")));
  Shape head = view.shape(), tail = view.shape();
  head[axis] = before;
  tail[axis] = after;
  WEIGHTFS_TRY(const TensorView left, Fill(std::move(head), view.dtype(), value));
  WEIGHTFS_TRY(const TensorView right, Fill(std::move(tail), view.dtype(), value));
  const TensorView parts[] = {left, view, right};
  return Concat(parts, axis);
}

Result<TensorView> Sum(std::span<const TensorView> views) { return AddUp(views, false); }
Result<TensorView> Mean(std::span<const TensorView> views) { return AddUp(views, true); }

bool SameElements(const TensorView& a, const TensorView& b) {
  if (a.shape() != b.shape() || a.dtype() != b.dtype() || a.stored_dtype() != b.stored_dtype() ||
      a.ops() != b.ops() || a.arithmetic() != b.arithmetic())
    return false;
  return a.element_count() == 0 || a.IsAliasOf(b);
}

}  // namespace weightfs
