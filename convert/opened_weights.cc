#include "convert/opened_weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "convert/source/utf8.h"

namespace weightfs {
namespace {

/// Every rank has a part, or one has all.
Status CheckParts(const OpenedWeights::Parts& parts, const std::vector<std::string>& files) {
  for (const SourceTensor* part : parts)
    if (part->view.dtype() != parts.front()->view.dtype())
      return Fail(ErrorCode::kCorrupt,
                  fmt::format("{}: tensor {} is {}; expected {}, as in {}", part->file, Quoted(part->name),
                              TorchName(part->view.dtype()), TorchName(parts.front()->view.dtype()),
                              parts.front()->file));
  if (parts.size() == 1 || parts.size() == files.size()) return {};
  size_t lacking = 0;
  while (lacking < parts.size() && parts[lacking]->file == files[lacking]) ++lacking;
  return Fail(ErrorCode::kNotFound,
              fmt::format("{}: no tensor {}; expected a part of it, as in {}", files[lacking],
                          Quoted(parts.front()->name), parts.front()->file));
}

}  // namespace

OpenedWeights::OpenedWeights(Checkpoint whole) {
  ranks_.push_back(std::move(whole));
  tensors_.reserve(ranks_.front().tensors.size());
  for (const SourceTensor& tensor : ranks_.front().tensors) tensors_.push_back({&tensor});
  unsupported_ = ranks_.front().unsupported;
}

Result<OpenedWeights> OpenedWeights::JoinRanks(std::vector<Checkpoint> ranks,
                                               const std::vector<std::string>& files) {
  OpenedWeights joined;
  joined.ranks_ = std::move(ranks);
  std::unordered_map<std::string_view, size_t> places;
  std::unordered_set<std::string_view> unsupported;
  for (const Checkpoint& rank : joined.ranks_) {
    for (const SourceTensor& tensor : rank.tensors) {
      const auto [place, is_new] = places.try_emplace(tensor.name, joined.tensors_.size());
      if (is_new) joined.tensors_.emplace_back();
      joined.tensors_[place->second].push_back(&tensor);
    }
    for (const UnsupportedTensor& tensor : rank.unsupported)
      if (unsupported.insert(tensor.name).second) joined.unsupported_.push_back(tensor);
  }
  for (const Parts& parts : joined.tensors_) WEIGHTFS_CHECK(CheckParts(parts, files));
  Checkpoint& first = joined.ranks_.front();
  for (size_t i = 1; i < joined.ranks_.size(); ++i) {
    Checkpoint& rank = joined.ranks_[i];
    std::ranges::move(rank.warnings, std::back_inserter(first.warnings));
    first.metadata_bytes += rank.metadata_bytes;
    if (first.values == nullptr) first.values = rank.values;
  }
  return joined;
}

}  // namespace weightfs
