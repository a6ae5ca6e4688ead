/// \file
/// The parts of a tensor, checked and put together.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "convert/base/result.h"
#include "convert/view/assemble.h"

namespace weightfs {

/// Leaves one of each set of equal boxes: copies of a part that several ranks hold. Stable.
/// \param offsets, sizes  of the boxes, in the same order
/// \return numbers of the boxes that stay
std::vector<size_t> DropCopies(std::span<const Box> boxes);

/// Checks that `boxes` cover a tensor of `shape` just once.
/// \param where  "FILE: tensor NAME", for messages
/// \error kNotFound  a region in no box; kCorrupt: a region in several. The message names it.
Status CheckCovered(const Shape& shape, std::span<const Box> boxes, std::string_view where);

/// A tensor and of how many parts it was put together.
struct AssembledParts {
  TensorView view;
  size_t part_count = 0;
};

/// Puts the tensor of `shape` together from its parts, of which several ranks may hold copies.
/// \param where  as of CheckCovered
/// \error as CheckCovered and Assemble
Result<AssembledParts> AssembleParts(Shape shape, DType dtype, std::span<const PlacedView> parts,
                                     std::string_view where);

}  // namespace weightfs
