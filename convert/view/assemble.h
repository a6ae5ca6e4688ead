/// \file
/// A tensor put together from boxes of it, as sharded checkpoints keep them.
///
/// Law, brute-forced in tests/unit/view/assemble_test.cc: `Assemble(shape, dtype, parts)[i]` is
/// `part.view[i - part.offsets]` for the one part whose box holds `i`. The result is again pieces, as of any
/// operation of algebra.h; boxes that continue each other become one.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "convert/base/dtype.h"
#include "convert/base/result.h"
#include "convert/view/tensor_view.h"

namespace weightfs {

/// A box of a tensor: in each axis the indices `[offsets, offsets + sizes)`.
struct Box {
  std::span<const uint64_t> offsets;
  std::span<const uint64_t> sizes;
};

/// Where boxes that should cover a tensor just once do not: a region all of which is covered `count` times,
/// 0 (a gap) or 2 and more (an overlap).
struct TilingFault {
  Shape begin;
  Shape end;
  uint64_t count = 0;
};

/// Finds the first fault, in row-major order of its first element; nothing when each element of a tensor of
/// `shape` lies in just one box. Boxes without elements count for nothing. Takes time in the number of boxes,
/// times 2 for each axis that any of them cuts.
/// \error kInvalidArgument  a box of another rank, or one that reaches past the tensor; names its number
/// \error kLimitExceeded    so many boxes, cut along so many axes, that this would take long
Result<std::optional<TilingFault>> FindTilingFault(const Shape& shape, std::span<const Box> boxes);

/// A part of a tensor and the index of its first element in the whole.
struct PlacedView {
  Shape offsets;
  TensorView view;
};

/// The tensor of `shape` whose boxes are `parts`. Parts without elements are left out.
/// \param parts  of the stored type `dtype`, not cast and without arithmetic; equal in element operations;
///               their boxes cover the tensor just once
/// \error kInvalidArgument  they are not, or do not
/// \error kUnsupported      elements narrower than a byte in more than one part; parts that are sums
/// \error kLimitExceeded    as FindTilingFault; more pieces than `Limits::view_pieces_max`
Result<TensorView> Assemble(Shape shape, DType dtype, std::span<const PlacedView> parts);

}  // namespace weightfs
