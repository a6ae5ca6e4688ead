/// \file
/// Mounting: an opened source becomes a mounted directory, in this process or in one of its own.
///
/// Which function for what:
///
/// | command             | function                                                                        |
/// |---------------------|---------------------------------------------------------------------------------|
/// | `mount`             | `MountProcess::Start(..., Lifetime::kDetached)`, then exit                      |
/// | `mount -f`          | `MountAndServe`                                                                 |
/// | `run`               | `MountProcess::Start(..., Lifetime::kWithParent)`, run CMD, `Stop()`            |
/// | `umount`, `status`  | `Umount`, `ReadStatus`                                                          |
/// | `doctor`            | `CheckFuse`, `ReadAheadCanBeSet`                                                |
///
/// `CheckMountpoint` is cheap: call it before a source is opened, so that a wrong mountpoint is told at once.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <string>

#include "convert/convert.h"

namespace weightfs {

/// What a mount needs to know beyond the source.
struct MountOptions {
  std::string mountpoint;          ///< As the user wrote it; need not be absolute.
  std::string source_io = "auto";  ///< The word of `--source-io`, for status.json.
  /// `--threads`: reads that one group of files (virtual_file.h, `wait_group`) may have running at once.
  /// 0: twice the processors, at least 4 and at most 16.
  uint32_t threads = 0;
  uint64_t readahead_bytes = 4_MiB;  ///< `--readahead`: the kernel's window per open file.
  bool direct_io = false;            ///< `--direct-io`: replies are not cached by the kernel.
  bool allow_other = false;          ///< Every local user may look, not only the mounting one.
  /// Takes each line that the user should see and that is no error (a hint). Called before the mount is
  /// ready, from one thread at a time; in `MountProcess::Start` it is called in the calling process. May be
  /// empty.
  std::function<void(const std::string& line)> notice;
};

/// Fails when `mountpoint` cannot be mounted on: missing, not a folder, not empty, busy, or a dead mount.
/// \error kInvalidArgument  one of these; the remedy for a dead mount is `weightfs umount MOUNTPOINT`
Status CheckMountpoint(const std::string& mountpoint);

/// Fails when this process could not mount: no /dev/fuse, no permission for it, no fusermount3.
/// \error kIo  names the file that is missing or closed; the remedy is what to install or allow
Status CheckFuse();

/// True when this process may raise the kernel's read-ahead of a mount (`/sys/class/bdi`).
bool ReadAheadCanBeSet();

/// Mounts `source` and serves it until it is unmounted or SIGTERM, SIGINT or SIGHUP arrives, which unmount
/// it. Needs a process that has started no other threads. `on_ready` is called once, from another thread,
/// when the mount answers. Blocks the signals above in this thread and does not restore them.
/// \error kInvalidArgument  as CheckMountpoint, or an option out of range
/// \error kIo               as CheckFuse, or the kernel refused the mount
Status MountAndServe(OpenedSource source, const MountOptions& options, const std::function<void()>& on_ready);

/// A process that serves one mount. Movable; the destructor leaves the process alone.
class MountProcess {
 public:
  enum class Lifetime : uint8_t {
    kDetached,    ///< A daemon: its own session, `/` as working folder, no terminal.
    kWithParent,  ///< A child in a process group of its own (Ctrl-C does not reach it) that ends with its
                  ///< parent.
  };

  /// Forks, mounts and serves in the child, and returns when the mount answers. Needs a process that has
  /// started no other threads; the caller's copy of `source` is released.
  /// \error as MountAndServe
  static Result<MountProcess> Start(OpenedSource source, const MountOptions& options, Lifetime lifetime);

  pid_t pid() const { return pid_; }
  /// The mountpoint, absolute, links resolved.
  const std::string& mountpoint() const { return mountpoint_; }

  /// Unmounts and waits for the process to end. For `kWithParent` only.
  /// \error kIo  the process ended with an error, or could not be waited for
  Status Stop();

 private:
  pid_t pid_ = -1;
  std::string mountpoint_;
};

/// Unmounts a weightfs mount, also one whose process has died.
/// \error kIo  not a mountpoint, a mount of another kind, busy, or not permitted
Status Umount(const std::string& mountpoint);

/// The content of `.weightfs/status.json` of a live mount.
/// \error kIo  not a weightfs mount, or its process has died
Result<std::string> ReadStatus(const std::string& mountpoint);

}  // namespace weightfs
