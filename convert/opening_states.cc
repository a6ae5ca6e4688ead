// Training states: saves of DeepSpeed, whose ranks may lie on other nodes, and distributed checkpoints.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <utility>

#include "convert/opening.h"
#include "convert/source/dcp/reader.h"
#include "convert/source/deepspeed/deepspeed.h"

namespace weightfs {
namespace {

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

/// What is served in place of weight files beside it, and of the type that their config.json states.
void Opening::NoteState(const WeightSet& set, const Checkpoint& first, std::string_view shown,
                        std::string_view what, bool are_masters) {
  if (const std::optional<DType> dtype = MainDType(first); are_masters && dtype)
    served_dtypes_[set.folder] = *dtype;
  if (set.beside.empty()) return;
  opened_.report.notes.push_back(
      fmt::format("{}: {} are served; --weights files serves the weight files beside it", shown, what));
  for (const WeightSet& beside : set.beside)
    for (const std::string& file : beside.shards)
      opened_.report.hidden.emplace_back(file, "the training state is served; --weights files serves this");
}

Result<OpenedWeights> Opening::OpenSave(const WeightSet& set, const SourceContext& context) {
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
  NoteState(set, read.ranks.front(), save.shown,
            read.are_masters ? "the masters of this save" : "the copies in `module` of this save",
            read.are_masters);
  if (read.ranks.size() == 1) return OpenedWeights(std::move(read.ranks.front()));
  std::vector<std::string> files;
  for (size_t rank = 0; rank < read.ranks.size(); ++rank)
    files.push_back(read.ranks[rank].tensors.empty() ? save.shown : read.ranks[rank].tensors.front().file);
  Result<OpenedWeights> joined = OpenedWeights::JoinRanks(std::move(read.ranks), files);
  if (!joined) return std::unexpected(joined.error().Within(source_->name()));
  return joined;
}

/// What the config.json of a run states is the type that it computes in; the state has that of its
/// parameters.
Result<OpenedWeights> Opening::OpenDcp(const WeightSet& set, const SourceContext& context) {
  SourceFiles& files = FilesOf(set);
  WEIGHTFS_TRY(Checkpoint read, ReadDcp(files, *set.dcp_folder, context));
  NoteState(set, read, ShownPath(files, *set.dcp_folder), "the tensors of this distributed checkpoint",
            true);
  return OpenedWeights(std::move(read));
}

/// The state is not whole, and the weights lie beside it in files too.
Status Opening::ServeBeside(const WeightSet& set, const Error& cause) {
  opened_.report.notes.push_back(cause.message + "; the weight files beside it are served");
  for (const WeightSet& beside : set.beside) WEIGHTFS_CHECK(TakeWeights(beside));
  return {};
}

}  // namespace weightfs
