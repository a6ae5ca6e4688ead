/// \file
/// The files of one DeepSpeed save, and where they lie.
///
/// Follows docs/formats/deepspeed.md, "Folders".
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "convert/base/result.h"
#include "convert/source/deepspeed/file_name.h"
#include "convert/source/source_files.h"

namespace weightfs {

/// One file of a save.
struct DeepSpeedFile {
  std::shared_ptr<SourceFiles> root;  ///< Opens it; never null.
  std::string path;                   ///< Relative to `root`.
  std::string shown;                  ///< As provenance: relative to the source, or below an `--also` folder.
  /// A file of very many is opened anew for each read, so that descriptors last.
  bool is_one_of_many = false;
};

/// Opens `file`.
/// \error as SourceFiles::OpenWeights
Result<FilePtr> OpenDeepSpeedFile(const DeepSpeedFile& file);

/// One save: the files of a tag folder, and of those of other nodes. A value.
struct DeepSpeedSave {
  std::string folder;  ///< The tag folder, relative to the source; "" for the source itself.
  std::string shown;   ///< The same as messages call it: SOURCE/TAG.
  std::map<DeepSpeedFileName, DeepSpeedFile> files;
  bool is_universal = false;  ///< What `ds_to_universal` made: one folder for each parameter in `zero/`.
  std::vector<std::string> other_tags;  ///< Saves beside this one.
};

/// True when the files of a folder are those of a save: rank files, or a universal checkpoint.
bool IsDeepSpeedTagFolder(std::span<const SourceEntry> entries);

/// True when `entries` are those of a folder above saves: `latest` or `latest_universal` beside folders, or
/// `zero_to_fp32.py`.
bool IsDeepSpeedRoot(std::span<const SourceEntry> entries);

/// Finds the save in `folder`: the folder itself, the one that `latest` names, or the only one below it.
/// \param folder  relative to the root of `source`, "" for the root
/// \param tag     `--tag`; empty: as above
/// \return nothing when neither the folder nor one right below it is a save
/// \error kAmbiguous        several saves and no `latest`: lists them
/// \error kInvalidArgument  no save of that tag: lists those that are there
/// \error kNotFound         `latest` names a folder that is not there, or is no save
/// \error kCorrupt          a `latest` that is no name of a folder; two files of one rank
/// \error as SourceFiles::List
Result<std::optional<DeepSpeedSave>> FindDeepSpeedSave(const std::shared_ptr<SourceFiles>& source,
                                                       const std::string& folder, std::string_view tag);

/// Adds the files of the same save from another node's folder: a tag folder, or one above it that has the
/// tag. A file that is there already must be the same.
/// \param also  the folder of `--also`
/// \error kInvalidArgument  no files of a save are in it
/// \error kCorrupt          a file of the same name with other content: names both
Status AddDeepSpeedFolder(const std::shared_ptr<SourceFiles>& also, DeepSpeedSave& save);

}  // namespace weightfs
