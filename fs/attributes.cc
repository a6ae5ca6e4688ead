#include "fs/attributes.h"

#include <algorithm>

namespace weightfs {
namespace {

constexpr int64_t kNanosecondsPerSecond = 1'000'000'000;
constexpr uint64_t kStatBlockBytes = 512;  // The unit of st_blocks, whatever the block size.

timespec ToTimespec(int64_t nanoseconds) {
  int64_t seconds = nanoseconds / kNanosecondsPerSecond;
  int64_t rest = nanoseconds % kNanosecondsPerSecond;
  if (rest < 0) {
    rest += kNanosecondsPerSecond;
    --seconds;
  }
  return {.tv_sec = seconds, .tv_nsec = rest};
}

nlink_t FolderLinkCount(const VirtualTree& tree, const VirtualNode& folder) {
  auto is_listed_folder = [&](NodeId child) {
    return tree.node(child).is_directory && !tree.node(child).hidden;
  };
  return 2 + static_cast<nlink_t>(std::ranges::count_if(folder.children, is_listed_folder));
}

}  // namespace

struct stat AttributesOf(const VirtualTree& tree, NodeId id, const Owner& owner) {
  const VirtualNode& node = tree.node(id);
  struct stat attributes = {};
  attributes.st_uid = owner.user;
  attributes.st_gid = owner.group;
  if (node.is_directory) {
    attributes.st_mode = S_IFDIR | 0555;
    attributes.st_nlink = FolderLinkCount(tree, node);
  } else {
    attributes.st_mode = S_IFREG | 0444;
    attributes.st_nlink = 1;
    attributes.st_size = static_cast<off_t>(node.size_bytes);
    attributes.st_blocks = static_cast<blkcnt_t>((node.size_bytes + kStatBlockBytes - 1) / kStatBlockBytes);
  }
  attributes.st_mtim = attributes.st_ctim = attributes.st_atim = ToTimespec(node.mtime_nanoseconds);
  return attributes;
}

}  // namespace weightfs
