#include "convert/view/read_batch.h"

#include <algorithm>
#include <functional>

namespace weightfs {
namespace {

/// Holes up to this size are read along: tensors that are small and lie close share a read. Longer ones are often
/// other tensors, which are read for themselves.
constexpr uint64_t kHoleBytesMax = 8_KiB;

bool ComesBefore(const ReadJob& a, const ReadJob& b) {
  if (a.file != b.file) return std::less<>()(a.file, b.file);
  return a.source_begin < b.source_begin;
}

}  // namespace

Status ReadBatch::ReadGroup(std::span<const ReadJob> group, ByteRange range) const {
  WEIGHTFS_TRY(const std::span<const std::byte> bytes, group.front().file->ReadWithin(range, buffer_));
  for (const ReadJob& job : group)
    job.pipeline->Run(bytes.data() + (job.source_begin - range.begin), job.skip_bytes, job.destination);
  return {};
}

Status ReadBatch::Flush() {
  const std::span<ReadJob> jobs(jobs_.data(), count_);
  count_ = 0;
  const uint64_t bytes_max = buffer_.size() - kReadSlackBytes;
  if (!std::ranges::is_sorted(jobs, ComesBefore)) std::ranges::sort(jobs, ComesBefore);
  for (size_t begin = 0; begin < jobs.size();) {
    ByteRange range{jobs[begin].source_begin, jobs[begin].source_begin + jobs[begin].source_bytes};
    size_t end = begin + 1;
    for (; end < jobs.size() && jobs[end].file == jobs[begin].file; ++end) {
      const uint64_t job_end = std::max(range.end, jobs[end].source_begin + jobs[end].source_bytes);
      if (jobs[end].source_begin > range.end + kHoleBytesMax || job_end - range.begin > bytes_max) break;
      range.end = job_end;
    }
    WEIGHTFS_CHECK(ReadGroup(jobs.subspan(begin, end - begin), range));
    begin = end;
  }
  return {};
}

}  // namespace weightfs
