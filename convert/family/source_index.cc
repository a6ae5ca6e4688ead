#include "convert/family/source_index.h"

#include <fmt/format.h>

#include <algorithm>

namespace weightfs::family {
namespace {

constexpr size_t kNameBytesMax = 4096;

}  // namespace

Result<SourceIndex> SourceIndex::Build(std::span<const FamilyTensor> tensors,
                                       std::span<const Rewrite> rewrites) {
  SourceIndex index;
  index.names_.reserve(tensors.size());
  uint64_t stored_bytes = 0, bytes = 0;
  for (const FamilyTensor& tensor : tensors) {
    std::string& name = index.names_.emplace_back(tensor.name);
    for (const Rewrite& rewrite : rewrites) {
      const bool is_changed =
          re2::RE2::GlobalReplace(&name, *rewrite.pattern.pattern, rewrite.replacement) > 0;
      if (is_changed && name.size() > kNameBytesMax)
        return Fail(ErrorCode::kLimitExceeded,
                    fmt::format("{}: rewritten to {} bytes; expected a name of at most {}",
                                tensor.name.substr(0, 200), name.size(), kNameBytesMax));
    }
    stored_bytes += tensor.name.size();
    bytes += name.size();
    if (bytes > 2 * stored_bytes + 16_MiB)
      return Fail(ErrorCode::kLimitExceeded,
                  "the rewritten names take too much memory; expected shorter replacements");
  }
  index.by_name_.reserve(tensors.size());
  for (size_t i = 0; i < index.names_.size(); ++i) {
    const auto [other, is_new] = index.by_name_.emplace(index.names_[i], i);
    if (!is_new)
      return Fail(ErrorCode::kCorrupt,
                  fmt::format("{} and {} both become {}; expected different names",
                              tensors[other->second].name, tensors[i].name, index.names_[i]));
  }
  return index;
}

std::optional<size_t> SourceIndex::Find(std::string_view name) const {
  const auto found = by_name_.find(name);
  if (found == by_name_.end()) return std::nullopt;
  return found->second;
}

std::string_view SourceIndex::Nearest(std::string_view name) const {
  std::string_view nearest;
  size_t best = 0;
  for (const std::string& other : names_) {
    const size_t likeness = Likeness(name, other);
    if (likeness <= best) continue;
    best = likeness;
    nearest = other;
  }
  return nearest;
}

Result<const SourceIndex*> SourceIndexes::For(const std::vector<Rewrite>& rewrites) {
  std::string key;
  for (const Rewrite& rewrite : rewrites)
    key += fmt::format("{} {}{}{} ", rewrite.pattern.text.size(), rewrite.pattern.text,
                       rewrite.replacement.size(), rewrite.replacement);
  auto found = indexes_.find(key);
  if (found == indexes_.end())
    found = indexes_.emplace(std::move(key), SourceIndex::Build(tensors_, rewrites)).first;
  if (!found->second) return std::unexpected(found->second.error());
  return &*found->second;
}

size_t Likeness(std::string_view a, std::string_view b) {
  const size_t shorter = std::min(a.size(), b.size());
  size_t prefix = 0, suffix = 0;
  while (prefix < shorter && a[prefix] == b[prefix]) ++prefix;
  while (suffix < shorter - prefix && a[a.size() - 1 - suffix] == b[b.size() - 1 - suffix]) ++suffix;
  return prefix + suffix;
}

}  // namespace weightfs::family
