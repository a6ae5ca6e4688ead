#include "convert/family/reads.h"

#include <fmt/format.h>

#include <algorithm>

#include "convert/base/bytes.h"

namespace weightfs::family {
namespace {

constexpr size_t kReadsMax = 4096;  ///< Of one tensor: they are compared pairwise.

std::string LineNames(const std::vector<SourceRead>& reads) {
  constexpr size_t kNamesMax = 4;
  std::vector<std::string> names;
  for (const SourceRead& read : reads) {
    std::string name = read.line->place.Describe();
    if (std::ranges::find(names, name) == names.end()) names.push_back(std::move(name));
  }
  std::string text;
  for (size_t i = 0; i < std::min(names.size(), kNamesMax); ++i) text += (i == 0 ? "" : ", ") + names[i];
  return text + (names.size() > kNamesMax ? ", ..." : "");
}

}  // namespace

Status SourceReads::Add(size_t source, SourceRead read) {
  if (reads_[source].size() >= kReadsMax)
    return Fail(ErrorCode::kLimitExceeded, fmt::format("more than {} lines read one tensor", kReadsMax));
  reads_[source].push_back(std::move(read));
  return {};
}

Status SourceReads::Check(std::span<const FamilyTensor> tensors, std::vector<std::string>& notes) const {
  for (size_t source = 0; source < reads_.size(); ++source)
    if (!reads_[source].empty()) WEIGHTFS_CHECK(CheckOne(tensors[source].name, reads_[source], notes));
  return {};
}

Status SourceReads::CheckOne(std::string_view name, const std::vector<SourceRead>& reads,
                             std::vector<std::string>& notes) const {
  const SourceRead& first = reads.front();
  if (reads.size() == 1 && first.region.is_whole) return {};
  uint64_t count = 0;
  std::string trims;
  for (size_t i = 0; i < reads.size(); ++i) {
    const SourceRead& read = reads[i];
    if (read.join != first.join || read.dimension != first.dimension || read.shape != first.shape)
      return Fail(ErrorCode::kCorrupt,
                  fmt::format("{}: {} and {} join its parts in different ways; expected one", name,
                              first.line->place.Describe(), read.line->place.Describe()));
    for (size_t j = 0; j < i; ++j)
      if (ElementCount(read.region, read.shape) > 0 && Overlap(reads[j].region, read.region))
        return Fail(ErrorCode::kCorrupt,
                    fmt::format("{}: elements are read twice, by {} and {}; expected every element "
                                "once",
                                name, reads[j].line->place.Describe(), read.line->place.Describe()));
    count += ElementCount(read.region, read.shape);
    if (const auto* line = std::get_if<RearrangementLine>(&read.line->kind); trims.empty() && line != nullptr)
      trims = line->trims;
  }
  const uint64_t total = CheckedProduct(first.shape).value_or(0);
  if (count == total) return {};
  if (trims.empty())
    return Fail(ErrorCode::kCorrupt,
                fmt::format("{}: {} of {} elements are never read; expected {} to read all of shape {}", name,
                            total - count, total, LineNames(reads), ShapeText(first.shape)),
                "Say in `trims` why elements are left unread, when they may be.");
  notes.push_back(fmt::format("{}: {} of {} elements are not served: {}", name, total - count, total, trims));
  return {};
}

}  // namespace weightfs::family
