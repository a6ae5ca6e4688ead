/// \file
/// One tensor in words: what `inspect` shows of a dtype, a shape, and where bytes come from.
#pragma once

#include <string>

#include "convert/convert.h"

namespace weightfs::cli {

/// "F16", or "F16→F32" when it is cast.
std::string TypeText(const TensorView& view);
/// "[768, 2304]"; "[]" for a scalar.
std::string ShapeText(const Shape& shape);

/// Source bytes that a full sequential read of `view` fetches for each stored byte it serves: 1 when all are
/// packed, more when it picks elements out of a wider span, less when it repeats them. 1 for a tensor of no
/// bytes.
double ReadAmplification(const TensorView& view);

/// Several lines: where the tensor is served, where its bytes come from and what is done to them.
std::string TensorText(const TensorReport& tensor);

}  // namespace weightfs::cli
