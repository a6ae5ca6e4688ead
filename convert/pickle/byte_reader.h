/// \file
/// Hands out the bytes of a pickle, from memory or piece by piece from a file, and holds them to the rules of
/// FRAME. Internal to `convert/pickle`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "convert/base/result.h"
#include "convert/io/random_access_file.h"
#include "convert/pickle/diagnostics.h"
#include "convert/pickle/memory_budget.h"

namespace weightfs::pickle {

/// Reads forward only. Used by one thread.
class ByteReader {
 public:
  /// \param limit_bytes  the most bytes that one pickle may have
  ByteReader(std::span<const std::byte> stream, uint64_t limit_bytes, MemoryBudget& budget,
             Diagnostics& diagnostics);
  /// \pre offset_bytes <= file.size_bytes()
  ByteReader(const RandomAccessFile& file, uint64_t offset_bytes, uint64_t limit_bytes, MemoryBudget& budget,
             Diagnostics& diagnostics);
  ByteReader(const ByteReader&) = delete;
  ByteReader& operator=(const ByteReader&) = delete;
  ~ByteReader() { budget_.Release(buffer_.size()); }

  /// Bytes read so far.
  uint64_t position_bytes() const { return position_; }

  /// Reads an opcode, and tells the diagnostics where it lies.
  Result<uint8_t> Opcode();
  /// Reads `count` bytes; they last until the next call.
  Result<std::string_view> Take(uint64_t count);
  /// Reads up to a line feed, which is not part of the result; it lasts until the next call.
  Result<std::string_view> TakeLine();
  /// Reads a little-endian integer.
  template <typename T>
  Result<T> TakeInteger() {
    WEIGHTFS_TRY(const std::string_view bytes, Take(sizeof(T)));
    return LoadLittleEndian<T>(bytes.data());
  }

  /// Begins a frame of `size_bytes` bytes after the current position.
  Status OpenFrame(uint64_t size_bytes);
  /// Bytes of the current frame that were not read yet.
  uint64_t FrameRestBytes() const { return frame_end_ ? *frame_end_ - position_ : 0; }

 private:
  void SetFence();
  /// The error of wanting `count` bytes when the fence is nearer.
  std::unexpected<Error> PastFence(uint64_t count) const;
  /// Makes `count` bytes lie at `window_`. \pre count <= fence_ - position_
  Status Fill(uint64_t count);

  const RandomAccessFile* file_ = nullptr;
  uint64_t file_offset_ = 0;
  MemoryBudget& budget_;
  Diagnostics& diagnostics_;
  uint64_t position_ = 0;
  uint64_t stream_bytes_;  // From where the pickle begins to the end of the stream.
  uint64_t limit_bytes_;
  uint64_t fence_ =
      0;  // No byte from here on may be read now: the end of the stream or the frame, or the limit.
  std::optional<uint64_t> frame_end_;
  std::string_view window_;        // Bytes from position_ on that are in memory.
  std::vector<std::byte> buffer_;  // Of a file: what `window_` lies in.
};

}  // namespace weightfs::pickle
