#include "cli/staged_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <utility>

#include "cli/messages.h"

namespace weightfs::cli {
namespace {

namespace fs = std::filesystem;

/// True when `path` is the root of a mount: nothing can be renamed over it.
bool IsMountPoint(const std::string& path) {
  struct statx attributes = {};
  if (statx(AT_FDCWD, path.c_str(), 0, STATX_TYPE, &attributes) != 0) return false;
  return (attributes.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}

Status SyncFolder(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return FailIo(errno, path);
  const int result = fsync(fd);
  const int error = errno;
  close(fd);
  // Some file systems have nothing to sync for a folder.
  if (result != 0 && error != EINVAL && error != ENOTSUP) return FailIo(error, path);
  return {};
}

Status SyncFolders(const std::string& root) {
  std::error_code error;
  for (fs::recursive_directory_iterator it(root, error), end; !error && it != end; it.increment(error))
    if (it->is_directory(error) && !error) WEIGHTFS_CHECK(SyncFolder(it->path().string()));
  if (error) return FailIo(error.value(), root);
  return SyncFolder(root);
}

/// mkdtemp for `PARENT/PREFIX.XXXXXX`, with the permissions that mkdir would give.
Result<std::string> MakeTemporaryFolder(const std::string& parent, const std::string& prefix) {
  std::string path = fmt::format("{}/{}.XXXXXX", parent, prefix);
  if (mkdtemp(path.data()) == nullptr) return FailIo(errno, parent);
  const mode_t mask = umask(0);
  umask(mask);
  chmod(path.c_str(), 0777 & ~mask);
  return path;
}

/// 0 for what may come first, higher for what must come later.
int MoveRank(const std::string& name) {
  if (name == "config.json" || name == "model_index.json") return 2;
  return name.ends_with(".index.json") ? 1 : 0;
}

/// \error kInvalidArgument  `directory` is there and is no empty folder
Status CheckEmpty(const std::string& directory, const std::string& shown) {
  std::error_code error;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error))
    if (it->path().filename() != "lost+found")
      return UsageError(
          fmt::format("{}: the folder is not empty; expected DIR to be absent or empty", shown));
  if (error.value() == ENOTDIR)
    return UsageError(fmt::format("{}: not a folder; expected DIR to be absent or an empty folder", shown));
  if (error) return FailIo(error.value(), shown);
  return {};
}

}  // namespace

Result<StagedFolder> StagedFolder::Create(const std::string& directory) {
  std::error_code error;
  StagedFolder staged;
  fs::path path = fs::absolute(directory, error);
  if (error) return FailIo(error.value(), directory);
  while (!path.has_filename() && path.has_relative_path()) path = path.parent_path();
  const fs::file_status status = fs::symlink_status(path, error);
  const bool exists = status.type() != fs::file_type::not_found;
  if (exists) {
    path = fs::canonical(path, error);
    if (error)
      return UsageError(
          fmt::format("{}: {}; expected DIR to be absent or empty", directory, error.message()));
    WEIGHTFS_CHECK(CheckEmpty(path.string(), directory));
  } else {
    const fs::path parent = fs::canonical(path.parent_path(), error);
    if (error || !fs::is_directory(parent))
      return UsageError(fmt::format(
          "{}: the folder above it does not exist; expected only DIR itself to be absent", directory));
    path = parent / path.filename();
  }
  staged.directory_ = path.string();
  staged.inside_ = exists && (IsMountPoint(staged.directory_) || path == "/");
  if (!staged.inside_) {
    const Status beside = staged.MakeBeside();
    if (beside) return staged;
    if (!exists) return std::unexpected(beside.error());
    staged.inside_ = true;
  }
  WEIGHTFS_CHECK(staged.MakeInside());
  return staged;
}

Status StagedFolder::MakeBeside() {
  const fs::path path(directory_);
  WEIGHTFS_TRY(staging_, MakeTemporaryFolder(path.parent_path().string(),
                                             fmt::format(".{:.64}.weightfs", path.filename().string())));
  struct stat attributes = {};
  if (stat(directory_.c_str(), &attributes) == 0) {
    chmod(staging_.c_str(), attributes.st_mode & 07777);
    // Only root can give a folder away; DIR belongs to who runs this otherwise.
    if (chown(staging_.c_str(), attributes.st_uid, attributes.st_gid) != 0) return {};
  }
  return {};
}

Status StagedFolder::MakeInside() {
  WEIGHTFS_TRY(staging_, MakeTemporaryFolder(directory_, ".weightfs-partial"));
  return {};
}

StagedFolder::StagedFolder(StagedFolder&& other) noexcept
    : directory_(std::move(other.directory_)),
      staging_(std::exchange(other.staging_, {})),
      inside_(other.inside_),
      moved_(std::exchange(other.moved_, {})) {}

StagedFolder::~StagedFolder() {
  if (staging_.empty()) return;
  std::error_code ignored;
  for (const std::string& path : moved_) fs::remove_all(path, ignored);
  fs::remove_all(staging_, ignored);
}

Status StagedFolder::Commit() {
  WEIGHTFS_CHECK(SyncFolders(staging_));
  if (inside_) {
    WEIGHTFS_CHECK(MoveEntries());
  } else if (rename(staging_.c_str(), directory_.c_str()) != 0) {
    return FailIo(errno, fmt::format("{}: the finished folder cannot be put in place", directory_));
  }
  staging_.clear();
  return SyncFolder(inside_ ? directory_ : fs::path(directory_).parent_path().string());
}

Status StagedFolder::MoveEntries() {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(staging_, error), end; !error && it != end; it.increment(error))
    names.push_back(it->path().filename().string());
  if (error) return FailIo(error.value(), staging_);
  std::sort(names.begin(), names.end(), [](const std::string& a, const std::string& b) {
    return std::pair(MoveRank(a), a) < std::pair(MoveRank(b), b);
  });
  for (const std::string& name : names) {
    const std::string from = fmt::format("{}/{}", staging_, name);
    const std::string to = fmt::format("{}/{}", directory_, name);
    // Somebody may have written there meanwhile: never replace it.
    if (renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) != 0 &&
        (errno != EINVAL || rename(from.c_str(), to.c_str()) != 0))
      return FailIo(errno, to);
    moved_.push_back(to);
  }
  if (rmdir(staging_.c_str()) != 0) return FailIo(errno, staging_);
  return {};
}

}  // namespace weightfs::cli
