#include "convert/view/kernels/strided_copy.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace weightfs {
namespace {

constexpr size_t kLineBytes = 64;
constexpr size_t kVectorBytes = 16;

/// Units on each side of a tile: a cache line of them. Each line of either side is then touched once.
template <typename Unit>
constexpr uint64_t kTileUnits = kLineBytes / sizeof(Unit);

template <typename Unit>
using Vector [[gnu::vector_size(kVectorBytes)]] = Unit;

/// The lower (`kHalf` 0) or upper halves of `a` and `b`, their units in turn.
template <typename Unit, size_t kHalf, size_t... kIndices>
Vector<Unit> Interleave(Vector<Unit> a, Vector<Unit> b, std::index_sequence<kIndices...>) {
  constexpr size_t kUnits = kVectorBytes / sizeof(Unit), kFirst = kHalf * kUnits / 2;
  return __builtin_shufflevector(a, b, (kFirst + kIndices / 2 + kIndices % 2 * kUnits)...);
}

template <typename Unit>
constexpr size_t kVectorUnits = kVectorBytes / sizeof(Unit);

template <typename Unit>
struct Square {
  Vector<Unit> rows[kVectorUnits<Unit>];
};

/// One round: the first half of the rows interleaved with the second. Written out by the compiler: a loop
/// would keep the rows in memory.
template <typename Unit, size_t... kRows>
Square<Unit> InterleaveHalves(const Square<Unit>& square, std::index_sequence<kRows...>) {
  constexpr size_t kHalf = kVectorUnits<Unit> / 2;
  constexpr auto kIndices = std::make_index_sequence<kVectorUnits<Unit>>();
  return {Interleave<Unit, kRows % 2>(square.rows[kRows / 2], square.rows[kRows / 2 + kHalf], kIndices)...};
}

/// Each round rotates the bits of the units' positions by one. After as many rounds as an index has bits,
/// rows and columns have changed places.
template <typename Unit, size_t kRounds = std::bit_width(kVectorUnits<Unit>) - 1>
Square<Unit> Transpose(const Square<Unit>& square) {
  if constexpr (kRounds == 0) {
    return square;
  } else {
    constexpr auto kRows = std::make_index_sequence<kVectorUnits<Unit>>();
    return Transpose<Unit, kRounds - 1>(InterleaveHalves<Unit>(square, kRows));
  }
}

/// Transposes a square whose rows are `kLineBytes` apart on both sides.
template <typename Unit, size_t... kRows>
void TransposeSquare(const std::byte* source, std::byte* destination, std::index_sequence<kRows...>) {
  Square<Unit> square;
  (std::memcpy(&square.rows[kRows], source + kRows * kLineBytes, kVectorBytes), ...);
  square = Transpose<Unit>(square);
  (std::memcpy(destination + kRows * kLineBytes, &square.rows[kRows], kVectorBytes), ...);
}

/// Copies a whole tile whose units adjoin along one mode in the source and along the other in the
/// destination. The lines pass through buffers: strides are often large powers of two, and lines that far
/// apart displace one another.
template <typename Unit>
void TransposeTile(const std::byte* source, uint64_t source_stride, std::byte* destination,
                   int64_t destination_stride) {
  constexpr size_t kLines = kTileUnits<Unit>, kUnits = kVectorUnits<Unit>;
  alignas(kLineBytes) std::byte in[kLines * kLineBytes], out[kLines * kLineBytes];
  for (size_t i = 0; i < kLines; ++i)
    std::memcpy(in + i * kLineBytes, source + i * source_stride, kLineBytes);
  for (size_t row = 0; row < kLines; row += kUnits)
    for (size_t column = 0; column < kLines; column += kUnits)
      TransposeSquare<Unit>(in + row * kLineBytes + column * sizeof(Unit),
                            out + column * kLineBytes + row * sizeof(Unit),
                            std::make_index_sequence<kUnits>());
  for (size_t i = 0; i < kLines; ++i)
    std::memcpy(destination + static_cast<int64_t>(i) * destination_stride, out + i * kLineBytes, kLineBytes);
}

/// Copies a part of a plane unit by unit.
template <typename Unit>
void CopyTile(const std::byte* source, std::byte* destination, const CopyMode& outer, const CopyMode& inner) {
  for (uint64_t i = 0; i < outer.extent; ++i) {
    const std::byte* from = source + i * outer.source_stride_bytes;
    std::byte* to = destination + static_cast<int64_t>(i) * outer.destination_stride_bytes;
    for (uint64_t j = 0; j < inner.extent; ++j) {
      std::memcpy(to, from, sizeof(Unit));
      from += inner.source_stride_bytes;
      to += inner.destination_stride_bytes;
    }
  }
}

/// Copies the box of two modes in tiles, so that neither side is walked across all of its cache lines at
/// once.
template <typename Unit>
void CopyPlane(const std::byte* source, std::byte* destination, CopyMode outer, CopyMode inner) {
  constexpr uint64_t kTile = kTileUnits<Unit>;
  const bool transpose =
      outer.source_stride_bytes == sizeof(Unit) && inner.destination_stride_bytes == int64_t{sizeof(Unit)};
  const uint64_t outer_extent = outer.extent, inner_extent = inner.extent;
  for (uint64_t i = 0; i < outer_extent; i += kTile) {
    outer.extent = std::min(outer_extent - i, kTile);
    for (uint64_t j = 0; j < inner_extent; j += kTile) {
      inner.extent = std::min(inner_extent - j, kTile);
      const std::byte* from = source + i * outer.source_stride_bytes + j * inner.source_stride_bytes;
      std::byte* to = destination + static_cast<int64_t>(i) * outer.destination_stride_bytes +
                      static_cast<int64_t>(j) * inner.destination_stride_bytes;
      if (transpose && outer.extent == kTile && inner.extent == kTile) {
        TransposeTile<Unit>(from, inner.source_stride_bytes, to, outer.destination_stride_bytes);
      } else {
        CopyTile<Unit>(from, to, outer, inner);
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
    destination_bytes_ -= static_cast<int64_t>(mode.extent - 1) * mode.destination_stride_bytes;
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
        mode.destination_stride_bytes == int64_t{unit_bytes}) {
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
    return std::abs(a.destination_stride_bytes) < std::abs(b.destination_stride_bytes);
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
