/// \file
/// Byte counts, byte ranges and checked arithmetic on sizes that came from a file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <type_traits>

namespace weightfs {

inline namespace literals {
constexpr uint64_t operator""_KiB(unsigned long long n) { return n << 10; }
constexpr uint64_t operator""_MiB(unsigned long long n) { return n << 20; }
constexpr uint64_t operator""_GiB(unsigned long long n) { return n << 30; }
}  // namespace literals

/// Half-open range `[begin, end)` of byte positions in one file or view; `begin <= end` always.
struct ByteRange {
  uint64_t begin = 0;
  uint64_t end = 0;

  constexpr uint64_t size() const { return end - begin; }
  constexpr bool empty() const { return begin == end; }
  friend bool operator==(const ByteRange&, const ByteRange&) = default;
};

/// `a + b`, or nothing when it does not fit 64 bits.
constexpr std::optional<uint64_t> CheckedAdd(uint64_t a, uint64_t b) {
  uint64_t sum = 0;
  if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}

/// `a * b`, or nothing when it does not fit 64 bits.
constexpr std::optional<uint64_t> CheckedMultiply(uint64_t a, uint64_t b) {
  uint64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

/// The product of all extents (1 for rank 0), or nothing when it does not fit 64 bits.
/// A zero extent gives 0 even when the others overflow.
constexpr std::optional<uint64_t> CheckedProduct(std::span<const uint64_t> extents) {
  for (uint64_t extent : extents)
    if (extent == 0) return 0;
  std::optional<uint64_t> product = 1;
  for (uint64_t extent : extents) {
    product = CheckedMultiply(*product, extent);
    if (!product) return std::nullopt;
  }
  return product;
}

/// `[offset, offset + size)` when it lies within `[0, limit)`, else nothing.
constexpr std::optional<ByteRange> CheckedRange(uint64_t offset, uint64_t size, uint64_t limit) {
  if (offset > limit || size > limit - offset) return std::nullopt;
  return ByteRange{offset, offset + size};
}

/// Rounds down or up to a multiple of `alignment`, a power of two. `AlignUp` must not overflow.
constexpr uint64_t AlignDown(uint64_t value, uint64_t alignment) { return value & ~(alignment - 1); }
constexpr uint64_t AlignUp(uint64_t value, uint64_t alignment) {
  return (value + alignment - 1) & ~(alignment - 1);
}

/// Loads a little-endian integer of type `T` from unaligned memory.
template <typename T>
inline T LoadLittleEndian(const void* from) {
  static_assert(std::is_integral_v<T>);
  static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "weightfs runs on little-endian machines");
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

}  // namespace weightfs
