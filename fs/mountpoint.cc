#include "fs/mountpoint.h"

#include <dirent.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>

#include "fs/session.h"

extern char** environ;

namespace weightfs {
namespace {

constexpr const char* kMountInfoPath = "/proc/self/mountinfo";

/// Undoes the octal escapes (`\040`) that the kernel writes for blanks and backslashes.
std::string Unescape(std::string_view text) {
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    auto digit = [&](size_t k) { return i + k < text.size() && text[i + k] >= '0' && text[i + k] <= '7'; };
    if (text[i] == '\\' && digit(1) && digit(2) && digit(3)) {
      plain += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
      i += 3;
    } else {
      plain += text[i];
    }
  }
  return plain;
}

std::vector<std::string_view> SplitBlanks(std::string_view line) {
  std::vector<std::string_view> words;
  while (!line.empty()) {
    const size_t end = std::min(line.find(' '), line.size());
    if (end > 0) words.push_back(line.substr(0, end));
    line.remove_prefix(std::min(end + 1, line.size()));
  }
  return words;
}

Status CheckEmptyFolder(const std::string& path) {
  std::unique_ptr<DIR, int (*)(DIR*)> folder(opendir(path.c_str()), closedir);
  if (folder == nullptr) return Fail(ErrorCode::kInvalidArgument, FailIo(errno, path).error().message);
  while (const dirent* entry = readdir(folder.get())) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") {
      return Fail(ErrorCode::kInvalidArgument, path + ": is not empty; expected an empty folder");
    }
  }
  return {};
}

}  // namespace

Result<std::string> AbsoluteMountpoint(const std::string& path) {
  auto resolve = [](const std::string& p) {
    std::unique_ptr<char, void (*)(void*)> resolved(realpath(p.c_str(), nullptr), std::free);
    return resolved ? std::string(resolved.get()) : std::string();
  };
  if (std::string resolved = resolve(path); !resolved.empty()) return resolved;
  // The last part of a dead mount cannot be looked at, its parent can.
  std::error_code error;
  const std::filesystem::path absolute = std::filesystem::absolute(path, error);
  if (error) return FailIo(error.value(), path);
  std::filesystem::path normal = absolute.lexically_normal();
  if (!normal.has_filename()) normal = normal.parent_path();
  const std::string parent = resolve(normal.parent_path().string());
  if (parent.empty()) return FailIo(errno, path);
  return (std::filesystem::path(parent) / normal.filename()).string();
}

std::vector<MountEntry> ParseMountInfo(std::string_view text) {
  std::vector<MountEntry> entries;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::vector<std::string_view> words = SplitBlanks(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    // ID PARENT MAJ:MIN ROOT MOUNTPOINT OPTIONS [OPTIONAL...] - TYPE SOURCE SUPER_OPTIONS
    constexpr size_t kMountpointWord = 4;
    constexpr size_t kFirstOptionalWord = 6;
    for (size_t i = kFirstOptionalWord; i + 1 < words.size(); ++i) {
      if (words[i] != "-") continue;
      entries.push_back({Unescape(words[kMountpointWord]), Unescape(words[i + 1])});
      break;
    }
  }
  return entries;
}

Result<std::string> MountTypeAt(const std::string& absolute_path) {
  std::ifstream file(kMountInfoPath);
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (text.empty()) return FailIo(ENOENT, kMountInfoPath);
  std::string type;
  for (const MountEntry& entry : ParseMountInfo(text))
    if (entry.mountpoint == absolute_path) type = entry.type;  // Later lines lie on top.
  return type;
}

bool IsDeadMount(const std::string& path) {
  // The kernel keeps attributes for ever, also when nobody serves them any more; statfs is asked for each time.
  struct statfs statistics;
  return statfs(path.c_str(), &statistics) != 0 && (errno == ENOTCONN || errno == ECONNABORTED);
}

Status CheckMountpoint(const std::string& mountpoint) {
  auto refuse = [&](std::string what, std::string remedy = {}) {
    return Fail(ErrorCode::kInvalidArgument, mountpoint + ": " + std::move(what), std::move(remedy));
  };
  if (IsDeadMount(mountpoint)) {
    return refuse("holds a mount whose process has died; expected an empty folder",
                  "clear it: weightfs umount " + mountpoint);
  }
  struct stat attributes;
  if (stat(mountpoint.c_str(), &attributes) != 0) {
    if (errno == ENOENT) {
      return refuse("does not exist; expected an empty folder", "make it: mkdir -p " + mountpoint);
    }
    return Fail(ErrorCode::kInvalidArgument, FailIo(errno, mountpoint).error().message);
  }
  if (!S_ISDIR(attributes.st_mode)) return refuse("is not a folder; expected an empty folder");
  WEIGHTFS_TRY(std::string absolute, AbsoluteMountpoint(mountpoint));
  WEIGHTFS_TRY(std::string type, MountTypeAt(absolute));
  if (type == kMountType) {
    return refuse("is busy: weightfs is mounted there already",
                  "unmount it first: weightfs umount " + mountpoint);
  }
  if (access(mountpoint.c_str(), W_OK) != 0 && errno == EACCES) {
    return refuse("is not writable; expected a folder that the mounting user may write");
  }
  return CheckEmptyFolder(mountpoint);
}

Status UnmountWithHelper(const std::string& absolute_path, bool lazily) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return FailIo(errno, "pipe");
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO);
  std::vector<const char*> arguments = {"fusermount3", "-u"};
  if (lazily) arguments.push_back("-z");
  arguments.insert(arguments.end(), {"--", absolute_path.c_str(), nullptr});
  pid_t pid = 0;
  const int spawned = posix_spawnp(&pid, "fusermount3", &actions, nullptr,
                                   const_cast<char* const*>(arguments.data()), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  std::string said;
  std::array<char, 512> part;
  for (ssize_t n; spawned == 0 && (n = read(ends[0], part.data(), part.size())) > 0;)
    said.append(part.data(), n);
  close(ends[0]);
  if (spawned != 0) {
    return Fail(ErrorCode::kIo, FailIo(spawned, "fusermount3").error().message,
                "install it: apt install fuse3");
  }
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  while (said.ends_with('\n')) said.pop_back();
  if (said.find("busy") != std::string::npos) return FailIo(EBUSY, absolute_path);
  return Fail(ErrorCode::kIo, said.empty() ? absolute_path + ": fusermount3 could not unmount it" : said);
}

Status UnmountPath(const std::string& absolute_path, bool lazily) {
  if (umount2(absolute_path.c_str(), UMOUNT_NOFOLLOW | (lazily ? MNT_DETACH : 0)) == 0) return {};
  if (errno == EPERM && geteuid() != 0) return UnmountWithHelper(absolute_path, lazily);
  return FailIo(errno, absolute_path);
}

}  // namespace weightfs
