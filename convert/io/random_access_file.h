/// \file
/// Positional reads of immutable bytes: the only way source bytes reach the rest of weightfs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "convert/base/bytes.h"
#include "convert/base/result.h"

namespace weightfs {

/// Alignment of every read buffer, in bytes: a page, and the strictest direct I/O alignment that is used.
inline constexpr uint64_t kReadAlignmentBytes = 4096;
/// Room that `ReadWithin` may need beyond the range itself, in bytes.
inline constexpr uint64_t kReadSlackBytes = 2 * kReadAlignmentBytes;

/// A file, a part of one, or bytes in memory, of fixed size. Immutable; thread-safe.
class RandomAccessFile {
 public:
  virtual ~RandomAccessFile() = default;
  RandomAccessFile(const RandomAccessFile&) = delete;
  RandomAccessFile& operator=(const RandomAccessFile&) = delete;

  /// Size in bytes, fixed when the file was opened.
  uint64_t size_bytes() const { return size_bytes_; }

  /// The name for messages, as the user wrote it; a member of an archive is `FILE!MEMBER`.
  const std::string& name() const { return name_; }

  /// Reads exactly `destination.size()` bytes from `offset_bytes`, or fails.
  /// \error kInvalidArgument  the range does not lie within the file
  /// \error kStale            the underlying file is no longer the one that was opened
  /// \error kIo               the operating system failed the read, or the file ended early
  /// \error kCorrupt          a compressed file does not decode
  Status ReadAt(uint64_t offset_bytes, std::span<std::byte> destination) const;

  /// Reads `range` somewhere into `buffer` and returns where: direct I/O reads whole aligned blocks, and the
  /// wanted bytes lie inside them. Avoids the copy that `ReadAt` would need.
  /// \param buffer  aligned to `kReadAlignmentBytes`, of at least `range.size() + kReadSlackBytes` bytes
  /// \return a span of `range.size()` bytes inside `buffer`
  /// \error as ReadAt
  Result<std::span<const std::byte>> ReadWithin(ByteRange range, std::span<std::byte> buffer) const;

  /// Equal pieces of this file at equal distances, as a gather of columns takes them.
  struct Stride {
    uint64_t begin_bytes = 0;     ///< Of the first piece.
    uint64_t piece_bytes = 0;     ///< Of each piece.
    uint64_t distance_bytes = 0;  ///< From piece to piece; at least `piece_bytes`.
    uint64_t count = 0;           ///< At least 1.
  };
  /// Reads the pieces of `stride` and nothing between them, the i-th to `destination` + i * `pitch_bytes`.
  /// What lies between is expected to be read soon by others. Cheaper than as many reads: the file is checked
  /// once.
  /// \pre `pitch_bytes` is at least the size of a piece, and `destination` holds all pieces
  /// \error as ReadAt
  Status ReadStrided(const Stride& stride, std::span<std::byte> destination, uint64_t pitch_bytes) const;

  /// Says that `ReadStrided` will read `range` in parts: the device may begin at once. Never waits for it.
  virtual void WillRead(ByteRange range) const { (void)range; }

  /// Says that `range`, which `ReadStrided` read in parts, was read to its end.
  virtual void DropBehind(ByteRange range) const { (void)range; }

  /// Where these bytes lie, when they lie uncompressed in a file on disk: the file and the offset of our
  /// first byte in it, so that a reader may go there directly. `file == this, offset == 0` for a file itself;
  /// nullptr for memory and compressed bytes.
  struct Location {
    const RandomAccessFile* file = nullptr;
    uint64_t offset_bytes = 0;
  };
  virtual Location location() const { return {}; }

  /// Stands for what reads wait for: the file on disk whose reads these become. nullptr: nothing (memory).
  virtual const void* wait_group() const { return this; }

 protected:
  RandomAccessFile(std::string name, uint64_t size_bytes) : name_(std::move(name)), size_bytes_(size_bytes) {}

  /// `ReadAt` after its range check.
  virtual Status DoReadAt(uint64_t offset_bytes, std::span<std::byte> destination) const = 0;
  /// `ReadWithin` after its range check; reads to the start of `buffer` unless overridden.
  virtual Result<std::span<const std::byte>> DoReadWithin(ByteRange range, std::span<std::byte> buffer) const;
  /// `ReadStrided` after its range check; one `DoReadAt` a piece unless overridden.
  virtual Status DoReadStrided(const Stride& stride, std::span<std::byte> destination,
                               uint64_t pitch_bytes) const;

 private:
  std::string name_;
  uint64_t size_bytes_;
};

using FilePtr = std::shared_ptr<const RandomAccessFile>;

/// Bytes `[offset_bytes, offset_bytes + size_bytes)` of `file` as a file of its own.
/// \error kInvalidArgument  the range does not lie within `file`
Result<FilePtr> MakeSubFile(FilePtr file, uint64_t offset_bytes, uint64_t size_bytes, std::string name);

/// A file over bytes in memory, which it owns.
FilePtr MakeMemoryFile(std::string bytes, std::string name);

}  // namespace weightfs
