/// \file
/// What parsing one pickle may take in memory, and arrays that are charged to it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <type_traits>

namespace weightfs::pickle {

/// The memory of one parse: a base, and a multiple of the bytes that were read so far. One thread.
class MemoryBudget {
 public:
  MemoryBudget(uint64_t base_bytes, uint64_t factor) : allowed_bytes_(base_bytes), factor_(factor) {}

  /// Raises the budget for `bytes` of the stream that were read.
  void Earn(uint64_t bytes) { allowed_bytes_ += bytes * factor_; }

  /// Takes `bytes`, or returns false when that is more than there is.
  [[nodiscard]] bool Charge(uint64_t bytes) {
    if (bytes > allowed_bytes_ || used_bytes_ > allowed_bytes_ - bytes) return false;
    used_bytes_ += bytes;
    return true;
  }

  /// Gives back `bytes` that were charged.
  void Release(uint64_t bytes) { used_bytes_ -= bytes; }

 private:
  uint64_t allowed_bytes_;
  uint64_t factor_;
  uint64_t used_bytes_ = 0;
};

/// A growing array of trivial values. Large blocks grow by remapping, not by copying, and room that was never
/// written takes no memory; so what is charged is the most values it ever held.
template <typename T>
class ChargedArray {
 public:
  static_assert(std::is_trivially_copyable_v<T>);
  explicit ChargedArray(MemoryBudget& budget) : budget_(budget) {}
  ChargedArray(const ChargedArray&) = delete;
  ChargedArray& operator=(const ChargedArray&) = delete;
  ~ChargedArray() { budget_.Release(charged_ * sizeof(T)); }

  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  T* data() { return data_.get(); }
  const T* data() const { return data_.get(); }
  T& operator[](size_t i) { return data_.get()[i]; }
  const T& operator[](size_t i) const { return data_.get()[i]; }
  T& back() { return data_.get()[size_ - 1]; }

  /// Appends `count` values that are not initialised; false when the budget or the machine has no room.
  [[nodiscard]] bool Extend(size_t count) {
    const size_t size = size_ + count;
    if (size > charged_) [[unlikely]] {
      // Charged in steps, so that this is rare.
      const size_t charged = size + (size < kChargeStep ? kSmallStep : kChargeStep);
      if (!budget_.Charge((charged - charged_) * sizeof(T))) return false;
      charged_ = charged;
      if (charged > capacity_ && !Reallocate(charged + charged / 2) && !Reallocate(charged)) return false;
    }
    size_ = size;
    return true;
  }

  [[nodiscard]] bool Push(T value) {
    if (!Extend(1)) [[unlikely]]
      return false;
    data_.get()[size_ - 1] = value;
    return true;
  }

  /// Drops the values from `size` on. \pre size <= size()
  void Truncate(size_t size) { size_ = size; }

  /// The block, from malloc, cut to its size. Leaves the array empty; the charge stays until destruction.
  T* Detach() {
    if (size_ != 0) Reallocate(size_);
    capacity_ = 0;
    size_ = 0;
    return data_.release();
  }

 private:
  static constexpr size_t kSmallStep = 64;
  static constexpr size_t kChargeStep = 4096;
  struct Free {
    void operator()(T* block) const { std::free(block); }
  };

  bool Reallocate(size_t capacity) {
    void* block = std::realloc(data_.get(), capacity * sizeof(T));
    if (block == nullptr) return false;
    static_cast<void>(data_.release());
    data_.reset(static_cast<T*>(block));
    capacity_ = capacity;
    return true;
  }

  MemoryBudget& budget_;
  std::unique_ptr<T[], Free> data_;
  size_t size_ = 0;
  size_t charged_ = 0;
  size_t capacity_ = 0;
};

}  // namespace weightfs::pickle
