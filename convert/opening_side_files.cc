// Files of the view that are not weights: passed through, laid over, or edited where they state a dtype.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "convert/opening.h"
#include "convert/target/hf/config_json.h"

namespace weightfs {

void Opening::AddSideFile(SideFile file) {
  const auto place =
      std::lower_bound(side_files_.begin(), side_files_.end(), file.path,
                       [](const SideFile& a, const std::string& path) { return a.path < path; });
  if (place != side_files_.end() && place->path == file.path) {
    *place = std::move(file);
  } else {
    side_files_.insert(place, std::move(file));
  }
}

/// Overlays and the file of `--config`.
Status Opening::OpenOptionRoots() {
  // Of a folder of nothing but steps, each step has its own.
  if (!step_names_.empty() && repository_.weights.empty()) return {};
  for (const std::string& overlay : options_.overlays) {
    WEIGHTFS_TRY(std::shared_ptr<SourceFiles> files, OpenOptionRoot("--overlay", overlay));
    if (!files->is_directory())
      return Fail(ErrorCode::kInvalidArgument, fmt::format("--overlay {}: not a folder", overlay),
                  "--config FILE takes a single config.json");
    overlays_.push_back(std::move(files));
  }
  if (options_.config_path.empty()) return {};
  WEIGHTFS_TRY(config_, OpenOptionRoot("--config", options_.config_path));
  if (config_->is_directory())
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("--config {}: a folder; expected a file", options_.config_path));
  return {};
}

Status Opening::CollectSideFiles() {
  WEIGHTFS_CHECK(CollectParentFiles());
  for (const PassThrough& file : repository_.files)
    AddSideFile({file.path, "source", source_, file.path, {}, file.mtime_nanoseconds});
  for (size_t i = 0; i < overlays_.size(); ++i) {
    WEIGHTFS_TRY(const std::vector<PassThrough> found, ScanOverlay(*overlays_[i], options_.limits));
    for (const PassThrough& file : found)
      AddSideFile({file.path,
                   "--overlay " + options_.overlays[i],
                   overlays_[i],
                   file.path,
                   {},
                   file.mtime_nanoseconds});
  }
  if (config_ != nullptr) {
    WEIGHTFS_TRY(const FilePtr file, config_->OpenPassThrough(""));
    AddSideFile({std::string(kConfigName),
                 "--config " + options_.config_path,
                 config_,
                 "",
                 {},
                 config_->opened().back()->identity().mtime_nanoseconds});
  }
  return {};
}

Result<VirtualFilePtr> Opening::ServeConfig(const SideFile& file) {
  WEIGHTFS_TRY(const std::string text,
               file.files->ReadSmall(file.source_path, options_.limits.json_bytes_max));
  opened_.report.metadata_bytes += text.size();
  const std::string name =
      file.source_path.empty() ? file.files->name() : JoinPath(file.files->name(), file.source_path);
  const std::string folder = file.path.size() == kConfigName.size()
                                 ? std::string()
                                 : file.path.substr(0, file.path.size() - kConfigName.size() - 1);
  const DType dtype = options_.dtype ? *options_.dtype : served_dtypes_.at(folder);
  WEIGHTFS_TRY(std::string edited, SetConfigDtype(text, dtype, name, options_.limits));
  return MakeTextFile(std::move(edited));
}

Status Opening::ServeSideFiles() {
  // A dtype that changes is stated by the config.json of each folder that holds weights.
  const auto describes_weights = [&](const std::string& path) {
    if (LastComponent(path) != kConfigName) return false;
    const std::string folder = path.size() == kConfigName.size()
                                   ? std::string()
                                   : path.substr(0, path.size() - kConfigName.size() - 1);
    if (!options_.dtype) return served_dtypes_.contains(folder);
    return std::ranges::any_of(opened_.report.sets,
                               [&](const WeightSetReport& set) { return set.folder == folder; });
  };
  for (const SideFile& file : side_files_) {
    VirtualFilePtr served;
    if (file.files == nullptr) {
      served = MakeTextFile(file.text);
    } else if (describes_weights(file.path)) {
      WEIGHTFS_TRY(served, ServeConfig(file));
    } else {
      WEIGHTFS_TRY(FilePtr opened, file.files->OpenPassThrough(file.source_path));
      served = MakePassThroughFile(std::move(opened));
    }
    WEIGHTFS_CHECK(opened_.tree.AddFile(file.path, std::move(served), file.mtime_nanoseconds));
    newest_mtime_ = std::max(newest_mtime_, file.mtime_nanoseconds);
    opened_.report.passed_through.emplace_back(file.path, file.origin);
  }
  return {};
}

}  // namespace weightfs
