/// \file
/// Virtual files that behave as a test wants, also from another process.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <utility>

#include "convert/view/virtual_file.h"

namespace weightfs::testing {

/// A `T` that this process and those it forks share.
template <typename T>
class SharedMemory {
 public:
  template <typename... Args>
  explicit SharedMemory(Args&&... args) {
    void* memory = mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    EXPECT_NE(memory, MAP_FAILED);
    object_.reset(new (memory) T(std::forward<Args>(args)...), [](T* object) { munmap(object, sizeof(T)); });
  }
  T* operator->() const { return object_.get(); }
  T& operator*() const { return *object_; }

 private:
  std::shared_ptr<T> object_;
};

/// How a `SteeredFile` behaves now, and what it has seen.
struct Steering {
  std::atomic<bool> is_stalled{false};  ///< Reads wait while this is set.
  std::atomic<int> error_number{0};     ///< Reads fail with this, when it is not 0.
  std::atomic<bool> is_stale{false};    ///< Reads fail with kStale.
  std::atomic<bool> is_short{false};    ///< Reads come out one byte short: a bug that must not be served.
  std::atomic<uint64_t> reads{0};
  std::atomic<uint64_t> bytes{0};
  std::atomic<int> running{0};
  std::atomic<int> running_max{0};
};

/// Byte `position` of a SteeredFile.
inline std::byte PatternByte(uint64_t position) {
  return std::byte((position * 167 + position / 4093) & 0xff);
}

/// Serves PatternByte, as `steering` says.
class SteeredFile : public VirtualFile {
 public:
  SteeredFile(uint64_t size_bytes, SharedMemory<Steering> steering)
      : VirtualFile(size_bytes), steering_(std::move(steering)) {}

  Result<std::span<const std::byte>> Read(ByteRange range, ReadScratch& scratch) const override {
    const int running = steering_->running.fetch_add(1) + 1;
    for (int max = steering_->running_max; running > max;)
      if (steering_->running_max.compare_exchange_weak(max, running)) break;
    while (steering_->is_stalled) usleep(1000);
    steering_->running.fetch_sub(1);
    steering_->reads.fetch_add(1);
    steering_->bytes.fetch_add(range.size());
    if (steering_->is_stale) return Fail(ErrorCode::kStale, "source.bin: changed after it was opened");
    if (const int error_number = steering_->error_number) return FailIo(error_number, "source.bin: read");
    const std::span<std::byte> reply = scratch.reply().first(range.size());
    for (uint64_t i = 0; i < range.size(); ++i) reply[i] = PatternByte(range.begin + i);
    return steering_->is_short ? reply.first(range.size() - 1) : reply;
  }

 private:
  SharedMemory<Steering> steering_;
};

/// True when `bytes` are those of a SteeredFile from `position` on.
inline bool MatchesPattern(const void* bytes, size_t size, uint64_t position) {
  const auto* at = static_cast<const std::byte*>(bytes);
  for (size_t i = 0; i < size; ++i)
    if (at[i] != PatternByte(position + i)) return false;
  return true;
}

}  // namespace weightfs::testing
