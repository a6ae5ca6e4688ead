// Folders of training steps: each step is opened as a source of its own and becomes a folder of the tree.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <set>
#include <string>
#include <system_error>
#include <utility>

#include "convert/opening.h"
#include "convert/source/huggingface/classify.h"
#include "convert/source/huggingface/native_weights.h"
#include "convert/step_folder.h"

namespace weightfs {
namespace {

void PrefixPaths(const std::string& folder, std::vector<std::pair<std::string, std::string>>& pairs) {
  for (auto& [path, value] : pairs) path = JoinPath(folder, path);
}

/// Rewrites the paths of a report so that they count from the folder above `folder`.
void PrefixReport(const std::string& folder, Report& report) {
  for (WeightSetReport& set : report.sets) {
    set.folder = set.folder.empty() ? folder : JoinPath(folder, set.folder);
    for (std::string& file : set.files) file = JoinPath(folder, file);
    for (std::string& file : set.source_files) file = JoinPath(folder, file);
  }
  for (TensorReport& tensor : report.tensors) {
    tensor.file = JoinPath(folder, tensor.file);
    for (TensorOrigin& source : tensor.sources) source.file = JoinPath(folder, source.file);
  }
  for (DroppedTensor& dropped : report.dropped) dropped.file = JoinPath(folder, dropped.file);
  PrefixPaths(folder, report.passed_through);
  PrefixPaths(folder, report.hidden);
  for (std::string& evidence : report.family_evidence) evidence = JoinPath(folder, evidence);
}

/// The options with paths that stay right when a server leaves the working folder.
Result<OpenOptions> WithAbsolutePaths(OpenOptions options) {
  std::error_code error;
  const auto make_absolute = [&](std::string& path) {
    if (!path.empty()) path = std::filesystem::absolute(path, error).string();
  };
  make_absolute(options.config_path);
  make_absolute(options.rules_path);
  for (std::string& overlay : options.overlays) make_absolute(overlay);
  for (std::string& folder : options.also) make_absolute(folder);
  for (std::string& folder : options.allowed_link_dirs) make_absolute(folder);
  if (error) return FailIo(error.value(), "the working folder");
  return options;
}

template <typename T>
void MoveAppend(std::vector<T>& from, std::vector<T>& to) {
  std::move(from.begin(), from.end(), std::back_inserter(to));
}

}  // namespace

Status Opening::FindSteps() {
  WEIGHTFS_TRY(const std::vector<SourceEntry> entries, source_->List(""));
  for (const SourceEntry& entry : entries)
    if (entry.is_directory && IsStepName(entry.name)) step_names_.push_back(entry.name);
  if (step_names_.empty()) return {};
  roots_.clear();
  WEIGHTFS_TRY(source_, OpenRoot(opened_.report.source));
  return {};
}

Result<bool> Opening::RootHasWeights() {
  WEIGHTFS_TRY(const std::vector<SourceEntry> entries, source_->List(""));
  const std::vector<std::string> patterns = families_->WeightPatterns();
  return std::any_of(entries.begin(), entries.end(), [&](const SourceEntry& entry) {
    const FileRole role = ClassifyFileName(entry.name).role;
    return !entry.is_directory && (role == FileRole::kWeights || role == FileRole::kIndex ||
                                   IsNativeWeightName(patterns, entry.name));
  });
}

/// A folder of nothing but steps may hold small files beside them (a README, a log): those of an overlay
/// would show.
Status Opening::FindSideFilesAlone() {
  WEIGHTFS_TRY(repository_.files, ScanOverlay(*source_, options_.limits));
  return {};
}

/// Steps share the cache, so that the bound of memory is one for the whole mount.
Result<OpenedSource> Opening::OpenStep(const std::string& source, const std::string& step,
                                       OpenOptions options, std::shared_ptr<const FamilyRegistry> families,
                                       std::shared_ptr<BlockCache> cache) {
  options.allowed_link_dirs.push_back(source);
  WEIGHTFS_TRY(NameFilter filter, NameFilter::Compile(options.include, options.exclude));
  Opening opening(JoinPath(source, step), options, std::move(filter), std::move(families), std::move(cache));
  opening.is_step_ = true;
  return opening.Run();
}

Status Opening::ServeSteps() {
  if (step_names_.empty()) return {};
  const std::string& source = opened_.report.source;
  std::set<std::string> served;
  for (const std::string& step : step_names_) {
    Result<OpenedSource> opened = OpenStep(source, step, options_, families_, cache_);
    if (opened) {
      WEIGHTFS_CHECK(Graft(step, *std::move(opened)));
      served.insert(step);
      continue;
    }
    if (opened.error().code == ErrorCode::kInvalidArgument) return std::unexpected(std::move(opened).error());
    opened_.report.notes.push_back(
        fmt::format("{}: not listed, it is not whole: {}", step, opened.error().message));
    opened_.report.hidden.emplace_back(step, "not whole: " + opened.error().message);
  }
  std::error_code error;
  const std::string absolute = std::filesystem::canonical(source, error).string();
  if (error) return FailIo(error.value(), source);
  WEIGHTFS_TRY(OpenOptions absolute_options, WithAbsolutePaths(options_));
  opened_.steps = std::make_shared<StepFolder>(
      absolute, std::move(served),
      [absolute, options = std::move(absolute_options), families = families_, cache = cache_](
          const std::string& step) { return OpenStep(absolute, step, options, families, cache); });
  return {};
}

Status Opening::Graft(const std::string& step, OpenedSource opened) {
  for (NodeId id = 0; id < opened.tree.size(); ++id) {
    const VirtualNode& node = opened.tree.node(id);
    const std::string path = opened.tree.Path(id);
    if (path == ".weightfs" || path.starts_with(".weightfs/")) continue;
    newest_mtime_ = std::max(newest_mtime_, node.mtime_nanoseconds);
    if (node.is_directory) {
      WEIGHTFS_CHECK(
          opened_.tree.AddFolder(path.empty() ? step : JoinPath(step, path), node.mtime_nanoseconds));
    } else {
      WEIGHTFS_CHECK(opened_.tree.AddFile(JoinPath(step, path), node.file, node.mtime_nanoseconds));
    }
  }
  PrefixReport(step, opened.report);
  Report& report = opened_.report;
  MoveAppend(opened.report.sets, report.sets);
  MoveAppend(opened.report.tensors, report.tensors);
  MoveAppend(opened.report.dropped, report.dropped);
  MoveAppend(opened.report.passed_through, report.passed_through);
  MoveAppend(opened.report.hidden, report.hidden);
  MoveAppend(opened.report.notes, report.notes);
  MoveAppend(opened.report.family_evidence, report.family_evidence);
  report.metadata_bytes += opened.report.metadata_bytes;
  MoveAppend(opened.source_files, opened_.source_files);
  return {};
}

}  // namespace weightfs
