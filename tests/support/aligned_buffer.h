/// \file
/// A read buffer as `ReadWithin` wants it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <span>

#include "convert/io/random_access_file.h"

namespace weightfs::testing {

/// Room for a `ReadWithin` of up to `range_bytes_max` bytes, filled with 0xee.
class AlignedBuffer {
 public:
  explicit AlignedBuffer(uint64_t range_bytes_max)
      : size_(AlignUp(range_bytes_max + kReadSlackBytes, kReadAlignmentBytes)),
        data_(static_cast<std::byte*>(std::aligned_alloc(kReadAlignmentBytes, size_)), &std::free) {
    std::fill_n(data_.get(), size_, std::byte{0xee});
  }
  std::span<std::byte> span() const { return {data_.get(), size_}; }

 private:
  size_t size_;
  std::unique_ptr<std::byte, void (*)(void*)> data_;
};

}  // namespace weightfs::testing
