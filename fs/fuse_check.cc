// CheckFuse: what a machine lacks for mounting, each lack by the name of the file that shows it.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>

#include "fs/session.h"

namespace weightfs {
namespace {

constexpr const char* kFuseDevice = "/dev/fuse";
constexpr const char* kContainerRemedy =
    "load the module (modprobe fuse); in a container start with --device /dev/fuse --cap-add SYS_ADMIN; "
    "or write the files out with weightfs export";

constexpr const char* kPermissionRemedy =
    "as root: chmod 666 /dev/fuse; or write the files out with weightfs export";

// The numbers of the device node, the same on every Linux.
constexpr unsigned kFuseMajor = 10;
constexpr unsigned kFuseMinor = 229;

bool IsFuseDevice(int descriptor) {
  struct stat attributes;
  return fstat(descriptor, &attributes) == 0 && S_ISCHR(attributes.st_mode) &&
         attributes.st_rdev == makedev(kFuseMajor, kFuseMinor);
}

bool FindProgram(std::string_view name) {
  const char* variable = std::getenv("PATH");
  std::string_view folders = variable != nullptr ? variable : "/usr/bin:/bin";
  while (!folders.empty()) {
    const size_t end = std::min(folders.find(':'), folders.size());
    const std::string path = std::string(folders.substr(0, end)) + "/" + std::string(name);
    if (access(path.c_str(), X_OK) == 0) return true;
    folders.remove_prefix(std::min(end + 1, folders.size()));
  }
  return access(("/usr/bin/" + std::string(name)).c_str(), X_OK) == 0;
}

}  // namespace

Status CheckFuse() {
  const int device = open(kFuseDevice, O_RDWR | O_CLOEXEC);
  if (device < 0) {
    Error error = FailIo(errno, kFuseDevice).error();
    const bool is_closed_to_user = error.error_number == EACCES && geteuid() != 0;
    error.remedy = is_closed_to_user ? kPermissionRemedy : kContainerRemedy;
    return std::unexpected(std::move(error));
  }
  const bool is_fuse = IsFuseDevice(device);
  close(device);
  if (!is_fuse)
    return Fail(ErrorCode::kIo,
                std::string(kFuseDevice) + ": not the FUSE device; expected character device 10:229",
                kContainerRemedy);
  if (geteuid() == 0 || FindProgram("fusermount3")) return {};
  return Fail(ErrorCode::kIo, "fusermount3: not found; a user without root needs it to mount",
              "install it: apt install fuse3");
}

}  // namespace weightfs
