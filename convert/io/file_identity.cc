#include "convert/io/file_identity.h"

#include <fmt/format.h>

namespace weightfs {
namespace {

int64_t Nanoseconds(const timespec& time) {
  // A file system may hold any seconds at all: wrap around rather than overflow, equality is all that is
  // asked.
  return static_cast<int64_t>(static_cast<uint64_t>(time.tv_sec) * 1'000'000'000u +
                              static_cast<uint64_t>(time.tv_nsec));
}

/// An inode number may be given again, to something that is no regular file even.
bool IsSameInode(const FileIdentity& was, const FileIdentity& now) {
  return was.device == now.device && was.inode == now.inode && (was.mode & S_IFMT) == (now.mode & S_IFMT);
}

bool ChangeOfAttributesExplainsCtime(const FileIdentity& was, const FileIdentity& now) {
  return was.link_count != now.link_count || was.mode != now.mode || was.owner != now.owner ||
         was.group != now.group;
}

}  // namespace

FileIdentity IdentityOf(const struct stat& attributes) {
  return {.device = attributes.st_dev,
          .inode = attributes.st_ino,
          .size_bytes = static_cast<uint64_t>(attributes.st_size),
          .mtime_nanoseconds = Nanoseconds(attributes.st_mtim),
          .ctime_nanoseconds = Nanoseconds(attributes.st_ctim),
          .link_count = attributes.st_nlink,
          .mode = attributes.st_mode,
          .owner = attributes.st_uid,
          .group = attributes.st_gid};
}

bool IsSameContent(const FileIdentity& was, const FileIdentity& now) {
  if (!IsSameInode(was, now) || was.size_bytes != now.size_bytes ||
      was.mtime_nanoseconds != now.mtime_nanoseconds)
    return false;
  return was.ctime_nanoseconds == now.ctime_nanoseconds || ChangeOfAttributesExplainsCtime(was, now);
}

std::string DescribeChange(const FileIdentity& was, const FileIdentity& now) {
  if (!IsSameInode(was, now)) return "another file has its name";
  if (was.size_bytes != now.size_bytes) return fmt::format("size {} to {}", was.size_bytes, now.size_bytes);
  if (was.mtime_nanoseconds != now.mtime_nanoseconds) return "written to: its mtime moved";
  return "its ctime moved, which neither links nor mode nor owner explain";
}

}  // namespace weightfs
