#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <unordered_map>
#include <utility>

#include "convert/base/json.h"
#include "convert/source/huggingface/repository.h"
#include "convert/source/huggingface/weight_index.h"
#include "convert/source/open_file.h"
#include "convert/source/utf8.h"

namespace weightfs {
namespace {

Result<Checkpoint> OpenShard(const std::string& path, SourceFiles& source, const SourceContext& context) {
  WEIGHTFS_TRY(const FilePtr file, source.OpenWeights(path));
  WEIGHTFS_TRY(Checkpoint checkpoint, OpenCheckpointFile(file, context));
  for (SourceTensor& tensor : checkpoint.tensors) tensor.file = path;
  for (UnsupportedTensor& tensor : checkpoint.unsupported) tensor.file = path;
  return checkpoint;
}

/// Joins the shards of a set under the rule of its index.
class ShardJoin {
 public:
  ShardJoin(const WeightSet& set, SourceFiles& source, WeightIndex index)
      : set_(set), source_(source), index_(std::move(index)), is_found_(index_.tensors.size(), false) {
    lines_.reserve(index_.tensors.size());
    for (size_t i = 0; i < index_.tensors.size(); ++i) lines_.emplace(index_.tensors[i].name, i);
  }

  Status Add(size_t shard, Checkpoint part) {
    for (SourceTensor& tensor : part.tensors) {
      WEIGHTFS_TRY(const bool is_taken, Take(tensor.name, shard));
      if (is_taken) joined_.tensors.push_back(std::move(tensor));
    }
    for (UnsupportedTensor& tensor : part.unsupported) {
      WEIGHTFS_TRY(const bool is_taken, Take(tensor.name, shard));
      if (is_taken) joined_.unsupported.push_back(std::move(tensor));
    }
    if (joined_.format.empty()) joined_.format = part.format;
    std::ranges::move(part.left_out, std::back_inserter(joined_.left_out));
    std::ranges::move(part.warnings, std::back_inserter(joined_.warnings));
    joined_.metadata.merge(part.metadata);
    if (joined_.values == nullptr) joined_.values = std::move(part.values);
    joined_.metadata_bytes += part.metadata_bytes;
    return {};
  }

  Checkpoint Finish() && {
    std::vector<std::string> absent;
    for (size_t i = 0; i < index_.tensors.size(); ++i) {
      if (is_found_[i]) continue;
      const std::string& name = index_.tensors[i].name;
      joined_.left_out.push_back(
          {name, fmt::format("named by the index, but not in {}", index_.shards[index_.tensors[i].shard])});
      absent.push_back(JsonString(name));
    }
    if (!absent.empty()) {
      const size_t shown = std::min(absent.size(), kListedNamesMax);
      joined_.warnings.push_back(fmt::format(
          "{}/{}: {} names that no shard holds: {}{}", source_.name(), set_.index_path, absent.size(),
          fmt::join(absent.begin(), absent.begin() + shown, ", "), shown < absent.size() ? ", ..." : ""));
    }
    return std::move(joined_);
  }

 private:
  /// Whether the tensor `name` of shard number `shard` is served.
  Result<bool> Take(const std::string& name, size_t shard) {
    if (const auto line = lines_.find(name); line != lines_.end()) {
      const uint32_t chosen = index_.tensors[line->second].shard;
      if (chosen == shard) {
        is_found_[line->second] = true;
        return true;
      }
      joined_.left_out.push_back(
          {name, fmt::format("in {}, but the index says {}", set_.shards[shard], index_.shards[chosen])});
      return false;
    }
    const auto [holder, is_new] = unlisted_.emplace(name, shard);
    if (is_new) return true;
    return Fail(
        ErrorCode::kCorrupt,
        fmt::format("{}/{}: tensor {} is in {} too; expected it once, or an index that says where",
                    source_.name(), set_.shards[shard], JsonString(name), set_.shards[holder->second]));
  }

  const WeightSet& set_;
  SourceFiles& source_;
  const WeightIndex index_;
  std::vector<bool> is_found_;
  std::unordered_map<std::string_view, size_t> lines_;  ///< Into `index_`.
  std::unordered_map<std::string, size_t>
      unlisted_;  ///< Names that the index lacks, and the shard that holds them.
  Checkpoint joined_;
};

}  // namespace

Result<Checkpoint> OpenWeightSet(const WeightSet& set, SourceFiles& source, const SourceContext& context) {
  if (set.shards.size() == 1 && set.index_path.empty()) return OpenShard(set.shards[0], source, context);
  WeightIndex index;
  if (!set.index_path.empty()) {
    const std::string shown = fmt::format("{}/{}", source.name(), set.index_path);
    WEIGHTFS_TRY(const std::string text,
                 source.ReadSmall(set.index_path, context.limits.index_json_bytes_max));
    WEIGHTFS_TRY(index, ParseWeightIndex(text, shown, context.limits));
    if (index.shards.size() != set.shards.size())
      return Fail(ErrorCode::kStale, fmt::format("{}: {} shards; expected {}, as when it was read before",
                                                 shown, index.shards.size(), set.shards.size()));
  }
  ShardJoin join(set, source, std::move(index));
  for (size_t shard = 0; shard < set.shards.size(); ++shard) {
    WEIGHTFS_TRY(Checkpoint part, OpenShard(set.shards[shard], source, context));
    WEIGHTFS_CHECK(join.Add(shard, std::move(part)));
  }
  Checkpoint joined = std::move(join).Finish();
  WEIGHTFS_CHECK(
      CheckTensorNames(joined, set.index_path.empty() ? set.shards[0] : set.index_path, context.limits));
  return joined;
}

Result<std::vector<Checkpoint>> OpenRankFiles(const WeightSet& set, SourceFiles& source,
                                              const SourceContext& context) {
  std::vector<Checkpoint> ranks;
  for (const std::string& path : set.shards) {
    WEIGHTFS_TRY(Checkpoint rank, OpenShard(path, source, context));
    ranks.push_back(std::move(rank));
  }
  return ranks;
}

}  // namespace weightfs
