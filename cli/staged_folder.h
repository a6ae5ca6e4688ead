/// \file
/// A folder that appears whole or not at all.
#pragma once

#include <string>
#include <vector>

#include "convert/base/result.h"

namespace weightfs::cli {

/// A temporary folder to fill, put in the place of DIR at the end. Movable. Until `Commit` succeeds,
/// destruction removes everything that was written.
///
/// The temporary folder lies beside DIR and is renamed to it, which is atomic. Where that cannot be (DIR is a
/// mount point, or the folder above it is not writable) it lies in DIR as a dot-folder, and its entries are
/// moved one by one, those that make a model loadable (`config.json`, indexes) last.
class StagedFolder {
 public:
  /// \param directory  absent or empty (a file system's `lost+found` aside)
  /// \error kInvalidArgument  it is neither, or the folder above it is missing
  /// \error kIo               no temporary folder can be made, beside it or in it
  static Result<StagedFolder> Create(const std::string& directory);

  StagedFolder(StagedFolder&& other) noexcept;
  StagedFolder& operator=(StagedFolder&&) = delete;
  ~StagedFolder();

  /// Where to write, absolute. On the file system that DIR will be on.
  const std::string& path() const { return staging_; }

  /// Makes the entries of `path()` those of DIR. The files in it are already on disk (fsync); folders are
  /// made so here.
  /// \error kIo  what failed; nothing is left behind then
  Status Commit();

 private:
  StagedFolder() = default;
  Status MakeBeside();
  Status MakeInside();
  Status MoveEntries();

  std::string directory_;  ///< DIR, absolute, links resolved.
  std::string staging_;    ///< Empty once committed or moved from.
  bool inside_ = false;
  std::vector<std::string> moved_;  ///< Absolute paths of entries that are already in place.
};

}  // namespace weightfs::cli
