#include "convert/family/compare.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "convert/view/algebra.h"
#include "convert/view/virtual_file.h"

namespace weightfs::family {

Result<bool> HoldSameElements(const TensorView& a, const TensorView& b, const Limits& limits,
                              Budget& budget) {
  if (a.dtype() != b.dtype() || a.shape() != b.shape()) return false;
  if (SameElements(a, b)) return true;
  const auto cache = std::make_shared<BlockCache>(limits.cache_bytes);
  WEIGHTFS_TRY(const VirtualFilePtr file_a, MakeViewFile({}, {a}, cache));
  WEIGHTFS_TRY(const VirtualFilePtr file_b, MakeViewFile({}, {b}, cache));
  const auto scratch_a = std::make_unique<ReadScratch>(), scratch_b = std::make_unique<ReadScratch>();
  // Two tensors that differ mostly differ early: the first reads are small.
  uint64_t step = 4_KiB;
  for (uint64_t begin = 0; begin < file_a->size_bytes();) {
    const ByteRange range{begin, std::min(file_a->size_bytes(), begin + step)};
    if (budget.compared_bytes < 2 * range.size())
      return Fail(ErrorCode::kLimitExceeded,
                  fmt::format("comparing tensors of {} bytes would read more than {} bytes in all",
                              a.size_bytes(), limits.family_compared_bytes_max));
    budget.compared_bytes -= 2 * range.size();
    WEIGHTFS_TRY(const auto bytes_a, file_a->Read(range, *scratch_a));
    WEIGHTFS_TRY(const auto bytes_b, file_b->Read(range, *scratch_b));
    if (std::memcmp(bytes_a.data(), bytes_b.data(), range.size()) != 0) return false;
    begin = range.end;
    step = std::min<uint64_t>(step * 16, kReadBytesMax);
  }
  return true;
}

}  // namespace weightfs::family
