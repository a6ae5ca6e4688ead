/// \file
/// Rearrangements done to views: parts joined, axes resolved against shapes, the algebra applied.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "convert/base/result.h"
#include "convert/family/environment.h"
#include "convert/family/rearrangement.h"
#include "convert/view/tensor_view.h"

namespace weightfs::family {

/// An axis of the left side of a step, with its size.
struct ResolvedAxis {
  std::string name;  ///< Empty: `1`, or a dimension of `...`.
  uint64_t size = 1;
  /// Begin and count of the indices that are taken, in order of the result.
  std::vector<std::pair<uint64_t, uint64_t>> taken;
  bool is_single = false;  ///< One index is taken, and the axis goes away.

  bool IsWhole() const { return taken.size() == 1 && taken[0] == std::pair<uint64_t, uint64_t>(0, size); }
  uint64_t TakenCount() const;
};

/// A step for one shape.
struct ResolvedStep {
  std::vector<ResolvedAxis> axes;          ///< Of all left dimensions, in order.
  std::vector<size_t> axes_of;             ///< How many of them each left dimension has.
  std::vector<std::vector<size_t>> right;  ///< For each right dimension: its axes.

  Shape LeftShape() const;
  Shape RightShape() const;
};

/// The sizes of axes in one line.
class AxisScope {
 public:
  AxisScope(ScopedEnvironment& environment, uint64_t parts) : environment_(environment), parts_(parts) {}
  /// Nothing: no size is known.
  Result<std::optional<uint64_t>> Size(const std::string& axis) const;
  ScopedEnvironment& environment() const { return environment_; }

 private:
  ScopedEnvironment& environment_;
  uint64_t parts_;
};

/// Fits `step` to `shape`.
/// \error kCorrupt  it does not fit: another rank, a dimension that is not the product of its axes (names the
///                  expression and both values), an index outside its axis
Result<ResolvedStep> ResolveStep(const Step& step, const Shape& shape, const AxisScope& scope);

/// As `ResolveStep`, for the shape that the right side has: free axes and `...` follow from it.
/// \error kUnsupported  the size of an axis of which indices are taken does not follow
Result<ResolvedStep> ResolveStepBackwards(const Step& step, const Shape& shape, const AxisScope& scope);

/// Does `step` to `view`, whose shape is the step's left shape.
Result<TensorView> ApplyStep(const ResolvedStep& step, const TensorView& view);

/// How parts were joined.
struct JoinedParts {
  TensorView view;
  PartsJoin join = PartsJoin::kReplicated;
  size_t dimension = 0;  ///< Of kCut.
};

/// Joins the parts of one tensor as the marks of `arrangement` say.
/// \param skipped  leading dimensions of the arrangement that the tensor does not have (it will be stacked)
/// \error kCorrupt  parts that do not fit, or that should be equal and are not
Result<JoinedParts> JoinParts(const Arrangement& arrangement, std::span<const TensorView> parts,
                              size_t skipped, const AxisScope& scope, const Limits& limits);

/// The marked left dimensions, as dimensions of a tensor of `rank` that lacks the first `skipped` ones.
/// \error kCorrupt  another rank; kInvalidArgument  one of the skipped ones is marked
Result<std::vector<std::pair<size_t, const Dimension*>>> MarkedDimensions(const Arrangement& arrangement,
                                                                          size_t rank, size_t skipped);

/// `[2, 3]`
std::string ShapeText(std::span<const uint64_t> shape);

}  // namespace weightfs::family
