#include <sys/mman.h>

#include <cstdlib>

#include "convert/view/virtual_file.h"

namespace weightfs {
namespace {

constexpr uint64_t kBufferBytes = kReadBytesMax + kReadSlackBytes;
static_assert(kBufferBytes % kReadAlignmentBytes == 0);

}  // namespace

ReadScratch::ReadScratch() {
  // Pages are taken as they are first touched: a thread that serves only small reads stays small.
  void* const memory =
      mmap(nullptr, 2 * kBufferBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) std::abort();
  auto* const bytes = static_cast<std::byte*>(memory);
  reply_ = {bytes, kBufferBytes};
  source_ = {bytes + kBufferBytes, kBufferBytes};
}

ReadScratch::~ReadScratch() { munmap(reply_.data(), 2 * kBufferBytes); }

}  // namespace weightfs
