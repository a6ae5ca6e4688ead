#include "cli/export_writer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "cli/interrupt.h"
#include "cli/source.h"

namespace weightfs::cli {
namespace {

/// One file that is being written. Chunks may end in any order; whoever ends the last one syncs and closes.
class OutputFile {
 public:
  static Result<std::unique_ptr<OutputFile>> Create(std::string path, uint64_t size_bytes) {
    const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0) return FailIo(errno, path);
    std::unique_ptr<OutputFile> file(new OutputFile(std::move(path), fd, size_bytes));
    // A full disk shows here rather than hours later. Not every file system can.
    if (size_bytes > 0 && fallocate(fd, 0, 0, static_cast<off_t>(size_bytes)) != 0 && errno == ENOSPC)
      return FailIo(errno, file->path_);
    return file;
  }
  ~OutputFile() {
    if (fd_ >= 0) close(fd_);
  }
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  Status WriteAt(uint64_t offset_bytes, std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const ssize_t written = pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset_bytes));
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return FailIo(errno, path_);
      bytes = bytes.subspan(static_cast<size_t>(written));
      offset_bytes += static_cast<uint64_t>(written);
    }
    return {};
  }

  /// Called once for each chunk that is written.
  Status EndChunk() {
    if (chunks_left_.fetch_sub(1, std::memory_order_acq_rel) > 1) return {};
    return Close();
  }

  Status Close() {
    const int synced = fdatasync(fd_);
    const int sync_error = errno;
    const int closed = close(std::exchange(fd_, -1));
    if (synced != 0) return FailIo(sync_error, path_);
    if (closed != 0) return FailIo(errno, path_);
    return {};
  }

 private:
  OutputFile(std::string path, int fd, uint64_t size_bytes)
      : path_(std::move(path)), fd_(fd), chunks_left_((size_bytes + kReadBytesMax - 1) / kReadBytesMax) {}

  const std::string path_;
  int fd_;
  std::atomic<uint64_t> chunks_left_;
};

/// Hands out chunks, in order, and keeps the first error.
class Exporter {
 public:
  Exporter(const VirtualTree& tree, std::string folder, Progress& progress)
      : tree_(tree), folder_(std::move(folder)), files_(ListFiles(tree)), progress_(progress) {}

  Status Run(uint32_t threads) {
    for (const std::string& path : ListFolders(tree_)) {
      const std::string full = fmt::format("{}/{}", folder_, path);
      if (mkdir(full.c_str(), 0777) != 0) return FailIo(errno, full);
    }
    {
      std::vector<std::jthread> workers;
      for (uint32_t i = 0; i < threads; ++i) workers.emplace_back([this] { Work(); });
    }
    if (error_) return std::unexpected(*std::move(error_));
    return {};
  }

 private:
  struct Chunk {
    std::shared_ptr<OutputFile> output;
    const VirtualFile* file = nullptr;
    ByteRange range;
  };

  void Work() {
    ReadScratch scratch;
    while (!stop_.load(std::memory_order_relaxed) && InterruptGuard::signal_number() == 0) {
      Result<Chunk> chunk = NextChunk();
      if (!chunk) return Stop(std::move(chunk).error());
      if (!chunk->output) return;
      const Status copied = Copy(*chunk, scratch);
      if (!copied) return Stop(copied.error());
    }
  }

  /// The next chunk, or one without output when all are taken.
  Result<Chunk> NextChunk() {
    const std::lock_guard lock(mutex_);
    while (next_file_ < files_.size()) {
      const ListedFile& listed = files_[next_file_];
      if (!output_) {
        WEIGHTFS_TRY(output_,
                     OutputFile::Create(fmt::format("{}/{}", folder_, listed.path), listed.size_bytes));
        offset_bytes_ = 0;
      }
      if (listed.size_bytes == 0) {
        WEIGHTFS_CHECK(output_->Close());
        output_.reset();
        ++next_file_;
        continue;
      }
      Chunk chunk{output_,
                  tree_.node(listed.node).file.get(),
                  {offset_bytes_, std::min(listed.size_bytes, offset_bytes_ + kReadBytesMax)}};
      offset_bytes_ = chunk.range.end;
      if (offset_bytes_ == listed.size_bytes) {
        output_.reset();
        ++next_file_;
      }
      return chunk;
    }
    return Chunk{};
  }

  Status Copy(const Chunk& chunk, ReadScratch& scratch) {
    WEIGHTFS_TRY(const std::span<const std::byte> bytes, chunk.file->Read(chunk.range, scratch));
    WEIGHTFS_CHECK(chunk.output->WriteAt(chunk.range.begin, bytes));
    progress_.Add(bytes.size());
    return chunk.output->EndChunk();
  }

  void Stop(Error error) {
    stop_ = true;
    const std::lock_guard lock(mutex_);
    if (!error_) error_ = std::move(error);
  }

  const VirtualTree& tree_;
  const std::string folder_;
  const std::vector<ListedFile> files_;
  Progress& progress_;
  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  size_t next_file_ = 0;  // Under mutex_, as all below.
  uint64_t offset_bytes_ = 0;
  std::shared_ptr<OutputFile> output_;  // Of files_[next_file_]; null before its first chunk.
  std::optional<Error> error_;
};

}  // namespace

Status WriteTree(const VirtualTree& tree, const std::string& folder, uint32_t threads, Progress& progress) {
  return Exporter(tree, folder, progress).Run(threads);
}

}  // namespace weightfs::cli
