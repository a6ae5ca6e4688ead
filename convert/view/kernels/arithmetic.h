/// \file
/// Arithmetic on packed elements of castable types (dtype.h), rounded as torch rounds on a CPU: f16 and bf16
/// are computed in f32 and rounded after every operation, f32 and f64 in their own type. Pointers need no
/// alignment.
#pragma once

#include <cstddef>

#include "convert/base/dtype.h"

namespace weightfs {

/// Multiplies each of `count` elements by `factor`, which is rounded to the type that is computed in.
void ScaleElements(std::byte* elements, size_t count, DType dtype, double factor);
/// Adds `term`, rounded likewise, to each element.
void AddToElements(std::byte* elements, size_t count, DType dtype, double term);
/// Divides each element by `divisor`, rounded likewise.
void DivideElements(std::byte* elements, size_t count, DType dtype, double divisor);
/// Adds `others[i]` to `sums[i]`. The two do not overlap.
void AddElements(std::byte* sums, const std::byte* others, size_t count, DType dtype);

}  // namespace weightfs
