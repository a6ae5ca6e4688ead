#include "convert/source/dcp/shards.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "convert/base/bytes.h"
#include "convert/base/relative_path.h"
#include "convert/source/dcp/assemble_tensor.h"
#include "convert/source/dcp/sharding_info.h"
#include "convert/source/safetensors/reader.h"
#include "convert/source/utf8.h"

namespace weightfs {
namespace {

constexpr std::string_view kPrefix = "shard-";
constexpr std::string_view kMiddle = "-model-";
constexpr std::string_view kSuffix = ".safetensors";

/// The rank, counted from 1.
std::optional<uint32_t> ShardRank(std::string_view name) {
  if (!name.starts_with(kPrefix) || !name.ends_with(kSuffix)) return std::nullopt;
  name.remove_prefix(kPrefix.size());
  uint32_t rank = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), rank);
  if (error != std::errc() || rank == 0) return std::nullopt;
  name.remove_prefix(static_cast<size_t>(end - name.data()));
  return name.starts_with(kMiddle) ? std::optional(rank) : std::nullopt;
}

struct Sharded {
  std::vector<PlacedView> parts;
  std::string file;  ///< Of the first part.
};

class ShardReader {
 public:
  ShardReader(SourceFiles& source, const std::string& folder, const SourceContext& context)
      : source_(source), folder_(folder), shown_(ShownPath(source, folder)), context_(context) {}

  Result<Checkpoint> Read(std::span<const SourceEntry> entries) {
    uint32_t last_rank = 0;
    for (const SourceEntry& entry : entries) {
      const std::optional<uint32_t> rank = entry.is_directory ? std::nullopt : ShardRank(entry.name);
      if (!rank) continue;
      if (*rank > last_rank + 1)
        return Fail(ErrorCode::kNotFound,
                    fmt::format("{}: no shard of rank {}, but one of rank {}; expected every rank", shown_,
                                last_rank + 1, *rank),
                    "copy the files of all ranks together");
      last_rank = *rank;
      WEIGHTFS_CHECK(AddFile(JoinPath(folder_, entry.name)));
    }
    for (const std::string& name : order_) WEIGHTFS_CHECK(AssembleOne(name, tensors_.find(name)->second));
    checkpoint_.format = "dcp";
    WEIGHTFS_CHECK(CheckTensorNames(checkpoint_, shown_, context_.limits));
    return std::move(checkpoint_);
  }

 private:
  Status AddFile(const std::string& path) {
    WEIGHTFS_TRY(const FilePtr file, source_.OpenWeights(path));
    WEIGHTFS_TRY(Checkpoint shard, ReadSafetensors(file, context_));
    WEIGHTFS_TRY(const std::optional<ShardingInfo> info,
                 ReadShardingInfo(shard.metadata, file->name(), context_.limits));
    checkpoint_.metadata_bytes += shard.metadata_bytes;
    for (SourceTensor& tensor : shard.tensors) {
      Shape offsets(tensor.view.shape().size(), 0);
      if (info) {
        const auto found = info->find(tensor.name);
        if (found != info->end()) offsets = found->second;
      }
      if (offsets.size() != tensor.view.shape().size())
        return Fail(ErrorCode::kCorrupt,
                    fmt::format("{}: tensor {}: saved_offsets {} of a shard of shape {}; expected as many",
                                file->name(), Quoted(tensor.name), offsets, tensor.view.shape()));
      const auto [place, is_new] = tensors_.try_emplace(tensor.name);
      if (is_new) {
        if (order_.size() >= context_.limits.tensors_max)
          return Fail(ErrorCode::kLimitExceeded,
                      fmt::format("{}: more than {} tensors", shown_, context_.limits.tensors_max));
        order_.push_back(tensor.name);
        place->second.file = path;
      }
      place->second.parts.push_back({std::move(offsets), std::move(tensor.view)});
    }
    return {};
  }

  Status AssembleOne(const std::string& name, Sharded& sharded) {
    const std::string where = fmt::format("{}: tensor {}", shown_, Quoted(name));
    const TensorView& first = sharded.parts.front().view;
    Shape shape(first.shape().size(), 0);
    for (const PlacedView& part : sharded.parts) {
      if (part.view.dtype() != first.dtype() || part.view.shape().size() != shape.size())
        return Fail(ErrorCode::kCorrupt,
                    fmt::format("{}: parts of {} of shape {} and of {} of shape {}; expected one "
                                "dtype and rank",
                                where, SafetensorsName(first.dtype()), first.shape(),
                                SafetensorsName(part.view.dtype()), part.view.shape()));
      // Ranks that got nothing say nothing of the shape but where it is empty for all.
      const bool is_empty = part.view.element_count() == 0 && sharded.parts.size() > 1;
      for (size_t axis = 0; axis < shape.size(); ++axis) {
        const std::optional<uint64_t> end = CheckedAdd(part.offsets[axis], part.view.shape()[axis]);
        if (!end)
          return Fail(ErrorCode::kCorrupt, fmt::format("{}: an offset of {}", where, part.offsets[axis]));
        if (!is_empty) shape[axis] = std::max(shape[axis], *end);
      }
    }
    if (!CheckedProduct(shape))
      return Fail(ErrorCode::kCorrupt,
                  fmt::format("{}: sizes {}; their product does not fit 64 bits", where, shape));
    const DType dtype = first.dtype();
    if (sharded.parts.size() > 1)
      std::erase_if(sharded.parts, [](const PlacedView& part) { return part.view.element_count() == 0; });
    WEIGHTFS_TRY(AssembledParts whole, AssembleParts(std::move(shape), dtype, sharded.parts, where));
    checkpoint_.tensors.push_back(
        {name, std::move(whole.view),
         whole.part_count > 1 ? fmt::format("{} parts", whole.part_count) : std::string(),
         std::move(sharded.file)});
    return {};
  }

  SourceFiles& source_;
  const std::string& folder_;
  const std::string shown_;
  const SourceContext& context_;
  std::map<std::string, Sharded, std::less<>> tensors_;
  std::vector<std::string> order_;  ///< Names as they were met.
  Checkpoint checkpoint_;
};

}  // namespace

bool IsDcpShardName(std::string_view name) { return ShardRank(name).has_value(); }

Result<Checkpoint> ReadDcpShards(SourceFiles& source, const std::string& folder,
                                 std::span<const SourceEntry> entries, const SourceContext& context) {
  return ShardReader(source, folder, context).Read(entries);
}

}  // namespace weightfs
