/// \file
/// Whether two views hold the same elements: by where they lie, else by their bytes.
#pragma once

#include "convert/base/limits.h"
#include "convert/base/result.h"
#include "convert/family/expression.h"
#include "convert/view/tensor_view.h"

namespace weightfs::family {

/// Of equal dtype, shape, and elements: the same stored ones, or of equal bytes. Reads both, 1 MiB at a time,
/// up to the first difference, and charges what it reads to `budget.compared_bytes`.
/// \error kLimitExceeded  more than the budget would have to be read
/// \error as VirtualFile::Read
Result<bool> HoldSameElements(const TensorView& a, const TensorView& b, const Limits& limits, Budget& budget);

}  // namespace weightfs::family
