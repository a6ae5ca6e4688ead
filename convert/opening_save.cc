// DeepSpeed saves: the files of ranks, here and on other nodes, and what lies beside and above them.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <utility>

#include "convert/opening.h"
#include "convert/source/deepspeed/deepspeed.h"

namespace weightfs {
namespace {

/// Files of the folder above a save that describe its model, whole names and beginnings.
constexpr std::string_view kMetadataNames[] = {"config.json",
                                               "generation_config.json",
                                               "added_tokens.json",
                                               "special_tokens_map.json",
                                               "merges.txt",
                                               "vocab.json",
                                               "vocab.txt",
                                               "spiece.model",
                                               "preprocessor_config.json",
                                               "processor_config.json"};
constexpr std::string_view kMetadataPrefixes[] = {"tokenizer", "chat_template", "latest"};
constexpr std::string_view kTokenizerFolder = "tokenizer";

bool IsModelMetadata(std::string_view name) {
  return std::ranges::find(kMetadataNames, name) != std::end(kMetadataNames) ||
         std::ranges::any_of(kMetadataPrefixes,
                             [&](std::string_view prefix) { return name.starts_with(prefix); });
}

/// The type of most bytes of floating tensors.
std::optional<DType> MainDType(const Checkpoint& checkpoint) {
  std::map<DType, uint64_t> bytes;
  for (const SourceTensor& tensor : checkpoint.tensors)
    if (IsCastable(tensor.view.dtype())) bytes[tensor.view.dtype()] += tensor.view.size_bytes();
  const auto most = std::ranges::max_element(bytes, {}, [](const auto& entry) { return entry.second; });
  return most == bytes.end() ? std::nullopt : std::optional(most->first);
}

}  // namespace

/// A file of a save that holds no model by itself.
Status Opening::RefuseRankFile() const {
  const std::filesystem::path path(source_->name());
  const auto name = ParseDeepSpeedFileName(path.filename().string());
  if (!name) return {};
  std::string_view what;
  if (name->kind == DeepSpeedFileKind::kOptimizer) what = "the masters of one rank";
  if (name->kind == DeepSpeedFileKind::kExpertOptimizer) what = "the optimizer state of one rank";
  if (name->kind == DeepSpeedFileKind::kPartition) what = "the placeholders of one ZeRO-3 rank";
  if (what.empty()) return {};
  const std::string folder = path.has_parent_path() ? path.parent_path().string() : std::string(".");
  return Fail(
      ErrorCode::kUnsupported,
      fmt::format("{}: {} of a DeepSpeed save; expected the folder of all ranks", source_->name(), what),
      fmt::format("mount the folder: {}", folder));
}

/// The folder holds saves and says which one is meant: folders in it are no steps.
Result<bool> Opening::RootIsSave() {
  WEIGHTFS_TRY(const std::vector<SourceEntry> entries, source_->List(""));
  if (!IsDeepSpeedRoot(entries)) return false;
  for (const SourceEntry& entry : entries) {
    if (!entry.is_directory || entry.name.starts_with('.')) continue;
    WEIGHTFS_TRY(const std::vector<SourceEntry> below, source_->List(entry.name));
    if (IsDeepSpeedTagFolder(below)) return true;
  }
  return false;
}

Status Opening::CheckAlso() const {
  if (options_.also.empty()) return {};
  const bool has_save =
      std::ranges::any_of(repository_.weights, [](const WeightSet& set) { return set.deepspeed != nullptr; });
  if (has_save || (!step_names_.empty() && repository_.weights.empty())) return {};
  return Fail(ErrorCode::kInvalidArgument, fmt::format("--also {}: does not apply: {} is no save of ranks",
                                                       options_.also.front(), source_->name()));
}

/// Metadata above a tag folder belongs to the save.
Status Opening::FindParent() {
  const auto is_root = [](const WeightSet& set) {
    return set.deepspeed != nullptr && set.deepspeed->folder.empty();
  };
  if (std::ranges::none_of(repository_.weights, is_root)) return {};
  const std::string parent = std::filesystem::path(source_->resolved_root()).parent_path().string();
  if (parent == source_->resolved_root()) return {};
  WEIGHTFS_TRY(parent_, OpenRoot(parent));
  return {};
}

Status Opening::CollectParentFiles() {
  if (parent_ == nullptr) return {};
  WEIGHTFS_TRY(const std::vector<SourceEntry> entries, parent_->List(""));
  const auto add = [&](std::string path, const SourceEntry& entry) {
    const auto own = std::ranges::find(side_files_, path, &SideFile::path);
    if (own == side_files_.end())
      AddSideFile({path, "the folder above", parent_, path, {}, entry.mtime_nanoseconds});
  };
  for (const SourceEntry& entry : entries) {
    if (!entry.is_directory && IsModelMetadata(entry.name)) add(entry.name, entry);
    if (!entry.is_directory || entry.name != kTokenizerFolder) continue;
    WEIGHTFS_TRY(const std::vector<SourceEntry> files, parent_->List(entry.name));
    WEIGHTFS_CHECK(opened_.tree.AddFolder(entry.name, 0));
    for (const SourceEntry& file : files)
      if (!file.is_directory && !file.name.starts_with('.')) add(JoinPath(entry.name, file.name), file);
  }
  return {};
}

Result<OpenedWeights> Opening::OpenSave(const WeightSet& set) {
  SourceContext context;
  context.limits = options_.limits;
  context.cache = cache_;
  DeepSpeedSave save = *set.deepspeed;
  for (const std::string& folder : options_.also) {
    WEIGHTFS_TRY(const std::shared_ptr<SourceFiles> also, OpenOptionRoot("--also", folder));
    if (!also->is_directory())
      return Fail(ErrorCode::kInvalidArgument,
                  fmt::format("--also {}: not a folder; expected one of rank files", folder));
    WEIGHTFS_CHECK(AddDeepSpeedFolder(also, save));
  }
  DeepSpeedOptions options;
  options.partial = options_.partial;
  if (options_.weights_key_path == "module")
    options.weights = DeepSpeedWeights::kModule;
  else if (!options_.weights_key_path.empty() && options_.weights_key_path != "master")
    return Fail(ErrorCode::kInvalidArgument, fmt::format("--weights {}: {}: expected master, module or files",
                                                         options_.weights_key_path, save.shown));
  WEIGHTFS_TRY(DeepSpeedCheckpoint read, ReadDeepSpeed(save, options, context));
  if (const std::optional<DType> dtype = MainDType(read.ranks.front()); read.are_masters && dtype)
    served_dtypes_[set.folder] = *dtype;
  if (!set.beside.empty()) {
    opened_.report.notes.push_back(
        fmt::format("{}: the {} of this save are served; --weights files serves the weight "
                    "files beside it",
                    save.shown, read.are_masters ? "masters" : "copies in `module`"));
    for (const WeightSet& beside : set.beside)
      for (const std::string& file : beside.shards)
        opened_.report.hidden.emplace_back(file, "the save beside it is served; --weights files serves this");
  }
  if (read.ranks.size() == 1) return OpenedWeights(std::move(read.ranks.front()));
  std::vector<std::string> files;
  for (size_t rank = 0; rank < read.ranks.size(); ++rank)
    files.push_back(read.ranks[rank].tensors.empty() ? save.shown : read.ranks[rank].tensors.front().file);
  Result<OpenedWeights> joined = OpenedWeights::JoinRanks(std::move(read.ranks), files);
  if (!joined) return std::unexpected(joined.error().Within(source_->name()));
  return joined;
}

/// The save is not whole, and the weights lie beside it in files too.
Status Opening::ServeBeside(const WeightSet& set, const Error& cause) {
  opened_.report.notes.push_back(cause.message + "; the weight files beside it are served");
  for (const WeightSet& beside : set.beside) WEIGHTFS_CHECK(TakeWeights(beside));
  return {};
}

}  // namespace weightfs
