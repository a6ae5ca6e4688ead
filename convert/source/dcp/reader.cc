#include "convert/source/dcp/reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <utility>

#include "convert/base/relative_path.h"
#include "convert/source/dcp/assemble_tensor.h"
#include "convert/source/dcp/folder.h"
#include "convert/source/dcp/metadata.h"
#include "convert/source/dcp/payload.h"
#include "convert/source/dcp/rank_files.h"
#include "convert/source/dcp/shards.h"
#include "convert/source/dcp/subtree.h"
#include "convert/source/utf8.h"

namespace weightfs {
namespace {

constexpr std::string_view kMetadataName = ".metadata";

/// The rank of `__RANK.metadata`, or nothing.
std::optional<uint32_t> MetadataRank(std::string_view name) {
  constexpr std::string_view kPrefix = "__";
  if (!name.starts_with(kPrefix) || !name.ends_with(kMetadataName)) return std::nullopt;
  name.remove_prefix(kPrefix.size());
  name.remove_suffix(kMetadataName.size());
  uint32_t rank = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), rank);
  if (name.empty() || error != std::errc() || end != name.data() + name.size()) return std::nullopt;
  return rank;
}

bool IsPayload(std::string_view name) { return name.ends_with(".distcp") || name.ends_with(".distcp.lz4"); }

/// One checkpoint folder with metadata files.
class DcpReader {
 public:
  DcpReader(SourceFiles& source, const std::string& folder, const SourceContext& context)
      : source_(source), folder_(folder), shown_(ShownPath(source, folder)), context_(context) {}

  Result<Checkpoint> Read(std::span<const std::string> metadata_names) {
    std::vector<FilePtr> files;
    for (const std::string& name : metadata_names) {
      WEIGHTFS_TRY(FilePtr file, source_.OpenPassThrough(JoinPath(folder_, name)));
      files.push_back(std::move(file));
    }
    metadata_name_ = files.front()->name();
    WEIGHTFS_TRY(metadata_, ReadDcpMetadata(files, context_.limits));
    WEIGHTFS_TRY(subtree_, ChooseDcpSubtree(metadata_, context_.weights_key_path, shown_));
    WEIGHTFS_CHECK(FindWanted());
    WEIGHTFS_TRY(payloads_, ReadDcpPayloads(source_, folder_, metadata_, wanted_, context_));
    WEIGHTFS_CHECK(AssembleAll());
    return Finish();
  }

 private:
  /// Which chunks have to be read: those of a tensor, one of each set of copies, which must cover it.
  Status FindWanted() {
    for (const size_t number : subtree_.tensors) {
      DcpTensor& tensor = metadata_.tensors[number];
      std::vector<Box> boxes;
      boxes.reserve(tensor.chunks.size());
      for (const DcpChunk& chunk : tensor.chunks) boxes.push_back({chunk.offsets, chunk.sizes});
      const std::vector<size_t> kept = DropCopies(boxes);
      std::vector<Box> kept_boxes;
      kept_boxes.reserve(kept.size());
      for (const size_t i : kept) kept_boxes.push_back(boxes[i]);
      WEIGHTFS_CHECK(CheckCovered(tensor.shape, kept_boxes, TensorPlace(tensor)));
      first_wanted_.push_back(wanted_.size());
      // What safetensors cannot carry need not be read.
      if (tensor.dtype == nullptr || !tensor.dtype->dtype) continue;
      for (const size_t i : kept) wanted_.push_back({&tensor, &tensor.chunks[i]});
    }
    first_wanted_.push_back(wanted_.size());
    return {};
  }

  std::string TensorPlace(const DcpTensor& tensor) const {
    return fmt::format("{}: tensor {}", metadata_name_, Quoted(tensor.name));
  }

  Status AssembleAll() {
    checkpoint_.tensors.reserve(subtree_.tensors.size());
    for (size_t i = 0; i < subtree_.tensors.size(); ++i) {
      const DcpTensor& tensor = metadata_.tensors[subtree_.tensors[i]];
      if (tensor.dtype == nullptr || !tensor.dtype->dtype) {
        Refuse(i, fmt::format("{} tensor; safetensors has no such type", tensor.dtype_name));
        continue;
      }
      WEIGHTFS_CHECK(AssembleOne(i, tensor));
    }
    return {};
  }

  Status AssembleOne(size_t i, const DcpTensor& tensor) {
    std::vector<PlacedView> parts;
    for (size_t k = first_wanted_[i]; k < first_wanted_[i + 1]; ++k) {
      RebuiltTensor& part = payloads_.chunks[k];
      if (!part.view) {
        Refuse(i, part.unsupported_reason);
        return {};
      }
      parts.push_back({wanted_[k].chunk->offsets, *std::move(part.view)});
    }
    SourceTensor served;
    served.name = std::move(subtree_.names[i]);
    Shape shape = tensor.shape;
    // A pair of 4-bit elements is one element to torch.
    if (tensor.dtype->dtype == DType::kF4 && parts.size() == 1) shape = parts[0].view.shape();
    if (parts.size() == 1 && parts[0].view.shape() == shape) {
      served.view = std::move(parts[0].view);
    } else {
      Result<TensorView> whole = Assemble(std::move(shape), *tensor.dtype->dtype, parts);
      if (!whole) return std::unexpected(std::move(whole).error().Within(TensorPlace(tensor)));
      served.view = *std::move(whole);
    }
    served.file = FileOf(i);
    if (parts.size() == 1) {
      served.storage = std::move(payloads_.chunks[first_wanted_[i]].storage);
    } else if (parts.size() > 1) {
      served.storage = fmt::format("{} parts", parts.size());
    }
    checkpoint_.tensors.push_back(std::move(served));
    return {};
  }

  /// Of the first part, or of the metadata when there is no part.
  std::string FileOf(size_t i) const {
    if (first_wanted_[i] == first_wanted_[i + 1]) return JoinPath(folder_, kMetadataName);
    const DcpChunk& chunk = *wanted_[first_wanted_[i]].chunk;
    return JoinPath(folder_, metadata_.files[chunk.place->file]);
  }

  void Refuse(size_t i, std::string reason) {
    checkpoint_.unsupported.push_back({std::move(subtree_.names[i]), std::move(reason), FileOf(i)});
  }

  Result<Checkpoint> Finish() {
    checkpoint_.format = "dcp";
    checkpoint_.metadata_bytes = metadata_.metadata_bytes + payloads_.metadata_bytes;
    std::string others;
    for (const LeftOut& left_out : subtree_.left_out)
      if (left_out.reason.contains("tensor"))
        others += fmt::format("{}{} ({})", others.empty() ? "; left out: " : ", ", Quoted(left_out.path),
                              left_out.reason);
    if (!others.empty())
      checkpoint_.warnings.push_back(fmt::format("{}: served is {}{}", shown_,
                                                 subtree_.path.empty()
                                                     ? "all that is saved flat"
                                                     : fmt::format("the subtree {}", Quoted(subtree_.path)),
                                                 others));
    if (checkpoint_.tensors.empty() && checkpoint_.unsupported.empty())
      checkpoint_.warnings.push_back(fmt::format("{}: there are no tensors in it", shown_));
    checkpoint_.left_out = std::move(subtree_.left_out);
    checkpoint_.candidates = std::move(subtree_.candidates);
    WEIGHTFS_CHECK(CheckTensorNames(checkpoint_, shown_, context_.limits));
    return std::move(checkpoint_);
  }

  SourceFiles& source_;
  const std::string& folder_;
  const std::string shown_;
  const SourceContext& context_;
  std::string metadata_name_;
  DcpMetadata metadata_;
  DcpSubtree subtree_;
  std::vector<DcpWanted> wanted_;
  std::vector<size_t> first_wanted_;  ///< Of each tensor of the subtree, and the end.
  DcpPayloads payloads_;
  Checkpoint checkpoint_;
};

/// Metadata files of all ranks in their order.
Result<std::vector<std::string>> RankMetadata(std::span<const SourceEntry> entries,
                                              const std::string& shown) {
  std::map<uint32_t, std::string> by_rank;
  for (const SourceEntry& entry : entries)
    if (const auto rank = MetadataRank(entry.name)) by_rank.emplace(*rank, entry.name);
  std::vector<std::string> names;
  for (auto& [rank, name] : by_rank) {
    if (rank != names.size())
      return Fail(ErrorCode::kNotFound,
                  fmt::format("{}/__{}.metadata: missing; expected the metadata of every rank up to {}",
                              shown, names.size(), by_rank.rbegin()->first),
                  "copy the folders of all nodes together");
    names.push_back(std::move(name));
  }
  return names;
}

}  // namespace

bool IsDcpFile(std::string_view name) {
  name = LastComponent(name);
  return IsPayload(name) || MetadataRank(name).has_value() || IsDcpShardName(name) || IsShardedRankName(name);
}

std::optional<DcpForm> FindDcpForm(std::span<const SourceEntry> entries) {
  bool has_ranks = false, has_payload = false, has_shards = false, has_rank_files = false;
  for (const SourceEntry& entry : entries) {
    if (entry.is_directory) continue;
    if (entry.name == kMetadataName) return DcpForm::kMetadata;
    has_ranks |= MetadataRank(entry.name).has_value();
    has_payload |= IsPayload(entry.name);
    has_shards |= IsDcpShardName(entry.name);
    has_rank_files |= IsShardedRankName(entry.name);
  }
  if (has_ranks) return DcpForm::kRankMetadata;
  if (has_payload) return DcpForm::kUnfinished;
  if (has_shards) return DcpForm::kShards;
  return has_rank_files ? std::optional(DcpForm::kRankFiles) : std::nullopt;
}

Result<Checkpoint> ReadDcp(SourceFiles& source, const std::string& folder, const SourceContext& context) {
  WEIGHTFS_TRY(const std::vector<SourceEntry> entries, source.List(folder));
  const std::string shown = ShownPath(source, folder);
  const std::optional<DcpForm> form = FindDcpForm(entries);
  if (form == DcpForm::kShards) return ReadDcpShards(source, folder, entries, context);
  if (form == DcpForm::kRankFiles) return ReadRankFiles(source, folder, entries, context);
  if (!form || form == DcpForm::kUnfinished)
    return Fail(
        ErrorCode::kNotFound,
        fmt::format(
            "{}: no .metadata beside the .distcp files; expected it, it is written last: this save is "
            "unfinished, or was copied in part",
            shown),
        "a step is whole when its folder has a .metadata: mount one of those");
  std::vector<std::string> names = {std::string(kMetadataName)};
  if (form == DcpForm::kRankMetadata) {
    WEIGHTFS_TRY(names, RankMetadata(entries, shown));
  }
  return DcpReader(source, folder, context).Read(names);
}

}  // namespace weightfs
