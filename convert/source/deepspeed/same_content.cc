#include "convert/source/deepspeed/same_content.h"

#include <algorithm>
#include <vector>

namespace weightfs {
namespace {

constexpr uint64_t kEndBytes = 32_MiB;
constexpr uint64_t kChunkBytes = 1_MiB;

}  // namespace

Result<bool> HaveSameContent(const RandomAccessFile& a, const RandomAccessFile& b) {
  const uint64_t size = a.size_bytes();
  if (b.size_bytes() != size) return false;
  std::vector<std::byte> left(kChunkBytes), right(kChunkBytes);
  for (uint64_t at = 0; at < size;) {
    if (at == kEndBytes && size > 2 * kEndBytes) at = size - kEndBytes;
    const uint64_t end = at < kEndBytes && size > 2 * kEndBytes ? kEndBytes : size;
    const std::span x = std::span(left).first(std::min(kChunkBytes, end - at));
    const std::span y = std::span(right).first(x.size());
    WEIGHTFS_CHECK(a.ReadAt(at, x));
    WEIGHTFS_CHECK(b.ReadAt(at, y));
    if (!std::ranges::equal(x, y)) return false;
    at += x.size();
  }
  return true;
}

}  // namespace weightfs
