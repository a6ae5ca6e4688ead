/// \file
/// Files that fail, end early or stall on purpose: decorators for tests of whatever reads a
/// `RandomAccessFile`.
#pragma once

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <thread>
#include <utility>

#include "convert/io/random_access_file.h"

namespace weightfs::testing {

/// Passes reads on to `file`, but fails some of them. Thread-safe.
class FaultyFile final : public RandomAccessFile {
 public:
  struct Faults {
    /// The reads, counted from 0, that fail: `[fail_begin, fail_end)`.
    uint64_t fail_begin = std::numeric_limits<uint64_t>::max();
    uint64_t fail_end = std::numeric_limits<uint64_t>::max();
    /// Reads that pass this offset fail, as those of a file that was cut short.
    uint64_t ends_at_bytes = std::numeric_limits<uint64_t>::max();
    Error error{ErrorCode::kIo, EIO, "injected: Input/output error", {}};
  };

  FaultyFile(FilePtr file, Faults faults)
      : RandomAccessFile(file->name(), file->size_bytes()),
        file_(std::move(file)),
        faults_(std::move(faults)) {}

  /// Reads so far, failed ones included.
  uint64_t reads() const { return reads_.load(); }
  uint64_t bytes_read() const { return bytes_read_.load(); }
  /// Here, not in the inner file: readers may go to the location directly.
  Location location() const override {
    return file_->location().file != nullptr ? Location{this, 0} : Location{};
  }

 protected:
  Status DoReadAt(uint64_t offset_bytes, std::span<std::byte> destination) const override {
    WEIGHTFS_CHECK(Pass({offset_bytes, offset_bytes + destination.size()}));
    return file_->ReadAt(offset_bytes, destination);
  }
  Result<std::span<const std::byte>> DoReadWithin(ByteRange range,
                                                  std::span<std::byte> buffer) const override {
    WEIGHTFS_CHECK(Pass(range));
    return file_->ReadWithin(range, buffer);
  }

 private:
  Status Pass(ByteRange range) const {
    const uint64_t nth = reads_.fetch_add(1);
    if (range.end > faults_.ends_at_bytes || (nth >= faults_.fail_begin && nth < faults_.fail_end))
      return std::unexpected(faults_.error);
    bytes_read_.fetch_add(range.size());
    return {};
  }

  FilePtr file_;
  Faults faults_;
  mutable std::atomic<uint64_t> reads_{0};
  mutable std::atomic<uint64_t> bytes_read_{0};
};

/// Calls `before_read` and then passes the read on: to stall, to block, or to change something meanwhile.
class HookedFile final : public RandomAccessFile {
 public:
  HookedFile(FilePtr file, std::function<void()> before_read)
      : RandomAccessFile(file->name(), file->size_bytes()),
        file_(std::move(file)),
        before_read_(std::move(before_read)) {}
  /// Here, not in the inner file: readers may go to the location directly.
  Location location() const override {
    return file_->location().file != nullptr ? Location{this, 0} : Location{};
  }

 protected:
  Status DoReadAt(uint64_t offset_bytes, std::span<std::byte> destination) const override {
    before_read_();
    return file_->ReadAt(offset_bytes, destination);
  }
  Result<std::span<const std::byte>> DoReadWithin(ByteRange range,
                                                  std::span<std::byte> buffer) const override {
    before_read_();
    return file_->ReadWithin(range, buffer);
  }

 private:
  FilePtr file_;
  std::function<void()> before_read_;
};

/// A file whose every read takes at least `delay`.
inline FilePtr MakeSlowFile(FilePtr file, std::chrono::milliseconds delay) {
  return std::make_shared<HookedFile>(std::move(file), [delay] { std::this_thread::sleep_for(delay); });
}

}  // namespace weightfs::testing
