#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "convert/view/assemble.h"

namespace weightfs {
namespace {

/// Corners that are looked at: 65,536 boxes cut along 6 axes, or as many of fewer.
constexpr uint64_t kCornersMax = 4u << 20;
constexpr size_t kCutAxesMax = 20;

bool IsEmpty(const Box& box) { return std::ranges::find(box.sizes, 0u) != box.sizes.end(); }

Status CheckBox(const Shape& shape, const Box& box, size_t number) {
  bool fits = box.offsets.size() == shape.size() && box.sizes.size() == shape.size();
  for (size_t axis = 0; fits && axis < shape.size(); ++axis)
    fits = box.offsets[axis] <= shape[axis] && box.sizes[axis] <= shape[axis] - box.offsets[axis];
  if (fits) return {};
  return Fail(ErrorCode::kInvalidArgument,
              fmt::format("box {} of sizes {} at {} of a tensor of shape {}; expected it within the tensor",
                          number, box.sizes, box.offsets, shape));
}

/// The corners of boxes, with signs.
///
/// A box is the sum of steps that begin at its corners: plus one where it begins, minus one past its end in
/// an odd number of axes, plus one in an even number. So how often every element is covered follows from the
/// sum of signs at each point, and all elements are covered once just when the sums are those of the whole
/// tensor: one at the origin, zero elsewhere. At the first point (in row-major order) where they differ,
/// nothing before it contributes, so the difference there is by how much the count is wrong.
class Corners {
 public:
  Corners(const Shape& shape, std::span<const Box> boxes) : shape_(shape) {
    for (size_t axis = 0; axis < shape.size(); ++axis)
      if (std::ranges::any_of(
              boxes, [&](const Box& box) { return !IsEmpty(box) && box.sizes[axis] != shape[axis]; }))
        cut_axes_.push_back(axis);
  }

  Status Add(std::span<const Box> boxes) {
    if (cut_axes_.size() > kCutAxesMax || boxes.size() > (kCornersMax >> cut_axes_.size()))
      return Fail(ErrorCode::kLimitExceeded,
                  fmt::format("{} boxes of a tensor that are cut along {} axes; expected fewer", boxes.size(),
                              cut_axes_.size()));
    AddCorner(Box{}, 0, -1);  // The whole, taken off.
    for (const Box& box : boxes) {
      if (IsEmpty(box)) continue;
      for (uint64_t corner = 0; corner < uint64_t{1} << cut_axes_.size(); ++corner)
        AddCorner(box, corner, __builtin_popcountll(corner) % 2 == 0 ? 1 : -1);
    }
    return {};
  }

  /// The first point whose sum is not zero, and the sum.
  std::optional<std::pair<std::span<const uint64_t>, int64_t>> FirstFault() const {
    std::vector<size_t> order(signs_.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::ranges::sort(
        order, [&](size_t a, size_t b) { return std::ranges::lexicographical_compare(Point(a), Point(b)); });
    for (size_t i = 0; i < order.size();) {
      const std::span<const uint64_t> point = Point(order[i]);
      int64_t sum = 0;
      for (; i < order.size() && std::ranges::equal(Point(order[i]), point); ++i) sum += signs_[order[i]];
      if (sum != 0) return std::pair{point, sum};
    }
    return std::nullopt;
  }

  std::span<const size_t> cut_axes() const { return cut_axes_; }

 private:
  std::span<const uint64_t> Point(size_t i) const {
    return std::span(points_).subspan(i * cut_axes_.size(), cut_axes_.size());
  }

  /// Points past the end of the tensor say nothing about elements within it.
  void AddCorner(const Box& box, uint64_t corner, int64_t sign) {
    const size_t begin = points_.size();
    for (size_t k = 0; k < cut_axes_.size(); ++k) {
      const size_t axis = cut_axes_[k];
      const bool is_end = corner >> k & 1;
      const uint64_t at = box.offsets.empty() ? 0 : box.offsets[axis] + (is_end ? box.sizes[axis] : 0);
      if (is_end && at == shape_[axis]) return points_.resize(begin);
      points_.push_back(at);
    }
    signs_.push_back(sign);
  }

  const Shape& shape_;
  std::vector<size_t> cut_axes_;
  std::vector<uint64_t> points_;  ///< `cut_axes_.size()` numbers a corner.
  std::vector<int64_t> signs_;
};

}  // namespace

Result<std::optional<TilingFault>> FindTilingFault(const Shape& shape, std::span<const Box> boxes) {
  for (size_t i = 0; i < boxes.size(); ++i) WEIGHTFS_CHECK(CheckBox(shape, boxes[i], i));
  if (std::ranges::find(shape, 0u) != shape.end()) return std::nullopt;
  if (boxes.size() == 1 && std::ranges::equal(boxes[0].sizes, shape)) return std::nullopt;
  Corners corners(shape, boxes);
  WEIGHTFS_CHECK(corners.Add(boxes));
  const auto first = corners.FirstFault();
  if (!first) return std::nullopt;
  TilingFault fault{Shape(shape.size(), 0), shape, static_cast<uint64_t>(1 + first->second)};
  for (size_t k = 0; k < corners.cut_axes().size(); ++k) {
    const size_t axis = corners.cut_axes()[k];
    const uint64_t at = fault.begin[axis] = first->first[k];
    for (const Box& box : boxes) {
      if (IsEmpty(box)) continue;
      for (const uint64_t edge : {box.offsets[axis], box.offsets[axis] + box.sizes[axis]})
        if (edge > at) fault.end[axis] = std::min(fault.end[axis], edge);
    }
  }
  return fault;
}

}  // namespace weightfs
