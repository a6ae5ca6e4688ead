/// \file
/// Rounding between floating-point formats by exact integer arithmetic, one value at a time: the oracle of
/// the cast kernels, written from the definition of the formats and sharing nothing with them.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

#include "convert/base/dtype.h"

namespace weightfs::testing {

/// A binary interchange format: a sign, an exponent field and a fraction field.
struct FloatFormat {
  int exponent_bits;
  int fraction_bits;
  constexpr int bias() const { return (1 << (exponent_bits - 1)) - 1; }
  constexpr uint64_t exponent_mask() const { return (uint64_t{1} << exponent_bits) - 1; }
  constexpr uint64_t fraction_mask() const { return (uint64_t{1} << fraction_bits) - 1; }
  constexpr int width() const { return 1 + exponent_bits + fraction_bits; }
};

inline constexpr FloatFormat FormatOf(DType dtype) {
  switch (dtype) {
    case DType::kF64:
      return {11, 52};
    case DType::kF32:
      return {8, 23};
    case DType::kF16:
      return {5, 10};
    default:
      return {8, 7};
  }
}

/// The value of `bits` in `from`, rounded once to `to`, ties to even. A NaN keeps its sign and leading
/// payload bits and turns quiet.
inline uint64_t RoundOnce(uint64_t bits, FloatFormat from, FloatFormat to) {
  const uint64_t sign = (bits >> (from.width() - 1)) << (to.width() - 1);
  const uint64_t exponent_field = bits >> from.fraction_bits & from.exponent_mask();
  const uint64_t fraction = bits & from.fraction_mask();
  const uint64_t infinity = to.exponent_mask() << to.fraction_bits;
  if (exponent_field == from.exponent_mask()) {
    if (fraction == 0) return sign | infinity;
    const int shift = to.fraction_bits - from.fraction_bits;
    const uint64_t payload = shift >= 0 ? fraction << shift : fraction >> -shift;
    return sign | infinity | payload | uint64_t{1} << (to.fraction_bits - 1);
  }
  // The magnitude is `significand` times 2 to the power of `exponent`.
  const uint64_t significand = exponent_field == 0 ? fraction : fraction | uint64_t{1} << from.fraction_bits;
  const int exponent =
      (exponent_field == 0 ? 1 : static_cast<int>(exponent_field)) - from.bias() - from.fraction_bits;
  if (significand == 0) return sign;
  // The last place of the result: that of the leading bit's binade, or of the subnormals.
  const int leading = exponent + 63 - std::countl_zero(significand);
  const int smallest_normal = 1 - to.bias();
  const int last_place = (leading > smallest_normal ? leading : smallest_normal) - to.fraction_bits;
  const int drop = last_place - exponent;
  uint64_t rounded = 0;
  if (drop <= 0) {
    rounded = significand << -drop;
  } else if (drop < 63) {
    const uint64_t rest = significand & ((uint64_t{1} << drop) - 1), half = uint64_t{1} << (drop - 1);
    rounded = significand >> drop;
    if (rest > half || (rest == half && (rounded & 1) != 0)) ++rounded;
  }
  // Written as one number, a carry out of the fraction moves the exponent on, and that of the largest gives
  // infinity.
  const uint64_t binade = static_cast<uint64_t>(last_place + to.fraction_bits - smallest_normal);
  const uint64_t magnitude = (binade << to.fraction_bits) + rounded;
  return sign | (magnitude < infinity ? magnitude : infinity);
}

/// `bits` of type `from` as `to`, as torch rounds and as docs/semantics.md says of NaN: f64 goes to the
/// 16-bit types by way of f32, and bf16 to f32 is a shift even for a signalling NaN.
inline uint64_t ScalarCast(uint64_t bits, DType from, DType to) {
  if (from == to) return bits;
  const FloatFormat f32 = FormatOf(DType::kF32);
  const uint64_t single = from == DType::kF32    ? bits
                          : from == DType::kBF16 ? bits << 16
                                                 : RoundOnce(bits, FormatOf(from), f32);
  return to == DType::kF32 ? single : RoundOnce(single, f32, FormatOf(to));
}

/// As ScalarCast, over packed elements.
inline void ScalarCastAll(const std::byte* source, std::byte* destination, size_t count, DType from,
                          DType to) {
  const size_t from_bytes = BitWidth(from) / 8, to_bytes = BitWidth(to) / 8;
  for (size_t i = 0; i < count; ++i) {
    uint64_t bits = 0;
    std::memcpy(&bits, source + i * from_bytes, from_bytes);
    bits = ScalarCast(bits, from, to);
    std::memcpy(destination + i * to_bytes, &bits, to_bytes);
  }
}

}  // namespace weightfs::testing
