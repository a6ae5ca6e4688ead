#include "convert/source/dcp/window_file.h"

#include <algorithm>
#include <cstring>

namespace weightfs {
namespace {

constexpr uint64_t kWindowBytes = 4_KiB;
/// What lies before a read: a zip directory is read from its end.
constexpr uint64_t kBeforeBytes = 2_KiB;

}  // namespace

Status WindowFile::DoReadAt(uint64_t offset_bytes, std::span<std::byte> destination) const {
  if (destination.size() > kWindowBytes - kBeforeBytes) return file_->ReadAt(offset_bytes, destination);
  for (const Window& window : windows_) {
    if (offset_bytes < window.begin || offset_bytes + destination.size() > window.begin + window.bytes.size())
      continue;
    std::memcpy(destination.data(), window.bytes.data() + (offset_bytes - window.begin), destination.size());
    return {};
  }
  Window& window = windows_[oldest_];
  oldest_ = 1 - oldest_;
  window.begin = offset_bytes - std::min(offset_bytes, kBeforeBytes);
  window.bytes.resize(std::min(kWindowBytes, size_bytes() - window.begin));
  if (Status read = file_->ReadAt(window.begin, std::as_writable_bytes(std::span(window.bytes))); !read) {
    window.bytes.clear();
    return read;
  }
  std::memcpy(destination.data(), window.bytes.data() + (offset_bytes - window.begin), destination.size());
  return {};
}

}  // namespace weightfs
