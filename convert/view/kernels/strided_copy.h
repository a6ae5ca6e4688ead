/// \file
/// Copies of boxes whose modes lie differently in source and destination: transposes and their like.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace weightfs {

/// One mode of a box: `extent` indices, this many bytes apart on either side; backwards in the destination
/// when a view flips them.
struct CopyMode {
  uint64_t extent = 0;
  uint64_t source_stride_bytes = 0;
  int64_t destination_stride_bytes = 0;
  friend bool operator==(const CopyMode&, const CopyMode&) = default;
};

/// Walks all index tuples of `modes`, the last mode fastest, keeping the byte offsets on both sides. Without
/// modes there is one tuple; a mode of extent 0 is not allowed.
class ModeWalk {
 public:
  explicit ModeWalk(std::span<const CopyMode> modes) : modes_(modes), indices_(modes.size(), 0) {}

  uint64_t source_bytes() const { return source_bytes_; }
  int64_t destination_bytes() const { return destination_bytes_; }
  /// Goes to the next tuple; false, and back at the first, after the last.
  bool Next();

 private:
  std::span<const CopyMode> modes_;
  std::vector<uint64_t> indices_;
  uint64_t source_bytes_ = 0;
  int64_t destination_bytes_ = 0;
};

/// Copies the unit at every index tuple of `modes` from `source` to `destination`.
/// \param modes       in any order; no extent 0
/// \param unit_bytes  1, 2, 4 or 8
/// Allocates a little: for making panels, not for every read.
void CopyStrided(const std::byte* source, std::byte* destination, std::span<const CopyMode> modes,
                 uint32_t unit_bytes);

}  // namespace weightfs
