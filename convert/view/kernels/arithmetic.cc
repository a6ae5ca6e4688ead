#include "convert/view/kernels/arithmetic.h"

#include <algorithm>
#include <cstring>

#include "convert/view/kernels/cast.h"

namespace weightfs {
namespace {

/// Elements that are computed at a time: 4 KiB of f32, within the first cache.
constexpr size_t kBlockElements = 1024;

template <typename Number, typename Operation>
void InPlace(std::byte* elements, const std::byte* others, size_t count, Operation operation) {
  for (size_t i = 0; i < count; ++i) {
    Number value, other{};
    std::memcpy(&value, elements + i * sizeof value, sizeof value);
    if (others != nullptr) std::memcpy(&other, others + i * sizeof other, sizeof other);
    value = operation(value, other);
    std::memcpy(elements + i * sizeof value, &value, sizeof value);
  }
}

/// Half types: up to f32, the operation, and down again.
template <typename Operation>
void ByWayOfFloat(std::byte* elements, const std::byte* others, size_t count, DType dtype,
                  Operation operation) {
  const CastKernel up = FindCastKernel(dtype, DType::kF32), down = FindCastKernel(DType::kF32, dtype);
  alignas(64) std::byte block[kBlockElements * sizeof(float)], other[kBlockElements * sizeof(float)];
  constexpr size_t kHalfBytes = 2;
  for (size_t done = 0; done < count; done += kBlockElements) {
    const size_t part = std::min(kBlockElements, count - done);
    up(elements + done * kHalfBytes, block, part);
    if (others != nullptr) up(others + done * kHalfBytes, other, part);
    InPlace<float>(block, others != nullptr ? other : nullptr, part, operation);
    down(block, elements + done * kHalfBytes, part);
  }
}

/// `operation(a, b)` for numbers of either type.
template <typename Operation>
void Compute(std::byte* elements, const std::byte* others, size_t count, DType dtype, Operation operation) {
  if (dtype == DType::kF64) return InPlace<double>(elements, others, count, operation);
  if (dtype == DType::kF32) return InPlace<float>(elements, others, count, operation);
  ByWayOfFloat(elements, others, count, dtype, operation);
}

}  // namespace

void ScaleElements(std::byte* elements, size_t count, DType dtype, double factor) {
  Compute(elements, nullptr, count, dtype,
          [factor]<typename Number>(Number x, Number) { return x * static_cast<Number>(factor); });
}

void AddToElements(std::byte* elements, size_t count, DType dtype, double term) {
  Compute(elements, nullptr, count, dtype,
          [term]<typename Number>(Number x, Number) { return x + static_cast<Number>(term); });
}

void DivideElements(std::byte* elements, size_t count, DType dtype, double divisor) {
  Compute(elements, nullptr, count, dtype,
          [divisor]<typename Number>(Number x, Number) { return x / static_cast<Number>(divisor); });
}

void AddElements(std::byte* sums, const std::byte* others, size_t count, DType dtype) {
  Compute(sums, others, count, dtype, []<typename Number>(Number x, Number y) { return x + y; });
}

}  // namespace weightfs
