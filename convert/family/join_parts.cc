// JoinParts: from the parts of ranks to one tensor.
#include <fmt/format.h>

#include <algorithm>

#include "convert/base/bytes.h"
#include "convert/family/compare.h"
#include "convert/family/rearrange.h"
#include "convert/view/algebra.h"

namespace weightfs::family {
namespace {

/// The size that the axes of `dimension` make; nothing when one of them is not known.
Result<std::optional<uint64_t>> KnownSize(const Dimension& dimension, const AxisScope& scope) {
  std::optional<uint64_t> product = 1;
  for (const Axis& axis : dimension.axes) {
    if (axis.is_free) return std::nullopt;
    if (axis.name.empty()) continue;
    WEIGHTFS_TRY(const std::optional<uint64_t> size, scope.Size(axis.name));
    if (!size) return std::nullopt;
    if (product) product = CheckedMultiply(*product, *size);
  }
  return product;
}

/// The marked dimension along which `parts` join.
Result<size_t> CutDimension(const Arrangement& arrangement, std::span<const TensorView> parts, size_t skipped,
                            const AxisScope& scope) {
  const Shape& shape = parts[0].shape();
  WEIGHTFS_TRY(const auto marked, MarkedDimensions(arrangement, shape.size(), skipped));
  if (arrangement.join == PartsJoin::kCut) return marked[0].first;
  std::vector<size_t> fitting;
  std::string sizes;
  for (const auto& [candidate, unused] : marked) {
    bool fits = true;
    sizes.clear();
    for (const auto& [index, dimension] : marked) {
      WEIGHTFS_TRY(const std::optional<uint64_t> size, KnownSize(*dimension, scope));
      std::optional<uint64_t> joined = 0;
      for (const TensorView& part : parts)
        if (joined && index < part.shape().size()) joined = CheckedAdd(*joined, part.shape()[index]);
      fits &= !size || (index == candidate ? joined : std::optional(shape[index])) == *size;
      sizes += (sizes.empty() ? "" : ", ") + (size ? std::to_string(*size) : "any");
    }
    if (fits) fitting.push_back(candidate);
  }
  if (fitting.size() == 1) return fitting[0];
  return Fail(ErrorCode::kCorrupt,
              fmt::format("{} parts, the first of shape {}; expected parts that join along {} marked "
                          "dimension of `{}` to sizes [{}]",
                          parts.size(), ShapeText(shape), fitting.empty() ? "a" : "only one",
                          arrangement.text, sizes));
}

Status CheckEqual(std::span<const TensorView> parts, const Limits& limits, Budget& budget) {
  for (size_t i = 1; i < parts.size(); ++i) {
    if (parts[i].shape() != parts[0].shape())
      return Fail(ErrorCode::kCorrupt,
                  fmt::format("part 0 has the shape {} and part {} {}; expected equal parts",
                              ShapeText(parts[0].shape()), i, ShapeText(parts[i].shape())));
    WEIGHTFS_TRY(const bool equal, HoldSameElements(parts[0], parts[i], limits, budget));
    if (!equal)
      return Fail(ErrorCode::kCorrupt, fmt::format("parts 0 and {} differ; expected equal parts", i));
  }
  return {};
}

}  // namespace

Result<std::vector<std::pair<size_t, const Dimension*>>> MarkedDimensions(const Arrangement& arrangement,
                                                                          size_t rank, size_t skipped) {
  const auto fixed =
      static_cast<size_t>(std::ranges::count(arrangement.left, false, &Dimension::is_ellipsis));
  const bool has_ellipsis = fixed < arrangement.left.size();
  if (fixed > rank + skipped || (!has_ellipsis && fixed != rank + skipped))
    return Fail(ErrorCode::kCorrupt, fmt::format("the parts have {} dimensions; expected {} by `{}`", rank,
                                                 fixed - std::min(fixed, skipped), arrangement.text));
  std::vector<std::pair<size_t, const Dimension*>> marked;
  size_t index = 0;
  for (const Dimension& dimension : arrangement.left) {
    if (dimension.is_ellipsis) {
      index += rank + skipped - fixed;
      continue;
    }
    if (dimension.is_marked) {
      if (index < skipped)
        return Fail(
            ErrorCode::kInvalidArgument,
            fmt::format("`{}` marks the dimension along which sources are stacked", arrangement.text));
      marked.emplace_back(index - skipped, &dimension);
    }
    ++index;
  }
  return marked;
}

Result<JoinedParts> JoinParts(const Arrangement& arrangement, std::span<const TensorView> parts,
                              size_t skipped, const AxisScope& scope, const Limits& limits) {
  if (parts.empty()) return Fail(ErrorCode::kInternal, "a tensor without parts");
  JoinedParts joined;
  joined.view = parts[0];
  if (parts.size() == 1) return joined;
  joined.join = arrangement.join;
  switch (arrangement.join) {
    case PartsJoin::kReplicated:
      WEIGHTFS_CHECK(CheckEqual(parts, limits, scope.environment().budget()));
      return joined;
    case PartsJoin::kSum: {
      WEIGHTFS_TRY(joined.view, Sum(parts));
      return joined;
    }
    case PartsJoin::kMean: {
      WEIGHTFS_TRY(joined.view, Mean(parts));
      return joined;
    }
    case PartsJoin::kCut:
    case PartsJoin::kCutOneOf:
      break;
  }
  WEIGHTFS_TRY(joined.dimension, CutDimension(arrangement, parts, skipped, scope));
  joined.join = PartsJoin::kCut;
  for (size_t i = 1; i < parts.size(); ++i) {
    Shape shape = parts[i].shape();
    if (shape.size() == parts[0].shape().size()) shape[joined.dimension] = parts[0].shape()[joined.dimension];
    if (shape != parts[0].shape() || parts[i].dtype() != parts[0].dtype())
      return Fail(
          ErrorCode::kCorrupt,
          fmt::format("part 0 is {} of shape {} and part {} {} of shape {}; expected parts that join along "
                      "dimension {} by `{}`",
                      SafetensorsName(parts[0].dtype()), ShapeText(parts[0].shape()), i,
                      SafetensorsName(parts[i].dtype()), ShapeText(parts[i].shape()), joined.dimension,
                      arrangement.text));
  }
  WEIGHTFS_TRY(joined.view, Concat(parts, joined.dimension));
  return joined;
}

}  // namespace weightfs::family
