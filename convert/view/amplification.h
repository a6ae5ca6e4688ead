/// \file
/// How many source bytes a view costs.
#pragma once

#include <cstdint>

#include "convert/base/result.h"
#include "convert/view/tensor_view.h"

namespace weightfs {

/// Source bytes read for each stored byte of `view` when it is read once, front to back: 1 when nothing is
/// read twice or in vain. Reads nothing.
/// \param cache_bytes  the `--cache` that the view would be served with
/// \error as MakeViewFile
Result<double> ReadAmplification(const TensorView& view, uint64_t cache_bytes);

}  // namespace weightfs
