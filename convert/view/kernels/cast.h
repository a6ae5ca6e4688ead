/// \file
/// Casts between f64, f32, f16 and bf16, bit for bit as torch rounds on a CPU.
///
/// Values: round to nearest, ties to even; overflow to infinity; subnormals kept. f64 to f16 and bf16 go
/// through f32 where torch does (two roundings). A NaN stays a quiet NaN with its sign and its leading
/// payload bits, whatever machine, position or length; torch's own NaN bits vary with all three.
#pragma once

#include <cstddef>
#include <cstdint>

#include "convert/base/dtype.h"

namespace weightfs {

/// Converts `count` elements from `source` to `destination`. Neither needs alignment; they do not overlap.
using CastKernel = void (*)(const std::byte* source, std::byte* destination, size_t count);

/// The kernel of a pair of castable types (dtype.h), the fastest this processor has; equal types give a copy.
/// Never null for castable types; null otherwise. Thread-safe.
CastKernel FindCastKernel(DType from, DType to);

}  // namespace weightfs
