/// \file
/// The place of a source file: a held folder and a name in it. Internal to convert/io.
#pragma once

#include <sys/stat.h>

#include <memory>
#include <string>

#include "convert/base/result.h"
#include "convert/io/descriptor.h"

namespace weightfs {

/// A file's name relative to a descriptor of its folder, which files of one folder share: the file is found
/// there even after a parent folder moved, and never through a symbolic link. Immutable; thread-safe.
class SourceName {
 public:
  /// Resolves the symbolic links of `path` and opens its folder.
  /// \param name  the name for messages
  /// \error kIo  by errno; EMFILE names `ulimit -n`
  static Result<SourceName> Resolve(const std::string& path, const std::string& name);

  /// Opens the file for reading, without blocking on a FIFO. Invalid on failure, with errno set.
  /// \param flags  0 or O_DIRECT
  Descriptor Open(int flags = 0) const;
  /// The attributes of what the name names now; 0, or an errno.
  int Stat(struct stat* attributes) const;

  const std::string& resolved_path() const { return resolved_path_; }

 private:
  SourceName(std::shared_ptr<const Descriptor> folder, std::string resolved_path);

  std::shared_ptr<const Descriptor> folder_;
  std::string resolved_path_;
  std::string base_name_;
};

/// The failure to open `name`, by errno; EMFILE and ENFILE name the limit and the remedy.
std::unexpected<Error> OpenFailure(int error_number, const std::string& name);

}  // namespace weightfs
