#include "convert/io/direct_io.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/vfs.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <optional>

#include "convert/io/random_access_file.h"

namespace weightfs {
namespace {

std::optional<struct statfs> FileSystemOf(int fd) {
  struct statfs attributes{};
  int rc = 0;
  do rc = fstatfs(fd, &attributes);
  while (rc != 0 && errno == EINTR);
  if (rc != 0) return std::nullopt;
  return attributes;
}

/// What the kernel says: an obstacle, "" for none, or nothing when it does not say.
std::optional<std::string> ObstacleByStatx(int fd) {
  struct statx attributes{};
  if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &attributes) != 0) return std::nullopt;
  if ((attributes.stx_mask & STATX_DIOALIGN) == 0) return std::nullopt;
  const uint64_t memory = attributes.stx_dio_mem_align;
  const uint64_t offset = attributes.stx_dio_offset_align;
  if (memory == 0 || offset == 0) return "the file system has no direct I/O on this file";
  if (kReadAlignmentBytes % memory != 0 || kReadAlignmentBytes % offset != 0)
    return fmt::format("direct I/O on this file needs an alignment of {} bytes", std::max(memory, offset));
  return "";
}

std::string ObstacleByFileSystem(int fd) {
  const std::optional<struct statfs> attributes = FileSystemOf(fd);
  if (!attributes) return "the file system is not known";
  switch (attributes->f_type) {
    case EXT4_SUPER_MAGIC:
    case BTRFS_SUPER_MAGIC:
    case F2FS_SUPER_MAGIC:
    case XFS_SUPER_MAGIC:
      return "";
    default:
      return fmt::format("the file system (type {:#x}) does not report direct I/O",
                         static_cast<unsigned long>(attributes->f_type));
  }
}

bool ProbeReadWorks(int fd) {
  alignas(kReadAlignmentBytes) std::array<std::byte, kReadAlignmentBytes> block;
  ssize_t got = 0;
  do got = pread(fd, block.data(), block.size(), 0);
  while (got < 0 && errno == EINTR);
  return got >= 0;
}

}  // namespace

bool LivesInPageCache(int fd) {
  const std::optional<struct statfs> attributes = FileSystemOf(fd);
  if (!attributes) return false;
  const auto type = attributes->f_type;
  return type == TMPFS_MAGIC || type == RAMFS_MAGIC || type == HUGETLBFS_MAGIC;
}

Result<DirectDescriptor> OpenDirect(int fd, const SourceName& source, const struct stat& attributes) {
  const std::optional<std::string> said = ObstacleByStatx(fd);
  const std::string obstacle = said ? *said : ObstacleByFileSystem(fd);
  if (!obstacle.empty()) return DirectDescriptor{{}, obstacle};
  Descriptor direct = source.Open(O_DIRECT);
  if (!direct.valid()) {
    if (errno == EMFILE || errno == ENFILE)
      return FailIo(errno, "cannot be opened a second time, for direct I/O");
    return DirectDescriptor{{}, "it cannot be opened with O_DIRECT"};
  }
  struct stat opened{};
  if (fstat(direct.get(), &opened) != 0 || opened.st_dev != attributes.st_dev ||
      opened.st_ino != attributes.st_ino)
    return DirectDescriptor{{}, "it was replaced while it was opened"};
  if (!said && !ProbeReadWorks(direct.get())) return DirectDescriptor{{}, "a direct read of it failed"};
  return DirectDescriptor{std::move(direct), {}};
}

}  // namespace weightfs
