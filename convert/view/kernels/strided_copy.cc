#include "convert/view/kernels/strided_copy.h"

#include <algorithm>
#include <cstring>

namespace weightfs {
namespace {

/// Units on each side of a tile: a cache line of 16-bit units in the destination, and few enough lines on
/// either side to stay in the first-level cache.
constexpr uint64_t kTileUnits = 32;

/// Copies the box of two modes in tiles, so that neither side is walked across all of its cache lines at
/// once.
template <typename Unit>
void CopyPlane(const std::byte* source, std::byte* destination, const CopyMode& outer,
               const CopyMode& inner) {
  for (uint64_t outer_begin = 0; outer_begin < outer.extent; outer_begin += kTileUnits) {
    const uint64_t outer_end = std::min(outer.extent, outer_begin + kTileUnits);
    for (uint64_t inner_begin = 0; inner_begin < inner.extent; inner_begin += kTileUnits) {
      const uint64_t inner_count = std::min(inner.extent - inner_begin, kTileUnits);
      for (uint64_t i = outer_begin; i < outer_end; ++i) {
        const std::byte* from =
            source + i * outer.source_stride_bytes + inner_begin * inner.source_stride_bytes;
        std::byte* to =
            destination + i * outer.destination_stride_bytes + inner_begin * inner.destination_stride_bytes;
        for (uint64_t j = 0; j < inner_count; ++j) {
          std::memcpy(to, from, sizeof(Unit));
          from += inner.source_stride_bytes;
          to += inner.destination_stride_bytes;
        }
      }
    }
  }
}

void CopyPlane(const std::byte* source, std::byte* destination, const CopyMode& outer, const CopyMode& inner,
               uint32_t unit_bytes) {
  switch (unit_bytes) {
    case 1:
      return CopyPlane<uint8_t>(source, destination, outer, inner);
    case 2:
      return CopyPlane<uint16_t>(source, destination, outer, inner);
    case 4:
      return CopyPlane<uint32_t>(source, destination, outer, inner);
    default:
      return CopyPlane<uint64_t>(source, destination, outer, inner);
  }
}

/// Takes the mode that `less` puts first out of `modes`; one index at distance 0 when there is none.
template <typename Less>
CopyMode TakeMode(std::vector<CopyMode>& modes, Less less) {
  if (modes.empty()) return {1, 0, 0};
  const auto taken = std::min_element(modes.begin(), modes.end(), less);
  const CopyMode mode = *taken;
  modes.erase(taken);
  return mode;
}

}  // namespace

bool ModeWalk::Next() {
  for (size_t i = modes_.size(); i-- > 0;) {
    const CopyMode& mode = modes_[i];
    if (++indices_[i] < mode.extent) {
      source_bytes_ += mode.source_stride_bytes;
      destination_bytes_ += mode.destination_stride_bytes;
      return true;
    }
    indices_[i] = 0;
    source_bytes_ -= (mode.extent - 1) * mode.source_stride_bytes;
    destination_bytes_ -= (mode.extent - 1) * mode.destination_stride_bytes;
  }
  return false;
}

void CopyStrided(const std::byte* source, std::byte* destination, std::span<const CopyMode> modes,
                 uint32_t unit_bytes) {
  std::vector<CopyMode> rest;
  uint64_t run_bytes = unit_bytes;
  for (const CopyMode& mode : modes) {
    if (mode.extent == 1) continue;
    if (run_bytes == unit_bytes && mode.source_stride_bytes == unit_bytes &&
        mode.destination_stride_bytes == unit_bytes) {
      run_bytes = mode.extent * unit_bytes;
    } else {
      rest.push_back(mode);
    }
  }
  if (run_bytes > unit_bytes) {
    ModeWalk walk(rest);
    do {
      std::memcpy(destination + walk.destination_bytes(), source + walk.source_bytes(), run_bytes);
    } while (walk.Next());
    return;
  }
  // Writes go along the destination, and tiles keep the reads along the source.
  const CopyMode inner = TakeMode(rest, [](const CopyMode& a, const CopyMode& b) {
    return a.destination_stride_bytes < b.destination_stride_bytes;
  });
  const CopyMode outer = TakeMode(rest, [](const CopyMode& a, const CopyMode& b) {
    return a.source_stride_bytes < b.source_stride_bytes;
  });
  ModeWalk walk(rest);
  do {
    CopyPlane(source + walk.source_bytes(), destination + walk.destination_bytes(), outer, inner, unit_bytes);
  } while (walk.Next());
}

}  // namespace weightfs
