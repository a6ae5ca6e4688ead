/// \file
/// Read buffers that running reads borrow.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <memory>
#include <utility>

#include "convert/view/virtual_file.h"

namespace weightfs {

/// Lends `ReadScratch`es. Thread-safe, lock-free. The kernel wakes idle threads in turn, so buffers that
/// belonged to threads would all be touched in turn as well; the pool lends the one that was used last, which
/// is still in the processor's cache, and what is kept depends on how many reads ran at once, not on how many
/// threads there are.
class ScratchPool {
 public:
  /// A borrowed buffer, given back on destruction.
  class Lease {
   public:
    Lease(ScratchPool& pool, std::unique_ptr<ReadScratch> scratch)
        : pool_(pool), scratch_(std::move(scratch)) {}
    ~Lease() { pool_.GiveBack(std::move(scratch_)); }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    ReadScratch& operator*() { return *scratch_; }

   private:
    ScratchPool& pool_;
    std::unique_ptr<ReadScratch> scratch_;
  };

  ScratchPool() = default;
  ~ScratchPool() {
    for (auto& slot : slots_) delete slot.load();
  }
  ScratchPool(const ScratchPool&) = delete;
  ScratchPool& operator=(const ScratchPool&) = delete;

  /// A buffer that is kept, or a new one when all are lent.
  Lease Borrow() {
    for (auto& slot : slots_) {
      if (slot.load(std::memory_order_relaxed) == nullptr) continue;
      if (ReadScratch* kept = slot.exchange(nullptr)) return {*this, std::unique_ptr<ReadScratch>(kept)};
    }
    return {*this, std::make_unique<ReadScratch>()};
  }

 private:
  static constexpr size_t kKeptMax = 16;

  void GiveBack(std::unique_ptr<ReadScratch> scratch) {
    for (auto& slot : slots_) {
      ReadScratch* empty = nullptr;
      if (slot.compare_exchange_strong(empty, scratch.get())) {
        (void)scratch.release();
        return;
      }
    }
  }

  std::array<std::atomic<ReadScratch*>, kKeptMax> slots_ = {};
};

}  // namespace weightfs
