// The weights of a source: each set is opened, takes its family, and becomes files of the view.
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "convert/opening.h"
#include "convert/source/huggingface/native_weights.h"
#include "convert/source/open_file.h"

namespace weightfs {

Status Opening::ServeWeights(const WeightSet& set) {
  int64_t mtime_nanoseconds = 0;
  Status served = ServeWeightSet(set, mtime_nanoseconds);
  if (served) return {};
  if (served.error().code == ErrorCode::kNotFound && !set.beside.empty() && options_.weights_key_path.empty())
    return ServeBeside(set, served.error());
  // One damaged model of a tree may be left out, by name; options that do not fit stay errors.
  const bool can_leave_out =
      options_.partial && source_->is_directory() && served.error().code != ErrorCode::kInvalidArgument;
  if (!can_leave_out) return served;
  const std::string path = JoinPath(set.folder, set.stem);
  opened_.report.notes.push_back(fmt::format("{}: left out (--partial): {}", path, served.error().message));
  for (const std::string& shard : set.shards)
    opened_.report.hidden.emplace_back(shard, "--partial: " + served.error().message);
  return {};
}

/// Opens the files of `set`. `single` is the file when it could be served as it is.
Result<OpenedWeights> Opening::OpenWeights(const WeightSet& set, FilePtr& single) {
  SourceContext context;
  context.limits = options_.limits;
  context.cache = cache_;
  // "files" chooses files beside a save, not a mapping in them.
  if (options_.weights_key_path != "files" || !source_->is_directory())
    context.weights_key_path = options_.weights_key_path;
  if (set.deepspeed != nullptr) return OpenSave(set);
  if (set.are_ranks && set.shards.size() > 1) {
    WEIGHTFS_TRY(std::vector<Checkpoint> ranks, OpenRankFiles(set, *source_, context));
    Result<OpenedWeights> joined = OpenedWeights::JoinRanks(std::move(ranks), set.shards);
    if (!joined) return std::unexpected(joined.error().Within(source_->name()));
    return joined;
  }
  if (!set.index_path.empty() || set.shards.size() > 1) {
    WEIGHTFS_TRY(Checkpoint checkpoint, OpenWeightSet(set, *source_, context));
    return OpenedWeights(std::move(checkpoint));
  }
  WEIGHTFS_TRY(const FilePtr file, source_->OpenWeights(set.shards[0]));
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
Result<SetFamily> Opening::FindFamily(const WeightSet& set, const OpenedWeights& weights) {
  const std::string& path = set.shards.front().empty() ? source_->name() : set.shards.front();
  std::string number = set.number;
  if (number.empty()) number = NativeNumber(families_->WeightPatterns(), path.substr(path.rfind('/') + 1));
  MetadataFiles files(options_.limits, std::move(number));
  if (parent_ != nullptr) files.AddFolder(parent_, "");
  if (source_->is_directory()) files.AddFolder(source_, set.folder);
  for (const std::shared_ptr<SourceFiles>& overlay : overlays_) files.AddFolder(overlay, set.folder);
  if (config_ != nullptr && set.folder.empty()) files.AddFile("config.json", config_);
  const std::string shown = set.folder.empty() ? source_->name() : JoinPath(source_->name(), set.folder);
  Result<SetFamily> family =
      FindSetFamily(weights, files, opened_.report.source, shown, *families_, options_);
  opened_.report.metadata_bytes += files.metadata_bytes();
  return family;
}

Status Opening::ServeWeightSet(const WeightSet& set, int64_t& mtime_nanoseconds) {
  const size_t opened_before = source_->opened().size();
  FilePtr single;
  WEIGHTFS_TRY(const OpenedWeights weights, OpenWeights(set, single));
  std::vector<DroppedTensor> unsupported;
  WEIGHTFS_CHECK(CheckUnsupported(weights, filter_, unsupported));
  WEIGHTFS_TRY(SetFamily family, FindFamily(set, weights));
  WEIGHTFS_TRY(ServedSet served, ServeSet(set, weights, family, single, filter_, options_, cache_));
  if (!source_->is_directory()) served.report.source_files = {source_->name()};
  for (size_t i = opened_before; i < source_->opened().size(); ++i)
    mtime_nanoseconds = std::max(mtime_nanoseconds, source_->opened()[i]->identity().mtime_nanoseconds);
  newest_mtime_ = std::max(newest_mtime_, mtime_nanoseconds);

  for (auto& [path, file] : served.files)
    WEIGHTFS_CHECK(opened_.tree.AddFile(path, std::move(file), mtime_nanoseconds));
  AddDerived(set, family, mtime_nanoseconds);
  Report& report = opened_.report;
  report.metadata_bytes += weights.first().metadata_bytes;
  report.sets.push_back(std::move(served.report));
  std::ranges::move(served.tensors, std::back_inserter(report.tensors));
  std::ranges::move(unsupported, std::back_inserter(report.dropped));
  std::ranges::move(served.dropped, std::back_inserter(report.dropped));
  std::ranges::move(served.notes, std::back_inserter(report.notes));
  return {};
}

}  // namespace weightfs
