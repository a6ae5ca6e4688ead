/// \file
/// A fuzzer's bytes as numbers, and its way to say that something is wrong.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

namespace weightfs {

/// Takes numbers off the front of the input; zeros once it is used up.
class Input {
 public:
  Input(const uint8_t* data, size_t size) : data_(data), size_(size) {}
  uint8_t Byte() {
    if (size_ == 0) return 0;
    --size_;
    return *data_++;
  }
  /// Mostly small; sometimes any 64-bit number.
  uint64_t Number() {
    const uint8_t first = Byte();
    if (first < 0xf0) return first;
    uint64_t value = 0;
    for (int i = 0; i < 8; ++i) value = value << 8 | Byte();
    return value;
  }
  bool empty() const { return size_ == 0; }
  std::string Rest() const { return {reinterpret_cast<const char*>(data_), size_}; }

 private:
  const uint8_t* data_;
  size_t size_;
};

/// Ends the process, which the fuzzer reports with the input, unless `condition` holds.
inline void Expect(bool condition) {
  if (!condition) std::abort();
}

}  // namespace weightfs
