/// \file
/// The block table of an lz4 file (docs/formats/lz4.md). Internal to convert/io.
#pragma once

#include <cstdint>
#include <vector>

#include "convert/base/limits.h"
#include "convert/io/random_access_file.h"

namespace weightfs {

inline constexpr uint32_t kLz4FrameMagic = 0x184d2204;
inline constexpr uint32_t kLz4LegacyMagic = 0x184c2102;
inline constexpr uint32_t kLz4SkippableMagic = 0x184d2a50;  ///< And the fifteen numbers after it.

/// One block: where it is stored, and what it holds.
struct Lz4Block {
  uint64_t stored_offset = 0;   ///< Of its data in the file, past the 4 bytes of its size.
  uint32_t stored_bytes = 0;    ///< Of its data, without the checksum that follows it.
  bool compressed = true;       ///< False: the data is the content.
  bool has_checksum = false;    ///< 4 bytes of XXH32 follow the data.
  uint64_t content_offset = 0;  ///< Of its first byte in the decompressed content.
  uint32_t content_bytes = 0;
};

/// Where every block of every frame is. Immutable once built. 12 bytes of memory per block.
class Lz4Table {
 public:
  /// Walks the headers of `file`. Trusts that every block but a frame's last holds the frame's block size:
  /// their number must agree with the content size, and no block may be too short to expand to its size.
  /// \error as OpenLz4
  static Result<Lz4Table> Build(const RandomAccessFile& file, const Limits& limits);

  uint64_t content_bytes() const { return content_bytes_; }
  uint64_t block_count() const { return offsets_.size(); }
  /// The block `index` below `block_count()`.
  Lz4Block Block(uint64_t index) const;
  /// The index of the block that holds the content's byte `offset_bytes`, which lies within the content.
  uint64_t BlockAt(uint64_t offset_bytes) const;

 private:
  friend class Lz4Walker;
  struct Frame {
    uint64_t content_begin = 0;
    uint64_t content_end = 0;
    uint64_t first_block = 0;
    uint8_t block_bytes_log2 = 0;
    bool has_block_checksums = false;
  };
  static constexpr uint32_t kUncompressed = 1u << 31;  // as in the file

  std::vector<Frame> frames_;  // those with content
  std::vector<uint64_t> offsets_;
  std::vector<uint32_t> sizes_;  // stored bytes, and kUncompressed
  uint64_t content_bytes_ = 0;
};

}  // namespace weightfs
