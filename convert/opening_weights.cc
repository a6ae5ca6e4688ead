// The weights of a source: each set is opened and takes its family; once all are known, it becomes files of
// the view.
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "convert/opening.h"
#include "convert/source/huggingface/native_weights.h"
#include "convert/source/open_file.h"

namespace weightfs {

SourceFiles& Opening::FilesOf(const WeightSet& set) const {
  return set.overlay != nullptr ? *set.overlay : *source_;
}

Status Opening::TakeWeights(const WeightSet& set) {
  Status taken = TakeWeightSet(set);
  if (taken) return {};
  if (taken.error().code == ErrorCode::kNotFound && !set.beside.empty() && options_.weights_key_path.empty())
    return ServeBeside(set, taken.error());
  return LeaveOut(set, std::move(taken));
}

/// One damaged model of a tree may be left out, by name; options that do not fit stay errors.
Status Opening::LeaveOut(const WeightSet& set, Status failure) {
  const Error& error = failure.error();
  const bool can_leave_out =
      options_.partial && source_->is_directory() && error.code != ErrorCode::kInvalidArgument;
  if (!can_leave_out) return failure;
  const std::string path = JoinPath(set.folder, set.stem);
  opened_.report.notes.push_back(fmt::format("{}: left out (--partial): {}", path, error.message));
  for (const std::string& shard : set.shards)
    opened_.report.hidden.emplace_back(shard, "--partial: " + error.message);
  return {};
}

/// Opens the files of `set`. `single` is the file when it could be served as it is.
Result<OpenedWeights> Opening::OpenWeights(const WeightSet& set, FilePtr& single) {
  SourceContext context;
  context.limits = options_.limits;
  context.cache = cache_;
  // "files" chooses files beside a training state, not a mapping in them.
  if (options_.weights_key_path != "files" || !source_->is_directory())
    context.weights_key_path = options_.weights_key_path;
  if (set.deepspeed != nullptr) return OpenSave(set, context);
  if (set.dcp_folder) return OpenDcp(set, context);
  SourceFiles& files = FilesOf(set);
  if (set.are_ranks && set.shards.size() > 1) {
    WEIGHTFS_TRY(std::vector<Checkpoint> ranks, OpenRankFiles(set, files, context));
    Result<OpenedWeights> joined = OpenedWeights::JoinRanks(std::move(ranks), set.shards);
    if (!joined) return std::unexpected(joined.error().Within(files.name()));
    return joined;
  }
  if (!set.index_path.empty() || set.shards.size() > 1) {
    WEIGHTFS_TRY(Checkpoint checkpoint, OpenWeightSet(set, files, context));
    return OpenedWeights(std::move(checkpoint));
  }
  WEIGHTFS_TRY(const FilePtr file, files.OpenWeights(set.shards[0]));
  WEIGHTFS_TRY(Checkpoint checkpoint, OpenCheckpointFile(file, context));
  if (!set.shards[0].empty()) {
    for (SourceTensor& tensor : checkpoint.tensors) tensor.file = set.shards[0];
    for (UnsupportedTensor& tensor : checkpoint.unsupported) tensor.file = set.shards[0];
  }
  if (checkpoint.format == FileFormatName(FileFormat::kSafetensors)) single = file;
  return OpenedWeights(std::move(checkpoint));
}

/// The settings beside `set`: of its folder, and of that folder in each overlay. A bare file has none of its
/// own.
Result<SetFamily> Opening::FindFamily(const WeightSet& set, const OpenedWeights& weights,
                                      const SetSurroundings& surroundings) {
  const std::string& path = set.shards.front().empty() ? source_->name() : set.shards.front();
  std::string number = set.number;
  if (number.empty()) number = NativeNumber(families_->WeightPatterns(), LastComponent(path));
  MetadataFiles files(options_.limits, std::move(number));
  if (set.folder.empty())
    for (const std::shared_ptr<SourceFiles>& parent : parents_) {
      files.AddFolder(parent, std::string(kTokenizerFolder));
      files.AddFolder(parent, "");
    }
  if (source_->is_directory()) files.AddFolder(source_, set.folder);
  for (const std::shared_ptr<SourceFiles>& overlay : overlays_) files.AddFolder(overlay, set.folder);
  if (config_ != nullptr && set.folder.empty()) files.AddFile("config.json", config_);
  const std::string& root = FilesOf(set).name();
  const std::string shown = set.folder.empty() ? root : JoinPath(root, set.folder);
  Result<SetFamily> family =
      FindSetFamily(weights, files, opened_.report.source, shown, *families_, options_, surroundings);
  opened_.report.metadata_bytes += files.metadata_bytes();
  return family;
}

/// Opens `set` and finds its family.
Status Opening::TakeWeightSet(const WeightSet& set) {
  const SourceFiles& files = FilesOf(set);
  const size_t opened_before = files.opened().size();
  FilePtr single;
  WEIGHTFS_TRY(OpenedWeights weights, OpenWeights(set, single));
  std::vector<DroppedTensor> unsupported;
  WEIGHTFS_CHECK(CheckUnsupported(weights, filter_, unsupported));
  const bool is_one_of_several = repository_.weights.size() > 1 || set.overlay != nullptr;
  WEIGHTFS_TRY(SetFamily family, FindFamily(set, weights, {.is_one_of_several = is_one_of_several}));
  int64_t mtime_nanoseconds = 0;
  for (size_t i = opened_before; i < files.opened().size(); ++i)
    mtime_nanoseconds = std::max(mtime_nanoseconds, files.opened()[i]->identity().mtime_nanoseconds);
  newest_mtime_ = std::max(newest_mtime_, mtime_nanoseconds);
  WeightSet view = set;
  if (set.overlay != nullptr)
    for (std::string& shard : view.shards) shard = JoinPath(files.name(), shard);
  pending_.push_back({set, std::move(view), std::move(weights), std::move(family), std::move(single),
                      std::move(unsupported), mtime_nanoseconds});
  return {};
}

Status Opening::ServePending() {
  for (; !pending_.empty(); pending_.pop_front()) {
    Status served = ServeWeightSet(pending_.front());
    if (!served) WEIGHTFS_CHECK(LeaveOut(pending_.front().set, std::move(served)));
  }
  return {};
}

Status Opening::ServeWeightSet(PendingSet& pending) {
  WEIGHTFS_TRY(ServedSet served, ServeSet(pending.view, pending.weights, pending.family, pending.single,
                                          filter_, options_, cache_));
  if (!source_->is_directory() && pending.set.overlay == nullptr)
    served.report.source_files = {source_->name()};
  for (auto& [path, file] : served.files)
    WEIGHTFS_CHECK(opened_.tree.AddFile(path, std::move(file), pending.mtime_nanoseconds));
  AddDerived(pending.view, pending.family, pending.mtime_nanoseconds);
  Report& report = opened_.report;
  report.metadata_bytes += pending.weights.first().metadata_bytes;
  report.sets.push_back(std::move(served.report));
  std::ranges::move(served.tensors, std::back_inserter(report.tensors));
  std::ranges::move(pending.unsupported, std::back_inserter(report.dropped));
  std::ranges::move(served.dropped, std::back_inserter(report.dropped));
  std::ranges::move(served.notes, std::back_inserter(report.notes));
  return {};
}

}  // namespace weightfs
