#include "convert/opening.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

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
  WEIGHTFS_CHECK(CheckTag());
  WEIGHTFS_CHECK(CheckAlso());
  WEIGHTFS_CHECK(OpenParents());
  WEIGHTFS_CHECK(OpenOptionRoots());
  WEIGHTFS_CHECK(CollectSideFiles());
  for (const WeightSet& set : repository_.weights) WEIGHTFS_CHECK(TakeWeights(set));
  WEIGHTFS_CHECK(PlaceSets());
  for (const std::string& folder : repository_.folders) WEIGHTFS_CHECK(opened_.tree.AddFolder(folder, 0));
  WEIGHTFS_CHECK(ServePending());
  WEIGHTFS_CHECK(ServeSteps());
  if (opened_.report.sets.empty()) return FailNothingWhole();
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
  WEIGHTFS_CHECK(RefuseRankFile());
  WeightSet set;
  set.stem = "model";
  set.shards.push_back("");
  repository_.weights.push_back(std::move(set));
  return {};
}

Status Opening::FindRepository() {
  WEIGHTFS_TRY(const bool is_save, RootIsSave());
  if (!is_step_ && !is_save) WEIGHTFS_CHECK(FindSteps());
  if (!step_names_.empty()) {
    WEIGHTFS_TRY(const bool has_weights, RootHasWeights());
    if (!has_weights) return FindSideFilesAlone();
  }
  const ScanOptions scan = {.mode = options_.partial ? ScanMode::kPartial : ScanMode::kStrict,
                            .weight_patterns = families_->WeightPatterns(),
                            .tag = options_.tag,
                            .weights = options_.weights_key_path};
  WEIGHTFS_TRY(repository_, ScanRepository(*source_, options_.limits, scan));
  Report& report = opened_.report;
  for (const HiddenFile& hidden : repository_.hidden) report.hidden.emplace_back(hidden.path, hidden.reason);
  for (const UnservedModel& model : repository_.unserved)
    report.notes.push_back(fmt::format("{}: left out (--partial): {}", model.folder, model.error.message));
  report.notes.insert(report.notes.end(), repository_.warnings.begin(), repository_.warnings.end());
  return {};
}

/// `--tag` chooses among numbered saves. The steps of a folder of steps have theirs.
Status Opening::CheckTag() const {
  if (options_.tag.empty() || repository_.has_numbered_saves) return {};
  if (!step_names_.empty() && repository_.weights.empty()) return {};
  return Fail(ErrorCode::kInvalidArgument, fmt::format("--tag {}: does not apply: {} keeps no numbered saves",
                                                       options_.tag, source_->name()));
}

std::unexpected<Error> Opening::FailNothingWhole() const {
  std::string message = fmt::format("{}: no model is whole; expected at least one", source_->name());
  for (const std::string& note : opened_.report.notes) message.append("\n").append(note);
  return Fail(ErrorCode::kNotFound, std::move(message));
}

Status Opening::Finish() {
  WEIGHTFS_CHECK(opened_.tree.AddFolder("", newest_mtime_));
  WEIGHTFS_CHECK(AddWeightfsFolder(opened_.report, newest_mtime_, opened_.tree));
  for (const std::shared_ptr<SourceFiles>& root : roots_)
    opened_.source_files.insert(opened_.source_files.end(), root->opened().begin(), root->opened().end());
  return {};
}

}  // namespace weightfs
