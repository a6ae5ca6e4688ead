/// \file
/// Training states in a folder tree, saves of DeepSpeed and distributed checkpoints: which folders are one,
/// and whether they or files beside them are the weights.
///
/// Follows docs/formats/deepspeed.md and docs/formats/dcp.md, "Folders".
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "convert/base/result.h"
#include "convert/source/huggingface/folder_scan.h"
#include "convert/source/huggingface/repository.h"

namespace weightfs {

/// What a folder has of a training state.
struct TrainingState {
  std::optional<WeightSet> set;              ///< The weights are those of the state.
  std::vector<std::string> skipped_folders;  ///< Names of folders right below that belong to states.
  std::vector<HiddenFile> hidden;
  std::vector<std::string> warnings;
  bool has_tags = false;  ///< The folder is above its saves, so that `--tag` chooses.
};

/// Looks for a training state in `folder`. Files beside it are the weights when `--weights` is "files", and
/// when they are an adapter, whose names the state does not have; else the state is, and has them as
/// `WeightSet::beside`.
/// \param is_root  the folder is the source itself: saves right below it count without a `latest`
/// \param scan     what lies in the folder beside it; files of the state are taken out
/// \return nothing when there is no state
/// \error kInvalidArgument  "files" where there are none; as FindDeepSpeedSave
/// \error as FindDeepSpeedSave, FindDcpFolder
Result<std::optional<TrainingState>> FindTrainingState(const std::shared_ptr<SourceFiles>& source,
                                                       const std::string& folder,
                                                       std::span<const SourceEntry> entries, bool is_root,
                                                       FolderScan& scan, const ScanOptions& options);

}  // namespace weightfs
