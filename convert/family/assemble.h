/// \file
/// From boxes of a tensor, each a view, to the tensor.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "convert/base/result.h"
#include "convert/family/rearrange.h"
#include "convert/view/tensor_view.h"

namespace weightfs::family {

/// A box of a tensor whose dimensions are cut into axes: which indices of each axis, and their elements.
struct Box {
  std::vector<ResolvedAxis> axes;  ///< `taken` is the box: one range for each axis, or several.
  std::vector<size_t> axes_of;     ///< How many axes each dimension has.
  TensorView view;                 ///< Its shape: the number of indices taken of each axis.
};

/// The tensor that `boxes` fill.
/// \error kCorrupt      boxes of another shape, that overlap, or that leave a hole
/// \error kUnsupported  boxes that do not come apart by straight cuts
Result<TensorView> Assemble(const std::vector<Box>& boxes);

}  // namespace weightfs::family
