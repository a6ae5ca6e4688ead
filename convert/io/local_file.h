/// \file
/// A file on disk as it was when it was opened: positional reads, past the page cache where that is faster,
/// with a check after every read that the file is still the one that was opened.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "convert/io/random_access_file.h"

namespace weightfs {

/// How a source is read (`--source-io`).
enum class SourceIo : uint8_t {
  kAuto,      ///< O_DIRECT for ranges that are not in the page cache, where the file system allows it.
  kDirect,    ///< O_DIRECT wherever the file system allows it.
  kBuffered,  ///< Through the page cache.
};

/// Whether descriptors stay open for the life of the file.
enum class DescriptorPolicy : uint8_t {
  kHeld,     ///< Open from now on: weight files.
  kPerRead,  ///< Opened for each read and compared with what was there at first: many small files.
};

/// Counters of one file; each member is updated with relaxed atomics. A read is counted by the way it was
/// begun.
struct LocalFileCounters {
  std::atomic<uint64_t> direct_reads{0};
  std::atomic<uint64_t> buffered_reads{0};
  std::atomic<uint64_t> bytes_read{0};  ///< Source bytes asked of the kernel, alignment included.
};

/// How one file is read, and why: a snapshot for status.json.
struct SourceIoReport {
  bool direct_io_possible = false;
  std::string obstacle;       ///< Why O_DIRECT is not possible, or not wanted; empty when it is possible.
  bool drops_behind = false;  ///< What is read through the page cache is dropped from it again.
  uint64_t direct_reads = 0;
  uint64_t buffered_reads = 0;
  uint64_t bytes_read = 0;
};

/// What identifies a file's content: any difference is a change. ctime alone counts unless the link count,
/// the mode or the owner changed with it.
struct FileIdentity {
  uint64_t device = 0;
  uint64_t inode = 0;
  uint64_t size_bytes = 0;
  int64_t mtime_nanoseconds = 0;
  int64_t ctime_nanoseconds = 0;
  uint64_t link_count = 0;
  uint32_t mode = 0;
  uint32_t owner = 0;
  uint32_t group = 0;
};

/// A regular file. Immutable; thread-safe: reads share the descriptors and nothing else, and take no lock and
/// allocate nothing while they succeed.
///
/// **Change.** After every read the descriptor and the name (relative to a held descriptor of its folder, so
/// that moving a parent folder is no change) are looked at again; a name that is gone or names another file
/// is a change. Once a change was seen every later read fails with kStale, `error_number` ESTALE. What the
/// kernel does not show is not seen: a second write within one tick of the clock on kernels before 6.13, a
/// store through a mapping to a page that was dirty already.
///
/// **Page cache.** With kAuto, `ReadWithin` asks how many of the pages of its range are cached. From 7/8 on
/// it reads them through the cache: the few missing pages cost less than reading all from the device again.
/// Below, or where the kernel does not tell (the file is not this user's to write), it reads past the cache.
/// Ranges under 16 KiB are always read through it: neighbouring small reads share pages, and direct ones
/// would read each page many times. Read-ahead is off on a file that can be read directly, lest one small
/// read make its neighbourhood "cached". `ReadAt` is buffered unless destination and range are aligned:
/// metadata stays cached. Where O_DIRECT is impossible, read-ahead stays on, and a file of which under 1/8
/// was cached when it was opened is dropped from the cache behind the reads; when that is not known nothing
/// is dropped, for it may be others' cache. `ReadStrided` goes through the cache, since what lies between its
/// pieces is wanted next; `DropBehind` drops that again, under the same condition.
class LocalFile : public RandomAccessFile {
 public:
  struct Options {
    SourceIo source_io = SourceIo::kAuto;
    DescriptorPolicy descriptors = DescriptorPolicy::kHeld;
  };

  /// Opens `path`, following symbolic links (the caller has checked where they lead).
  /// \param name  the name for messages, usually the path as the user wrote it
  /// \error kIo          it cannot be opened or read, by errno; EMFILE names `ulimit -n` (see
  /// descriptor_limit.h)
  /// \error kStale       it was replaced while it was opened
  /// \error kUnsupported not a regular file
  static Result<std::shared_ptr<const LocalFile>> Open(const std::string& path, std::string name,
                                                       Options options);

  virtual const FileIdentity& identity() const = 0;
  virtual const LocalFileCounters& counters() const = 0;
  /// True when O_DIRECT is possible on this file and `Options` do not rule it out. False from the moment on
  /// that the file system refuses a direct read after all.
  virtual bool direct_io_possible() const = 0;
  /// How the file is read; allocates.
  virtual SourceIoReport source_io_report() const = 0;
  /// The absolute path with symbolic links resolved.
  virtual const std::string& resolved_path() const = 0;

 protected:
  using RandomAccessFile::RandomAccessFile;
};

}  // namespace weightfs
