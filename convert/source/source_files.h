/// \file
/// The files that belong to a source: which may be opened, listed and followed, and which were.
///
/// Rules (docs/semantics.md 1.6): nothing outside the source is opened. SOURCE itself may be a symbolic link.
/// Links inside may lead inside the source, into the blob store of a Hugging Face cache (`../../blobs` of a
/// `snapshots/REV` folder), or below an `--allow-links` folder. A bare file serves only itself.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "convert/base/limits.h"
#include "convert/base/result.h"
#include "convert/io/block_cache.h"
#include "convert/io/local_file.h"

namespace weightfs {

/// One entry of a source folder, links followed.
struct SourceEntry {
  std::string name;
  bool is_directory = false;
  uint64_t size_bytes = 0;
  int64_t mtime_nanoseconds = 0;
  std::string link_target;  ///< Resolved path of a link to a folder; else empty. For finding loops.
};

/// Opens files of one source root (or overlay). Not thread-safe while opening; what it returns is.
class SourceFiles : public std::enable_shared_from_this<SourceFiles> {
 public:
  struct Options {
    SourceIo source_io = SourceIo::kAuto;
    std::vector<std::string>
        allowed_link_dirs;  ///< `--allow-links`, absolute or relative to the working folder.
    /// Names of folders of the root that `List("")` leaves out: the training steps of a folder of steps.
    std::vector<std::string> skipped_folders;
    Limits limits;
    std::shared_ptr<BlockCache> cache;
  };

  /// \param path  SOURCE as the user wrote it: a file or a folder
  /// \error kNotFound     it does not exist
  /// \error kIo           it cannot be looked at
  /// \error kUnsupported  neither a file nor a folder
  static Result<std::shared_ptr<SourceFiles>> Create(const std::string& path, Options options);

  bool is_directory() const { return is_directory_; }
  /// SOURCE as the user wrote it, without slashes at its end.
  const std::string& name() const { return name_; }

  /// The absolute path of SOURCE with links resolved.
  const std::string& resolved_root() const { return root_; }

  /// The entries of a folder (relative to the root, "" for the root), sorted by name bytes; `.` and `..` left
  /// out. A link that leads nowhere, or where it may not, is an entry of `bad_links` (with why), not of the
  /// result.
  Result<std::vector<SourceEntry>> List(const std::string& folder);

  /// Opens a weight file and holds it open; an `.lz4` file (by content) is opened as what it holds.
  /// \param path  relative to the root; "" for a bare file
  /// \error kNotFound, kIo, kUnsupported (a link that leaves the source: the message names `--allow-links`)
  /// \param descriptors  kPerRead for one of very many files
  Result<FilePtr> OpenWeights(const std::string& path,
                              DescriptorPolicy descriptors = DescriptorPolicy::kHeld);

  /// Opens a file that is passed through; its descriptor is not held.
  Result<FilePtr> OpenPassThrough(const std::string& path);

  /// Whether `path` is a file that may be opened.
  bool HasFile(const std::string& path) const;

  /// Reads a whole small file (JSON).
  /// \error kLimitExceeded  larger than `bytes_max`
  Result<std::string> ReadSmall(const std::string& path, uint64_t bytes_max);

  /// Every file that was opened, for status and manifest.
  const std::vector<std::shared_ptr<const LocalFile>>& opened() const { return opened_; }
  /// Links that were not followed: relative path and why.
  const std::map<std::string, std::string>& bad_links() const { return bad_links_; }

 private:
  SourceFiles() = default;
  Result<std::shared_ptr<const LocalFile>> OpenLocal(const std::string& path, DescriptorPolicy descriptors);
  /// The resolved absolute path, checked against the link rules.
  Result<std::string> Resolve(const std::string& path) const;

  std::string name_;
  std::string root_;  ///< Absolute, resolved.
  std::vector<std::string> allowed_roots_;
  bool is_directory_ = false;
  Options options_;
  std::vector<std::shared_ptr<const LocalFile>> opened_;
  std::map<std::string, std::string> bad_links_;
};

/// What messages call `path`, which is relative to the root of `source`.
std::string ShownPath(const SourceFiles& source, const std::string& path);

}  // namespace weightfs
