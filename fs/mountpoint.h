/// \file
/// Mountpoints: the path behind what a user wrote, and what is mounted there.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "convert/base/result.h"

namespace weightfs {

/// The type that the kernel shows for our mounts.
inline constexpr std::string_view kMountType = "fuse.weightfs";

/// The absolute path of `path` with links resolved; works for a mountpoint whose process has died, too.
/// \error kIo  its parent does not exist or cannot be looked at
Result<std::string> AbsoluteMountpoint(const std::string& path);

/// One line of /proc/self/mountinfo.
struct MountEntry {
  std::string mountpoint;
  std::string type;
};

/// Reads the text of a mountinfo file. Lines that are not well-formed are left out.
std::vector<MountEntry> ParseMountInfo(std::string_view text);

/// The type of the topmost mount at `absolute_path`, empty when nothing is mounted there.
/// \error kIo  /proc cannot be read
Result<std::string> MountTypeAt(const std::string& absolute_path);

/// True when the process that served the mount at `path` has died.
bool IsDeadMount(const std::string& path);

/// Runs fusermount3 to unmount `absolute_path`, for users without root.
/// \param lazily  detach at once, even while files are open
/// \error kIo  with what fusermount3 said
Status UnmountWithHelper(const std::string& absolute_path, bool lazily);

/// Unmounts `absolute_path` as this user may.
/// \error kIo  EBUSY and the rest
Status UnmountPath(const std::string& absolute_path, bool lazily);

}  // namespace weightfs
