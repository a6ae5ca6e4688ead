#include "convert/source/dcp/assemble_tensor.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>
#include <utility>

namespace weightfs {

std::vector<size_t> DropCopies(std::span<const Box> boxes) {
  std::vector<size_t> order(boxes.size());
  std::iota(order.begin(), order.end(), size_t{0});
  if (boxes.size() < 2) return order;
  const auto compare = [&](size_t a, size_t b) {
    const auto by_offset = std::lexicographical_compare_three_way(
        boxes[a].offsets.begin(), boxes[a].offsets.end(), boxes[b].offsets.begin(), boxes[b].offsets.end());
    if (by_offset != 0) return by_offset;
    return std::lexicographical_compare_three_way(boxes[a].sizes.begin(), boxes[a].sizes.end(),
                                                  boxes[b].sizes.begin(), boxes[b].sizes.end());
  };
  std::ranges::stable_sort(order, [&](size_t a, size_t b) { return compare(a, b) < 0; });
  const auto rest = std::ranges::unique(order, [&](size_t a, size_t b) { return compare(a, b) == 0; });
  order.erase(rest.begin(), rest.end());
  std::ranges::sort(order);
  return order;
}

Status CheckCovered(const Shape& shape, std::span<const Box> boxes, std::string_view where) {
  Result<std::optional<TilingFault>> fault = FindTilingFault(shape, boxes);
  if (!fault) return std::unexpected(std::move(fault).error().Within(where));
  if (!*fault) return {};
  const TilingFault& region = **fault;
  if (region.count == 0)
    return Fail(
        ErrorCode::kNotFound,
        fmt::format("{}: no part holds what lies from {} to {} of shape {}; expected parts that cover it",
                    where, region.begin, region.end, shape),
        "copy the files of all ranks together; a save that was cut off cannot be completed");
  return Fail(
      ErrorCode::kCorrupt,
      fmt::format("{}: {} parts hold what lies from {} to {} of shape {}; expected one, or copies of one "
                  "part",
                  where, region.count, region.begin, region.end, shape));
}

Result<AssembledParts> AssembleParts(Shape shape, DType dtype, std::span<const PlacedView> parts,
                                     std::string_view where) {
  std::vector<Box> boxes, kept_boxes;
  std::vector<PlacedView> kept;
  for (const PlacedView& part : parts) boxes.push_back({part.offsets, part.view.shape()});
  for (const size_t i : DropCopies(boxes)) {
    kept.push_back(parts[i]);
    kept_boxes.push_back(boxes[i]);
  }
  WEIGHTFS_CHECK(CheckCovered(shape, kept_boxes, where));
  Result<TensorView> whole = Assemble(std::move(shape), dtype, kept);
  if (!whole) return std::unexpected(std::move(whole).error().Within(where));
  return AssembledParts{*std::move(whole), kept.size()};
}

}  // namespace weightfs
