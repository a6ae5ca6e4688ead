#include "convert/family/rearrange.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>

#include "convert/base/bytes.h"
#include "convert/view/algebra.h"

namespace weightfs::family {
namespace {

/// The product of the sizes, as a reader checks it: "4 * 3 * 2 = 24".
std::string ProductText(std::span<const ResolvedAxis> axes, uint64_t product) {
  if (axes.size() == 1) return fmt::format("{} = {}", axes[0].name.empty() ? "1" : axes[0].name, product);
  std::string names, sizes;
  for (const ResolvedAxis& axis : axes) {
    names += (names.empty() ? "" : " ") + (axis.name.empty() ? "1" : axis.name);
    sizes += (sizes.empty() ? "" : " * ") + std::to_string(axis.size);
  }
  return fmt::format("({}) = {} = {}", names, sizes, product);
}

/// Fits the axes of one dimension to its extent: a free one takes what the others leave.
Result<std::vector<ResolvedAxis>> FitAxes(const Arrangement& arrangement, const Dimension& dimension,
                                          size_t index, uint64_t extent, const AxisScope& scope) {
  std::vector<ResolvedAxis> axes;
  std::optional<uint64_t> product = 1;
  ResolvedAxis* free_axis = nullptr;
  axes.reserve(dimension.axes.size());
  for (const Axis& axis : dimension.axes) {
    ResolvedAxis& resolved = axes.emplace_back();
    resolved.name = axis.name;
    if (axis.is_free) {
      free_axis = &resolved;
      continue;
    }
    if (!axis.name.empty()) {
      WEIGHTFS_TRY(const std::optional<uint64_t> size, scope.Size(axis.name));
      if (!size)
        return Fail(ErrorCode::kInvalidArgument, fmt::format("`{}` has the axis {}, whose size nothing gives",
                                                             arrangement.text, axis.name));
      resolved.size = *size;
    }
    if (product) product = CheckedMultiply(*product, resolved.size);
  }
  if (!product)
    return Fail(ErrorCode::kCorrupt,
                fmt::format("`{}` has a size that does not fit 64 bits", arrangement.text));
  if (free_axis != nullptr && *product != 0 && extent % *product == 0) {
    free_axis->size = extent / *product;
    return axes;
  }
  if (free_axis == nullptr && *product == extent) return axes;
  return Fail(ErrorCode::kCorrupt, fmt::format("dimension {} is {}; expected {}{} by `{}`", index, extent,
                                               free_axis != nullptr ? "a multiple of " : "",
                                               ProductText(axes, *product), arrangement.text));
}

/// One index, which must lie in `[0, limit]` or, as an index, below it.
Result<uint64_t> Index(const Step& step, const std::string& axis, const Expression& expression,
                       uint64_t limit, Environment& environment) {
  WEIGHTFS_TRY(const Value value, expression.Evaluate(environment));
  if (value.integer() != nullptr && *value.integer() >= 0 && static_cast<uint64_t>(*value.integer()) <= limit)
    return static_cast<uint64_t>(*value.integer());
  return Fail(ErrorCode::kCorrupt,
              fmt::format("`{}` of {} in `{}` is {}; expected an integer from 0 to {}", expression.text(),
                          axis, step.arrangement.text, value.Describe(), limit));
}

Status TakeIndices(const Step& step, ResolvedAxis& axis, Environment& environment) {
  axis.taken = {{0, axis.size}};
  const auto at = axis.name.empty() ? step.at.end() : step.at.find(axis.name);
  if (at == step.at.end()) return {};
  const AxisIndices& indices = at->second;
  axis.taken.clear();
  if (indices.kind == AxisIndices::Kind::kRange) {
    WEIGHTFS_TRY(const uint64_t begin, Index(step, axis.name, indices.values[0], axis.size, environment));
    WEIGHTFS_TRY(const uint64_t end, Index(step, axis.name, indices.values[1], axis.size, environment));
    if (begin > end)
      return Fail(ErrorCode::kCorrupt, fmt::format("the range {}:{} of {} in `{}` ends before it begins",
                                                   begin, end, axis.name, step.arrangement.text));
    axis.taken.emplace_back(begin, end - begin);
    return {};
  }
  axis.is_single = indices.kind == AxisIndices::Kind::kOne;
  if (axis.size == 0)
    return Fail(ErrorCode::kCorrupt, fmt::format("an index of {}, which is empty", axis.name));
  for (const Expression& expression : indices.values) {
    WEIGHTFS_TRY(const uint64_t index, Index(step, axis.name, expression, axis.size - 1, environment));
    if (!axis.taken.empty() && axis.taken.back().first + axis.taken.back().second == index)
      ++axis.taken.back().second;
    else
      axis.taken.emplace_back(index, 1);
  }
  return {};
}

/// The right side in terms of the resolved axes, of which `ellipsis_axes` are the dimensions of `...`.
void ResolveRight(const Arrangement& arrangement, const std::vector<size_t>& ellipsis_axes,
                  ResolvedStep& step) {
  for (const Dimension& dimension : arrangement.right) {
    if (dimension.is_ellipsis) {
      for (const size_t axis : ellipsis_axes) step.right.push_back({axis});
      continue;
    }
    std::vector<size_t>& axes = step.right.emplace_back();
    for (const Axis& axis : dimension.axes)
      for (size_t i = 0; i < step.axes.size(); ++i)
        if (!axis.name.empty() && step.axes[i].name == axis.name) axes.push_back(i);
  }
}

size_t FixedDimensions(const std::vector<Dimension>& side) {
  return static_cast<size_t>(std::ranges::count(side, false, &Dimension::is_ellipsis));
}

Status CheckRank(const Arrangement& arrangement, const std::vector<Dimension>& side, const Shape& shape) {
  const size_t fixed = FixedDimensions(side);
  if (fixed == shape.size() || (fixed < side.size() && fixed <= shape.size())) return {};
  return Fail(ErrorCode::kCorrupt,
              fmt::format("the shape is {}; expected {}{} dimensions by `{}`", ShapeText(shape),
                          fixed < side.size() ? "at least " : "", fixed, arrangement.text));
}

}  // namespace

std::string ShapeText(std::span<const uint64_t> shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

uint64_t ResolvedAxis::TakenCount() const {
  uint64_t count = 0;
  for (const auto& range : taken) count += range.second;
  return count;
}

Shape ResolvedStep::LeftShape() const {
  Shape shape;
  size_t axis = 0;
  for (const size_t count : axes_of) {
    uint64_t extent = 1;
    for (size_t i = 0; i < count; ++i) extent *= axes[axis++].size;
    shape.push_back(extent);
  }
  return shape;
}

Shape ResolvedStep::RightShape() const {
  Shape shape;
  for (const std::vector<size_t>& dimension : right) {
    uint64_t extent = 1;
    for (const size_t axis : dimension) extent *= axes[axis].TakenCount();
    shape.push_back(extent);
  }
  return shape;
}

Result<std::optional<uint64_t>> AxisScope::Size(const std::string& axis) const {
  WEIGHTFS_TRY(const std::optional<uint64_t> size, environment_.AxisSize(axis));
  if (!size && axis == "T") return parts_;
  return size;
}

Result<ResolvedStep> ResolveStep(const Step& step, const Shape& shape, const AxisScope& scope) {
  const Arrangement& arrangement = step.arrangement;
  WEIGHTFS_CHECK(CheckRank(arrangement, arrangement.left, shape));
  ResolvedStep resolved;
  std::vector<size_t> ellipsis_axes;
  size_t index = 0;
  for (const Dimension& dimension : arrangement.left) {
    if (dimension.is_ellipsis) {
      for (size_t left = shape.size() - FixedDimensions(arrangement.left); left > 0; --left) {
        ellipsis_axes.push_back(resolved.axes.size());
        resolved.axes.push_back({.size = shape[index++]});
        resolved.axes_of.push_back(1);
      }
      continue;
    }
    WEIGHTFS_TRY(const auto axes, FitAxes(arrangement, dimension, index, shape[index], scope));
    ++index;
    resolved.axes.insert(resolved.axes.end(), axes.begin(), axes.end());
    resolved.axes_of.push_back(axes.size());
  }
  for (ResolvedAxis& axis : resolved.axes) WEIGHTFS_CHECK(TakeIndices(step, axis, scope.environment()));
  ResolveRight(arrangement, ellipsis_axes, resolved);
  return resolved;
}

Result<TensorView> ApplyStep(const ResolvedStep& step, const TensorView& view) {
  std::vector<size_t> order;
  for (const std::vector<size_t>& dimension : step.right)
    order.insert(order.end(), dimension.begin(), dimension.end());
  // Nothing moves, and axes that are missing on the right have one index.
  const bool is_identity =
      std::ranges::all_of(step.axes, &ResolvedAxis::IsWhole) && std::ranges::is_sorted(order);
  if (is_identity) return step.RightShape() == view.shape() ? view : Reshape(view, step.RightShape());

  Shape sizes;
  for (const ResolvedAxis& axis : step.axes) sizes.push_back(axis.size);
  WEIGHTFS_TRY(TensorView taken, Reshape(view, sizes));
  for (size_t axis = 0; axis < step.axes.size(); ++axis) {
    if (step.axes[axis].IsWhole()) continue;
    std::vector<TensorView> ranges;
    for (const auto& [begin, count] : step.axes[axis].taken) {
      WEIGHTFS_TRY(ranges.emplace_back(), Narrow(taken, axis, begin, count));
    }
    WEIGHTFS_TRY(taken, ranges.size() == 1 ? Result<TensorView>(ranges[0]) : Concat(ranges, axis));
  }
  // Axes that go away have one index by now: they may stand anywhere.
  for (size_t axis = 0; axis < step.axes.size(); ++axis)
    if (std::ranges::find(order, axis) == order.end()) order.push_back(axis);
  WEIGHTFS_TRY(taken, Permute(taken, order));
  return Reshape(taken, step.RightShape());
}

}  // namespace weightfs::family
