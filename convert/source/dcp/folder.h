/// \file
/// Where the model of a checkpoint folder is: in the folder itself, or in a folder inside that trainers make
/// for it.
///
/// Follows docs/formats/dcp.md, "Folders".
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "convert/base/result.h"
#include "convert/source/dcp/reader.h"
#include "convert/source/source_files.h"

namespace weightfs {

/// The distributed checkpoint of a folder.
struct DcpFolder {
  std::string path;  ///< Relative to the root of the source.
  DcpForm form = DcpForm::kMetadata;
  std::vector<std::string> files;  ///< Of the checkpoint, relative to the root, sorted.
};

/// Looks in `folder`, then in the folders inside it that trainers keep a model in: `model_and_optim`,
/// `pytorch_model_fsdp_0`, and `sharded` where it holds shards. Nothing when neither has one, or when several
/// models lie side by side, which are then models of their own.
/// \param entries  what `source.List(folder)` gave
/// \error kIo  a folder inside cannot be listed
Result<std::optional<DcpFolder>> FindDcpFolder(SourceFiles& source, const std::string& folder,
                                               std::span<const SourceEntry> entries);

/// True for the names of such inner folders.
bool IsDcpModelFolderName(std::string_view name);

/// True for files that belong to a checkpoint, by name or path: metadata of ranks, payloads, shards.
bool IsDcpFile(std::string_view name);

}  // namespace weightfs
