#include "convert/view/assemble.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "convert/base/bytes.h"
#include "convert/base/limits.h"

namespace weightfs {
namespace {

constexpr uint64_t kPiecesMax = Limits{}.view_pieces_max;

Status CheckPart(const TensorView& view, DType dtype, ElementOps ops) {
  if (view.stored_dtype() != dtype || view.dtype() != dtype || !view.arithmetic().is_none() ||
      view.ops() != ops)
    return Fail(
        ErrorCode::kInvalidArgument,
        fmt::format("a part of {} with element operations ({}) of a tensor of {}; expected parts that are "
                    "stored alike",
                    SafetensorsName(view.stored_dtype()), fmt::join(view.Operations(), ", "),
                    SafetensorsName(dtype)));
  if (view.pieces() != nullptr && view.pieces()->terms.size() != 1)
    return Fail(ErrorCode::kUnsupported, "a part that is a sum of tensors; expected plain ones");
  return {};
}

}  // namespace

Result<TensorView> Assemble(Shape shape, DType dtype, std::span<const PlacedView> parts) {
  std::vector<const PlacedView*> filled;
  std::vector<Box> boxes;
  for (const PlacedView& part : parts) {
    boxes.push_back({part.offsets, part.view.shape()});
    if (part.view.element_count() > 0) filled.push_back(&part);
  }
  WEIGHTFS_TRY(const std::optional<TilingFault> fault, FindTilingFault(shape, boxes));
  if (fault)
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("from {} to {} of a tensor of shape {} lies in {} parts; expected it in one",
                            fault->begin, fault->end, shape, fault->count));
  if (filled.empty()) {
    WEIGHTFS_TRY(Layout layout, Layout::Contiguous(0, UnitBytes(dtype), 0));
    return TensorView::Make(MakeMemoryFile("", "nothing"), std::move(layout), dtype, std::move(shape));
  }
  const ElementOps ops = filled.front()->view.ops();
  for (const PlacedView* part : filled) WEIGHTFS_CHECK(CheckPart(part->view, dtype, ops));
  if (filled.size() == 1) return filled.front()->view;
  if (BitWidth(dtype) < 8)
    return Fail(
        ErrorCode::kUnsupported,
        fmt::format("{} parts of a tensor of {}, whose elements are narrower than a byte; expected one",
                    filled.size(), SafetensorsName(dtype)));
  std::vector<PieceMap::Placed> placed;
  for (const PlacedView* part : filled)
    placed.push_back({std::move(part->view.Terms().front()), part->offsets, part->view.shape()});
  WEIGHTFS_TRY(PieceMap map, PieceMap::Assemble(std::move(placed), shape, kPiecesMax));
  map.Normalize();
  ViewPieces pieces;
  pieces.terms.push_back(std::move(map));
  return TensorView::FromPieces(std::move(pieces), dtype, std::move(shape), ops);
}

}  // namespace weightfs
