#include "convert/family/assemble.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <set>
#include <utility>

#include "convert/base/bytes.h"
#include "convert/family/region.h"
#include "convert/view/algebra.h"

namespace weightfs::family {
namespace {

constexpr int kDepthMax = 64;  ///< Of cuts within one another.

/// A box over axes that all boxes share.
struct GridBox {
  std::vector<Interval> axes;
  TensorView view;
};

Shape ShapeOf(const Box& box) {
  ResolvedStep step;
  step.axes = box.axes;
  step.axes_of = box.axes_of;
  return step.LeftShape();
}

/// Several ranges of an axis are several boxes.
Result<std::vector<Box>> SingleRanges(const Box& box) {
  std::vector<Box> boxes = {box};
  for (size_t axis = 0; axis < box.axes.size(); ++axis) {
    if (box.axes[axis].taken.size() == 1) continue;
    std::vector<Box> cut;
    for (const Box& whole : boxes) {
      uint64_t begin = 0;
      for (const auto& range : box.axes[axis].taken) {
        Box& part = cut.emplace_back(whole);
        part.axes[axis].taken = {range};
        WEIGHTFS_TRY(part.view, Narrow(whole.view, axis, begin, range.second));
        begin += range.second;
      }
    }
    boxes = std::move(cut);
  }
  return boxes;
}

/// Sizes of the axes of one dimension that are fine enough for every box.
Result<std::vector<uint64_t>> CommonAxes(const std::vector<Box>& boxes, size_t dimension, uint64_t extent) {
  std::set<uint64_t, std::greater<>> strides = {extent, 1};
  for (const Box& box : boxes) {
    size_t end = 0;
    for (size_t i = 0; i <= dimension; ++i) end += box.axes_of[i];
    uint64_t stride = 1;
    for (size_t axis = end; axis-- > end - box.axes_of[dimension];)
      strides.insert(stride *= box.axes[axis].size);
  }
  std::vector<uint64_t> sizes;
  uint64_t last = extent;
  for (const uint64_t stride : strides) {
    if (stride == extent) continue;
    if (last % stride != 0)
      return Fail(ErrorCode::kUnsupported,
                  fmt::format("lines cut dimension {} into ranges of {} and of {}", dimension, last, stride));
    sizes.push_back(last / stride);
    last = stride;
  }
  return sizes;
}

/// The range of one axis as a range of each of the finer `sizes` that make it up. Appends to `axes`.
Status RefineRange(uint64_t begin, uint64_t count, std::span<const uint64_t> sizes,
                   std::vector<Interval>& axes) {
  uint64_t inner = 1;
  for (const uint64_t size : sizes) inner *= size;
  for (size_t i = 0; i < sizes.size(); ++i) {
    inner /= sizes[i];
    if (begin % inner == 0 && count % inner == 0) {
      axes.push_back({begin / inner, (begin + count) / inner});
      for (const uint64_t size : sizes.subspan(i + 1)) axes.push_back({0, size});
      return {};
    }
    if (begin / inner != (begin + count - 1) / inner)
      return Fail(
          ErrorCode::kUnsupported,
          fmt::format("the range {}:{} of a line cuts across those of another", begin, begin + count));
    axes.push_back({begin / inner, begin / inner + 1});
    begin %= inner;
  }
  return {};
}

Result<GridBox> Refine(const Box& box, const std::vector<std::vector<uint64_t>>& grid) {
  GridBox refined;
  size_t axis = 0;
  for (size_t dimension = 0; dimension < grid.size(); ++dimension) {
    size_t at = 0;
    for (size_t i = 0; i < box.axes_of[dimension]; ++i, ++axis) {
      const size_t first = at;
      for (uint64_t size = 1; size != box.axes[axis].size; ++at) size *= grid[dimension][at];
      const auto& [begin, count] = box.axes[axis].taken[0];
      const std::span<const uint64_t> sizes = std::span(grid[dimension]).subspan(first, at - first);
      WEIGHTFS_CHECK(RefineRange(begin, count, sizes, refined.axes));
    }
  }
  Shape shape;
  shape.reserve(refined.axes.size());
  for (const Interval& interval : refined.axes) shape.push_back(interval.end - interval.begin);
  WEIGHTFS_TRY(refined.view, Reshape(box.view, std::move(shape)));
  return refined;
}

uint64_t Volume(const std::vector<Interval>& axes) {
  uint64_t volume = 1;
  for (const Interval& axis : axes) volume *= axis.end - axis.begin;
  return volume;
}

/// Positions along `axis` of `region` that no box straddles, its ends included.
std::vector<uint64_t> Cuts(const std::vector<const GridBox*>& boxes, size_t axis, const Interval& region) {
  std::vector<Interval> ranges;
  for (const GridBox* box : boxes) ranges.push_back(box->axes[axis]);
  std::ranges::sort(ranges, {}, &Interval::begin);
  std::vector<uint64_t> cuts = {region.begin};
  uint64_t end = region.begin;
  for (const Interval& range : ranges) {
    if (range.begin >= end && range.begin > cuts.back()) cuts.push_back(range.begin);
    end = std::max(end, range.end);
  }
  if (end < region.end && end > cuts.back()) cuts.push_back(end);
  cuts.push_back(region.end);
  return cuts;
}

/// Recurses at most `kDepthMax` levels.
Result<TensorView> FillRegion(const std::vector<const GridBox*>& boxes, std::vector<Interval> region,
                              int depth) {
  if (boxes.empty())
    return Fail(ErrorCode::kCorrupt, fmt::format("{} elements are made by no line", Volume(region)));
  if (boxes.size() == 1 && boxes[0]->axes == region) return boxes[0]->view;
  if (depth > kDepthMax)
    return Fail(ErrorCode::kLimitExceeded, fmt::format("cuts nested deeper than {}", kDepthMax));
  for (size_t axis = 0; axis < region.size(); ++axis) {
    const std::vector<uint64_t> cuts = Cuts(boxes, axis, region[axis]);
    if (cuts.size() == 2) continue;
    std::vector<TensorView> parts;
    for (size_t i = 0; i + 1 < cuts.size(); ++i) {
      std::vector<Interval> part = region;
      part[axis] = {cuts[i], cuts[i + 1]};
      std::vector<const GridBox*> within;
      for (const GridBox* box : boxes)
        if (box->axes[axis].begin >= cuts[i] && box->axes[axis].end <= cuts[i + 1]) within.push_back(box);
      WEIGHTFS_TRY(parts.emplace_back(), FillRegion(within, std::move(part), depth + 1));
    }
    return Concat(parts, axis);
  }
  uint64_t volume = 0;
  for (const GridBox* box : boxes) volume += Volume(box->axes);
  if (volume < Volume(region)) return Fail(ErrorCode::kCorrupt, "elements are made by no line");
  if (volume > Volume(region)) return Fail(ErrorCode::kCorrupt, "elements are made by two lines");
  return Fail(ErrorCode::kUnsupported, "the lines take boxes that do not come apart by straight cuts");
}

}  // namespace

Result<TensorView> Assemble(const std::vector<Box>& boxes) {
  const Shape shape = ShapeOf(boxes[0]);
  if (CheckedProduct(shape).value_or(0) == 0) return Reshape(boxes[0].view, shape);
  std::vector<Box> single;
  for (const Box& box : boxes) {
    if (ShapeOf(box) != shape)
      return Fail(ErrorCode::kCorrupt, fmt::format("lines make the shapes {} and {}; expected one",
                                                   ShapeText(shape), ShapeText(ShapeOf(box))));
    WEIGHTFS_TRY(const auto parts, SingleRanges(box));
    for (const Box& part : parts)
      if (part.view.element_count() > 0) single.push_back(part);
  }
  std::vector<std::vector<uint64_t>> grid;
  std::vector<Interval> region;
  for (size_t dimension = 0; dimension < shape.size(); ++dimension) {
    WEIGHTFS_TRY(grid.emplace_back(), CommonAxes(single, dimension, shape[dimension]));
    for (const uint64_t size : grid.back()) region.push_back({0, size});
  }
  std::vector<GridBox> refined;
  for (const Box& box : single) {
    WEIGHTFS_TRY(refined.emplace_back(), Refine(box, grid));
  }
  std::vector<const GridBox*> all;
  all.reserve(refined.size());
  for (const GridBox& box : refined) all.push_back(&box);
  WEIGHTFS_TRY(const TensorView whole, FillRegion(all, std::move(region), 0));
  return Reshape(whole, shape);
}

}  // namespace weightfs::family
