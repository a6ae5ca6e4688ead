// ResolveStepBackwards: a step fitted to the shape of its right side.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "convert/base/bytes.h"
#include "convert/family/rearrange.h"

namespace weightfs::family {
namespace {

/// Sizes of the named axes of one step, as far as they are known.
class BackwardsResolver {
 public:
  BackwardsResolver(const Step& step, const Shape& shape, const AxisScope& scope)
      : step_(step), shape_(shape), scope_(scope) {}

  Result<ResolvedStep> Resolve() {
    WEIGHTFS_CHECK(FindKnownSizes());
    WEIGHTFS_CHECK(FitRight());
    // With every size known, the left side fits the shape that it makes.
    Shape left;
    for (const Dimension& dimension : step_.arrangement.left) {
      if (dimension.is_ellipsis) {
        left.insert(left.end(), ellipsis_.begin(), ellipsis_.end());
        continue;
      }
      std::optional<uint64_t> extent = 1;
      for (const Axis& axis : dimension.axes)
        if (extent && !axis.name.empty()) extent = CheckedMultiply(*extent, sizes_.at(axis.name));
      if (!extent)
        return Fail(ErrorCode::kCorrupt, fmt::format("`{}` makes a size that does not fit 64 bits", Text()));
      left.push_back(*extent);
    }
    return ResolveStep(step_, left, scope_);
  }

 private:
  const std::string& Text() const { return step_.arrangement.text; }

  Status FindKnownSizes() {
    for (const Dimension& dimension : step_.arrangement.left) {
      for (const Axis& axis : dimension.axes) {
        if (axis.name.empty()) continue;
        const bool is_taken = step_.at.contains(axis.name);
        if (axis.is_free && is_taken)
          return Fail(
              ErrorCode::kUnsupported,
              fmt::format("the size of {} in `{}`, of which indices are taken, does not follow backwards",
                          axis.name, Text()));
        if (axis.is_free) continue;
        WEIGHTFS_TRY(const std::optional<uint64_t> size, scope_.Size(axis.name));
        if (!size)
          return Fail(ErrorCode::kInvalidArgument,
                      fmt::format("`{}` has the axis {}, whose size nothing gives", Text(), axis.name));
        sizes_[axis.name] = *size;
      }
    }
    return {};
  }

  /// How many indices of a known axis are on the right.
  Result<uint64_t> TakenCount(const std::string& axis) const {
    const auto at = step_.at.find(axis);
    if (at == step_.at.end()) return sizes_.at(axis);
    if (at->second.kind == AxisIndices::Kind::kSome) return at->second.values.size();
    std::vector<int64_t> ends;
    for (const Expression& expression : at->second.values) {
      WEIGHTFS_TRY(const Value value, expression.Evaluate(scope_.environment()));
      if (value.integer() == nullptr)
        return Fail(ErrorCode::kCorrupt, fmt::format("`{}` in `{}` is {}; expected an integer",
                                                     expression.text(), Text(), value.Describe()));
      ends.push_back(*value.integer());
    }
    if (ends.size() == 1) return 1;
    if (ends[0] < 0 || ends[1] < ends[0])
      return Fail(ErrorCode::kCorrupt,
                  fmt::format("the range {}:{} of {} in `{}`", ends[0], ends[1], axis, Text()));
    return static_cast<uint64_t>(ends[1] - ends[0]);
  }

  Status FitRight() {
    const std::vector<Dimension>& right = step_.arrangement.right;
    const auto fixed = static_cast<size_t>(std::ranges::count(right, false, &Dimension::is_ellipsis));
    if (fixed > shape_.size() || (fixed == right.size() && fixed != shape_.size()))
      return Fail(ErrorCode::kCorrupt,
                  fmt::format("the shape is {}; expected {} dimensions by the right side of `{}`",
                              ShapeText(shape_), fixed, Text()));
    size_t index = 0;
    for (const Dimension& dimension : right) {
      if (!dimension.is_ellipsis) {
        WEIGHTFS_CHECK(FitDimension(dimension, index++));
        continue;
      }
      for (size_t left = shape_.size() - fixed; left > 0; --left) ellipsis_.push_back(shape_[index++]);
    }
    return {};
  }

  Status FitDimension(const Dimension& dimension, size_t index) {
    const uint64_t extent = shape_[index];
    std::optional<uint64_t> product = 1;
    const Axis* unknown = nullptr;
    for (const Axis& axis : dimension.axes) {
      if (axis.name.empty()) continue;
      if (!sizes_.contains(axis.name)) {
        if (unknown != nullptr)
          return Fail(ErrorCode::kUnsupported,
                      fmt::format("the sizes of {} and {} in `{}` do not follow backwards", unknown->name,
                                  axis.name, Text()));
        unknown = &axis;
        continue;
      }
      WEIGHTFS_TRY(const uint64_t count, TakenCount(axis.name));
      if (product) product = CheckedMultiply(*product, count);
    }
    if (product && unknown != nullptr && *product != 0 && extent % *product == 0) {
      sizes_[unknown->name] = extent / *product;
      return {};
    }
    if (product && unknown == nullptr && *product == extent) return {};
    return Fail(ErrorCode::kCorrupt,
                fmt::format("dimension {} is {}; expected {} by the right side of `{}`", index, extent,
                            product ? std::to_string(*product) : "more than 64 bits hold", Text()));
  }

  const Step& step_;
  const Shape& shape_;
  const AxisScope& scope_;
  std::map<std::string, uint64_t> sizes_;
  std::vector<uint64_t> ellipsis_;
};

}  // namespace

Result<ResolvedStep> ResolveStepBackwards(const Step& step, const Shape& shape, const AxisScope& scope) {
  return BackwardsResolver(step, shape, scope).Resolve();
}

}  // namespace weightfs::family
