#include "convert/source/torch/walk_budget.h"

#include <fmt/format.h>

#include <algorithm>

#include "convert/base/bytes.h"
#include "convert/source/utf8.h"

namespace weightfs {
namespace {

// Every entry that is not shared takes at least 4 bytes of pickle, so the second term is what an honest file
// can have; the first leaves room for modules that occur in several places.
constexpr uint64_t kSharedEntriesMax = 64 << 10;
constexpr uint64_t kPickleBytesPerEntry = 4;
constexpr uint64_t kNameBytesMin = 16_MiB;
constexpr uint64_t kNameBytesPerPickleByte = 16;

}  // namespace

WalkBudget::WalkBudget(uint64_t pickle_bytes, const Limits& limits)
    : entries_left_(EntriesMax(pickle_bytes)),
      name_bytes_left_(std::min(limits.emitted_header_bytes_max,
                                kNameBytesMin + kNameBytesPerPickleByte * pickle_bytes)) {}

uint64_t WalkBudget::EntriesMax(uint64_t pickle_bytes) {
  return kSharedEntriesMax + pickle_bytes / kPickleBytesPerEntry;
}

Status WalkBudget::SpendEntries(uint64_t count, std::string_view at) {
  if (count > entries_left_)
    return Fail(ErrorCode::kLimitExceeded,
                fmt::format("far more entries than the pickle has room for, at {}: mappings that are shared "
                            "again and again",
                            Quoted(at)));
  entries_left_ -= count;
  return {};
}

Status WalkBudget::SpendNameBytes(uint64_t count, std::string_view at) {
  if (count > name_bytes_left_)
    return Fail(ErrorCode::kLimitExceeded,
                fmt::format("the names of the tensors take too many bytes, at {}", Quoted(at)));
  name_bytes_left_ -= count;
  return {};
}

}  // namespace weightfs
