/// \file
/// Folders of checkpoint formats that this version does not read, recognised by the names of files in them.
///
/// Follows docs/formats/huggingface.md, "Other checkpoints".
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "convert/source/source_files.h"

namespace weightfs {

/// A sign of another format in a folder.
struct ForeignSign {
  std::string_view format;  ///< "a DeepSpeed checkpoint"; a literal.
  std::string entry;        ///< The entry that told.
  /// The folder is nothing but such a checkpoint. Otherwise the sign is a file that repositories keep beside
  /// others.
  bool is_folder_format = false;
};

/// The first sign among the files of one folder, folder formats first. Thread-safe.
std::optional<ForeignSign> FindForeignSign(std::span<const SourceEntry> entries);

}  // namespace weightfs
