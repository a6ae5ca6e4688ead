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

/// Counters of one file; each member is updated with relaxed atomics.
struct LocalFileCounters {
  std::atomic<uint64_t> direct_reads{0};
  std::atomic<uint64_t> buffered_reads{0};
  std::atomic<uint64_t> bytes_read{0};  ///< Source bytes asked of the kernel, alignment included.
};

/// What identifies a file's content: any difference is a change. ctime alone counts unless the link count, the
/// mode or the owner changed with it.
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

/// A regular file. Immutable; thread-safe: reads share the descriptors and nothing else.
///
/// After every read the descriptor and the name (relative to a held descriptor of its folder, so that moving a
/// parent folder is no change) are looked at again. Once a change was seen every later read fails with kStale.
class LocalFile : public RandomAccessFile {
 public:
  struct Options {
    SourceIo source_io = SourceIo::kAuto;
    DescriptorPolicy descriptors = DescriptorPolicy::kHeld;
  };

  /// Opens `path`, following symbolic links (the caller has checked where they lead).
  /// \param name  the name for messages, usually the path as the user wrote it
  /// \error kIo          it cannot be opened or read, by errno; EMFILE names `ulimit -n`
  /// \error kUnsupported not a regular file
  static Result<std::shared_ptr<const LocalFile>> Open(const std::string& path, std::string name, Options options);

  virtual const FileIdentity& identity() const = 0;
  virtual const LocalFileCounters& counters() const = 0;
  /// True when O_DIRECT is possible on this file.
  virtual bool direct_io_possible() const = 0;
  /// The absolute path with symbolic links resolved.
  virtual const std::string& resolved_path() const = 0;

 protected:
  using RandomAccessFile::RandomAccessFile;
};

}  // namespace weightfs
