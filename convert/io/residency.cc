#include "convert/io/residency.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

namespace weightfs {
namespace {

// Of <linux/mman.h> and <asm/unistd.h> since Linux 6.5; Debian 12's headers are older. The number is the same
// on every architecture.
constexpr long kCachestatNumber = 451;
struct CachestatRange {
  uint64_t offset_bytes;
  uint64_t size_bytes;
};
struct CachestatCounts {
  uint64_t cached;
  uint64_t dirty;
  uint64_t writeback;
  uint64_t evicted;
  uint64_t recently_evicted;
};

uint64_t PageBytes() {
  static const uint64_t bytes = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  return bytes;
}

std::optional<uint64_t> Cachestat(int fd, ByteRange pages) {
  CachestatRange range{pages.begin, pages.size()};
  CachestatCounts counts{};
  if (syscall(kCachestatNumber, fd, &range, &counts, 0u) != 0) return std::nullopt;
  return counts.cached;
}

std::optional<uint64_t> Mincore(int fd, ByteRange pages) {
  constexpr uint64_t kPagesPerCall = 1024;
  unsigned char resident[kPagesPerCall];
  uint64_t count = 0;
  for (uint64_t begin = pages.begin; begin < pages.end;) {
    const uint64_t size = std::min(pages.end - begin, kPagesPerCall * PageBytes());
    void* mapping = mmap(nullptr, size, PROT_NONE, MAP_SHARED, fd, static_cast<off_t>(begin));
    if (mapping == MAP_FAILED) return std::nullopt;
    const int rc = mincore(mapping, size, resident);
    munmap(mapping, size);
    if (rc != 0) return std::nullopt;
    for (uint64_t i = 0; i < size / PageBytes(); ++i) count += resident[i] & 1u;
    begin += size;
  }
  return count;
}

}  // namespace

ResidencyProbe ChooseResidencyProbe(int fd, const struct stat& attributes) {
  const uid_t user = geteuid();
  const bool may_write = faccessat(fd, "", W_OK, AT_EACCESS | AT_EMPTY_PATH) == 0;
  if (user != attributes.st_uid && user != 0 && !may_write) return ResidencyProbe::kNone;
  const ByteRange first_page{0, PageBytes()};
  if (Cachestat(fd, first_page)) return ResidencyProbe::kCachestat;
  if (Mincore(fd, first_page)) return ResidencyProbe::kMincore;
  return ResidencyProbe::kNone;
}

std::optional<Residency> ProbeResidency(ResidencyProbe probe, int fd, ByteRange range) {
  const ByteRange pages{AlignDown(range.begin, PageBytes()), AlignUp(range.end, PageBytes())};
  std::optional<uint64_t> resident;
  if (probe == ResidencyProbe::kCachestat) resident = Cachestat(fd, pages);
  if (probe == ResidencyProbe::kMincore) resident = Mincore(fd, pages);
  if (!resident) return std::nullopt;
  return Residency{*resident, pages.size() / PageBytes()};
}

}  // namespace weightfs
