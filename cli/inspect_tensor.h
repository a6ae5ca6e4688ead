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

/// Several lines: where the tensor is served, where its bytes come from, what is done to them, and what
/// reading it costs.
/// \param cache_bytes  the `--cache` that it would be served with
std::string TensorText(const TensorReport& tensor, uint64_t cache_bytes);

}  // namespace weightfs::cli
