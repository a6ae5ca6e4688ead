#include "convert/opening.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "convert/served_set.h"
#include "convert/source/open_file.h"
#include "convert/weightfs_folder.h"

namespace weightfs {

Result<OpenedSource> Opening::Run() {
  opened_.cache = cache_;
  opened_.report.dtype = options_.dtype ? std::string(TorchName(*options_.dtype)) : "keep";
  WEIGHTFS_TRY(source_, OpenRoot(opened_.report.source));
  if (source_->is_directory()) {
    WEIGHTFS_CHECK(FindRepository());
  } else {
    WEIGHTFS_CHECK(FindBareFile());
  }
  for (const std::string& folder : repository_.folders) WEIGHTFS_CHECK(opened_.tree.AddFolder(folder, 0));
  for (const WeightSet& set : repository_.weights) WEIGHTFS_CHECK(ServeWeights(set));
  WEIGHTFS_CHECK(ServeSteps());
  if (opened_.report.sets.empty()) return FailNothingWhole();
  WEIGHTFS_CHECK(CollectSideFiles());
  WEIGHTFS_CHECK(ServeSideFiles());
  ReportFamily();
  WEIGHTFS_CHECK(Finish());
  return std::move(opened_);
}

Result<std::shared_ptr<SourceFiles>> Opening::OpenRoot(const std::string& path) {
  SourceFiles::Options options;
  options.source_io = options_.source_io;
  options.skipped_folders = step_names_;
  options.allowed_link_dirs = options_.allowed_link_dirs;
  options.limits = options_.limits;
  options.cache = cache_;
  WEIGHTFS_TRY(std::shared_ptr<SourceFiles> files, SourceFiles::Create(path, std::move(options)));
  roots_.push_back(files);
  return files;
}

/// A path that an option names: that it is absent is a fault of the command line, not of the source.
Result<std::shared_ptr<SourceFiles>> Opening::OpenOptionRoot(std::string_view option,
                                                             const std::string& path) {
  Result<std::shared_ptr<SourceFiles>> files = OpenRoot(path);
  if (files || files.error().code != ErrorCode::kNotFound) return files;
  Error error = files.error().Within(option);
  error.code = ErrorCode::kInvalidArgument;
  return std::unexpected(std::move(error));
}

Status Opening::FindBareFile() {
  WeightSet set;
  set.stem = "model";
  set.shards.push_back("");
  repository_.weights.push_back(std::move(set));
  return {};
}

Status Opening::FindRepository() {
  if (!is_step_) WEIGHTFS_CHECK(FindSteps());
  if (!step_names_.empty()) {
    WEIGHTFS_TRY(const bool has_weights, RootHasWeights());
    if (!has_weights) return FindSideFilesAlone();
  }
  const ScanOptions scan = {.mode = options_.partial ? ScanMode::kPartial : ScanMode::kStrict};
  WEIGHTFS_TRY(repository_, ScanRepository(*source_, options_.limits, scan));
  Report& report = opened_.report;
  for (const HiddenFile& hidden : repository_.hidden) report.hidden.emplace_back(hidden.path, hidden.reason);
  for (const UnservedModel& model : repository_.unserved)
    report.notes.push_back(fmt::format("{}: left out (--partial): {}", model.folder, model.error.message));
  report.notes.insert(report.notes.end(), repository_.warnings.begin(), repository_.warnings.end());
  return {};
}

std::unexpected<Error> Opening::FailNothingWhole() const {
  std::string message = fmt::format("{}: no model is whole; expected at least one", source_->name());
  for (const std::string& note : opened_.report.notes) message.append("\n").append(note);
  return Fail(ErrorCode::kNotFound, std::move(message));
}

Status Opening::ServeWeights(const WeightSet& set) {
  int64_t mtime_nanoseconds = 0;
  Status served = ServeWeightSet(set, mtime_nanoseconds);
  if (served) return {};
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

Status Opening::ServeWeightSet(const WeightSet& set, int64_t& mtime_nanoseconds) {
  SourceContext context;
  context.limits = options_.limits;
  context.cache = cache_;
  context.weights_key_path = options_.weights_key_path;
  const size_t opened_before = source_->opened().size();
  FilePtr single;
  Checkpoint checkpoint;
  if (set.index_path.empty() && set.shards.size() == 1) {
    WEIGHTFS_TRY(const FilePtr file, source_->OpenWeights(set.shards[0]));
    WEIGHTFS_TRY(checkpoint, OpenCheckpointFile(file, context));
    if (!set.shards[0].empty())
      for (SourceTensor& tensor : checkpoint.tensors) tensor.file = set.shards[0];
    if (checkpoint.format == FileFormatName(FileFormat::kSafetensors)) single = file;
  } else {
    WEIGHTFS_TRY(checkpoint, OpenWeightSet(set, *source_, context));
  }
  WEIGHTFS_TRY(ServedSet served, ServeSet(set, checkpoint, single, filter_, options_, cache_));
  if (!source_->is_directory()) served.report.source_files = {source_->name()};
  for (size_t i = opened_before; i < source_->opened().size(); ++i)
    mtime_nanoseconds = std::max(mtime_nanoseconds, source_->opened()[i]->identity().mtime_nanoseconds);
  newest_mtime_ = std::max(newest_mtime_, mtime_nanoseconds);

  for (auto& [path, file] : served.files)
    WEIGHTFS_CHECK(opened_.tree.AddFile(path, std::move(file), mtime_nanoseconds));
  Report& report = opened_.report;
  report.metadata_bytes += checkpoint.metadata_bytes;
  report.sets.push_back(std::move(served.report));
  std::move(served.tensors.begin(), served.tensors.end(), std::back_inserter(report.tensors));
  std::move(served.dropped.begin(), served.dropped.end(), std::back_inserter(report.dropped));
  std::move(served.notes.begin(), served.notes.end(), std::back_inserter(report.notes));
  return {};
}

Status Opening::Finish() {
  WEIGHTFS_CHECK(opened_.tree.AddFolder("", newest_mtime_));
  WEIGHTFS_CHECK(AddWeightfsFolder(opened_.report, newest_mtime_, opened_.tree));
  for (const std::shared_ptr<SourceFiles>& root : roots_)
    opened_.source_files.insert(opened_.source_files.end(), root->opened().begin(), root->opened().end());
  return {};
}

}  // namespace weightfs
