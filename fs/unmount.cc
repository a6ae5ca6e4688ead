// Umount and ReadStatus: what is done to a mount from outside.
#include <cerrno>
#include <fstream>
#include <iterator>

#include "fs/mountpoint.h"
#include "fs/session.h"

namespace weightfs {
namespace {

/// The absolute path of `mountpoint` when weightfs is mounted there.
Result<std::string> WeightfsMountpoint(const std::string& mountpoint) {
  WEIGHTFS_TRY(std::string absolute, AbsoluteMountpoint(mountpoint));
  WEIGHTFS_TRY(std::string type, MountTypeAt(absolute));
  if (type == kMountType) return absolute;
  const std::string found = type.empty() ? "is not a mountpoint" : "is a mount of type " + type;
  return Fail(ErrorCode::kIo, mountpoint + ": " + found + "; expected a mount of weightfs");
}

}  // namespace

Status Umount(const std::string& mountpoint) {
  WEIGHTFS_TRY(std::string absolute, WeightfsMountpoint(mountpoint));
  // A dead mount has nothing left to wait for, whoever still stands in it.
  Status unmounted = UnmountPath(absolute, /*lazily=*/IsDeadMount(absolute));
  if (!unmounted && unmounted.error().error_number == EBUSY) {
    Error error = unmounted.error();
    error.message = mountpoint + ": is busy: programs have files or folders below it open";
    error.remedy = "end them (fuser -vm " + mountpoint + " lists them), then unmount again";
    return std::unexpected(std::move(error));
  }
  return unmounted;
}

Result<std::string> ReadStatus(const std::string& mountpoint) {
  WEIGHTFS_TRY(std::string absolute, WeightfsMountpoint(mountpoint));
  if (IsDeadMount(absolute)) {
    return Fail(ErrorCode::kIo, mountpoint + ": the process that served this mount has died",
                "clear it: weightfs umount " + mountpoint);
  }
  std::ifstream file(absolute + "/.weightfs/status.json");
  std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (text.empty()) return FailIo(EIO, mountpoint + "/.weightfs/status.json");
  return text;
}

}  // namespace weightfs
