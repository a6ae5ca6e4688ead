/// \file
/// DeepSpeed saves in a folder tree: which folders are saves, and whether they or files beside them are the
/// weights.
///
/// Follows docs/formats/deepspeed.md, "Folders".
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "convert/base/result.h"
#include "convert/source/deepspeed/save.h"
#include "convert/source/huggingface/folder_scan.h"
#include "convert/source/huggingface/repository.h"

namespace weightfs {

/// What a folder has of DeepSpeed.
struct FoundSave {
  std::optional<WeightSet> set;              ///< The weights are those of the save.
  std::vector<std::string> skipped_folders;  ///< Names of folders right below that belong to saves.
  std::vector<HiddenFile> hidden;
  std::vector<std::string> warnings;
  bool has_tags = false;  ///< The folder is above its saves, so that `--tag` chooses.
};

/// Looks for a save in `folder`. Files beside it are the weights when `weights` is "files", and when they are
/// an adapter, whose names the masters do not have; else the save is, and has them as `WeightSet::beside`.
/// \param is_root  the folder is the source itself: saves right below it count without a `latest`
/// \param scan     what lies in the folder beside it
/// \return nothing when there is no save
/// \error kInvalidArgument  "files" where there are none; as FindDeepSpeedSave
/// \error as FindDeepSpeedSave
Result<std::optional<FoundSave>> FindSaveInFolder(const std::shared_ptr<SourceFiles>& source,
                                                  const std::string& folder,
                                                  std::span<const SourceEntry> entries, bool is_root,
                                                  const FolderScan& scan, const ScanOptions& options);

}  // namespace weightfs
