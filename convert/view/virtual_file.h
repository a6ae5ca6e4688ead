/// \file
/// Files that are synthesized on read, and the buffers that reading needs.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "convert/base/bytes.h"
#include "convert/base/result.h"
#include "convert/io/block_cache.h"
#include "convert/io/random_access_file.h"
#include "convert/view/tensor_view.h"

namespace weightfs {

/// The most that one `VirtualFile::Read` is asked for, in bytes: the FUSE request size.
inline constexpr uint64_t kReadBytesMax = 1_MiB;

/// The working memory of one reading thread (about 2 MiB): a reply buffer and a source buffer, both page-aligned.
/// Not thread-safe: one per thread, used by one read at a time.
class ReadScratch {
 public:
  /// Aborts the process when memory is exhausted (nothing could be served).
  ReadScratch();
  ~ReadScratch();
  ReadScratch(const ReadScratch&) = delete;
  ReadScratch& operator=(const ReadScratch&) = delete;

  std::span<std::byte> reply() const { return reply_; }    ///< kReadBytesMax + kReadSlackBytes
  std::span<std::byte> source() const { return source_; }  ///< kReadBytesMax + kReadSlackBytes

 private:
  std::span<std::byte> reply_;
  std::span<std::byte> source_;
};

/// A read-only file of fixed size whose bytes are made when they are read. Immutable; thread-safe.
class VirtualFile {
 public:
  virtual ~VirtualFile() = default;
  VirtualFile(const VirtualFile&) = delete;
  VirtualFile& operator=(const VirtualFile&) = delete;

  uint64_t size_bytes() const { return size_bytes_; }

  /// Produces `range`, which lies within the file and is at most `kReadBytesMax` long: all of it, or an error.
  /// \return a span of `range.size()` bytes, valid until `scratch` is used again (or for the life of the file)
  /// \error kInvalidArgument       a range outside the file, or a longer one
  /// \error kIo, kStale, kCorrupt  as RandomAccessFile::ReadAt
  virtual Result<std::span<const std::byte>> Read(ByteRange range, ReadScratch& scratch) const = 0;

  /// What reads of this file may wait for. Files whose reads wait for the same sources should share a group (any
  /// address that stands for those sources): a server bounds the reads in progress per group, so that a source that
  /// stalls takes a bounded number of threads however many files are made of it. nullptr: reads never wait (memory).
  virtual const void* wait_group() const { return this; }

 protected:
  explicit VirtualFile(uint64_t size_bytes) : size_bytes_(size_bytes) {}

  /// What `Read` may be asked for: a bug of the caller otherwise, reported rather than served.
  Status CheckReadRange(ByteRange range) const {
    if (range.begin <= range.end && range.end <= size_bytes_ && range.size() <= kReadBytesMax) [[likely]]
      return {};
    return Fail(ErrorCode::kInvalidArgument, "a read past the end of the file, or of more than 1 MiB");
  }

 private:
  uint64_t size_bytes_;
};

using VirtualFilePtr = std::shared_ptr<const VirtualFile>;

/// `prefix` (a header) followed by the bytes of `views`, end to end. Reads across small views are coalesced into
/// few source reads; views whose storage order differs from theirs go through panels in `cache`.
/// \error kLimitExceeded  the total does not fit 63 bits
Result<VirtualFilePtr> MakeViewFile(std::string prefix, std::vector<TensorView> views,
                                    std::shared_ptr<BlockCache> cache);

/// The bytes of `file`, unchanged.
VirtualFilePtr MakePassThroughFile(FilePtr file);

/// `bytes`, held in memory.
VirtualFilePtr MakeTextFile(std::string bytes);

}  // namespace weightfs
