/// \file
/// How the elements of a tensor sit in its storage.
///
/// Terms. A *unit* is the smallest thing that is moved: one element, or the byte that holds a pair of 4-bit
/// elements. A *mode* is an (extent, stride_bytes) pair. A layout lists modes outermost first; the row-major
/// flat unit index, decomposed over the extents, gives the byte position `offset_bytes + sum(index_i *
/// stride_i)`. Shape is not part of a layout, so reshape changes nothing here.
///
/// Normal form, kept by every constructor: no mode of extent 1; two neighbours (e0, s0), (e1, s1) with
/// s0 == e1 * s1 are one mode (e0 * e1, s1); a layout of no units has no modes. Two layouts are equal exactly
/// when their normal forms, unit counts and unit sizes are equal (offset of an empty layout does not count).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "convert/base/bytes.h"
#include "convert/base/limits.h"
#include "convert/base/result.h"

namespace weightfs {

struct Mode {
  uint64_t extent = 0;
  uint64_t stride_bytes = 0;
  friend bool operator==(const Mode&, const Mode&) = default;
};

/// Immutable after construction; a value; safe to share between threads.
class Layout {
 public:
  Layout() = default;

  /// `unit_count` units packed one after the other from `offset_bytes`.
  /// \error kCorrupt  the end does not fit 64 bits
  static Result<Layout> Contiguous(uint64_t unit_count, uint32_t unit_bytes, uint64_t offset_bytes);

  /// The layout of a torch tensor: `shape[i]` units at distance `strides[i]` units, from `offset` units on.
  /// \param storage_bytes  size of the storage; every unit must lie within it (a tensor without units needs
  /// none)
  /// \error kCorrupt        a unit outside the storage, or arithmetic that does not fit 64 bits; states the
  /// numbers
  /// \error kLimitExceeded  rank above the limit, or storage repeated (stride 0) beyond the limits
  static Result<Layout> Strided(std::span<const uint64_t> shape, std::span<const uint64_t> strides,
                                uint64_t offset, uint32_t unit_bytes, uint64_t storage_bytes,
                                const Limits& limits);

  /// The layout that lists these modes, outermost first. \pre every unit lies within a storage that was
  /// checked before: nothing is checked here, and the product of the extents fits 64 bits.
  static Layout FromModes(std::span<const Mode> modes, uint32_t unit_bytes, uint64_t offset_bytes);

  uint64_t unit_count() const { return unit_count_; }
  uint32_t unit_bytes() const { return unit_bytes_; }
  uint64_t offset_bytes() const { return offset_bytes_; }
  std::span<const Mode> modes() const { return modes_; }
  /// All units packed in row-major order.
  bool contiguous() const {
    return modes_.empty() || (modes_.size() == 1 && modes_[0].stride_bytes == unit_bytes_);
  }
  /// From the first to past the last byte of the storage that is used; empty when there are no units.
  ByteRange span_bytes() const;
  /// Units that lie packed one after the other, counting from any multiple of this number; at least 1.
  uint64_t run_units() const;
  /// Byte position in the storage of unit `index`, `index < unit_count()`.
  uint64_t PositionBytes(uint64_t index) const;

  friend bool operator==(const Layout&, const Layout&);

 private:
  std::vector<Mode> modes_;
  uint64_t unit_count_ = 0;
  uint64_t offset_bytes_ = 0;
  uint32_t unit_bytes_ = 1;
};

}  // namespace weightfs
