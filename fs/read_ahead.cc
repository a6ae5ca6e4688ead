#include "fs/read_ahead.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "fs/session.h"

namespace weightfs {
namespace {

constexpr const char* kBdiFolder = "/sys/class/bdi";

}  // namespace

Status SetReadAhead(const std::string& absolute_mountpoint, uint64_t bytes) {
  struct stat attributes;
  if (stat(absolute_mountpoint.c_str(), &attributes) != 0) return FailIo(errno, absolute_mountpoint);
  const std::string path = std::string(kBdiFolder) + "/" + std::to_string(major(attributes.st_dev)) + ":" +
                           std::to_string(minor(attributes.st_dev)) + "/read_ahead_kb";
  const std::string text = std::to_string(bytes / 1_KiB);
  const int file = open(path.c_str(), O_WRONLY | O_CLOEXEC);
  const bool written =
      file >= 0 && write(file, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  const int error_number = errno;
  if (file >= 0) close(file);
  if (written) return {};
  Error error = FailIo(error_number, path).error();
  error.remedy = "as root: echo " + text + " > " + path;
  return std::unexpected(std::move(error));
}

bool ReadAheadCanBeSet() {
  std::error_code error;
  for (const auto& device : std::filesystem::directory_iterator(kBdiFolder, error))
    return access((device.path() / "read_ahead_kb").c_str(), W_OK) == 0;
  return false;
}

}  // namespace weightfs
