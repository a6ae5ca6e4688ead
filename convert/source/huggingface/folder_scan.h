/// \file
/// One folder of a repository: its weight sets and its other files.
///
/// Follows docs/formats/huggingface.md, "Which form is served".
#pragma once

#include <span>
#include <string>
#include <vector>

#include "convert/base/limits.h"
#include "convert/base/result.h"
#include "convert/source/huggingface/repository.h"
#include "convert/source/source_files.h"

namespace weightfs {

/// What one folder holds, subfolders aside. Paths are relative to the root of the source.
struct FolderScan {
  std::vector<WeightSet> weights;
  std::vector<PassThrough> files;
  std::vector<HiddenFile> hidden;
  std::vector<UnservedModel> failed;  ///< Weight sets that cannot be served: a bad index, a missing shard.
  std::vector<std::string> warnings;
};

/// Sorts the files of one folder. Indexes are read, nothing else is opened.
/// \param entries  what `source.List(folder)` gave
/// \error kIo, kLimitExceeded  reading an index
Result<FolderScan> ScanFolder(const std::string& folder, std::span<const SourceEntry> entries,
                              SourceFiles& source, const Limits& limits);

}  // namespace weightfs
