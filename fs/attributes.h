/// \file
/// What `stat` shows of a node.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include "convert/virtual_tree.h"

namespace weightfs {

/// Who owns every node: the user that mounts.
struct Owner {
  uid_t user = 0;
  gid_t group = 0;
};

/// How long the kernel may keep what never changes, in seconds. Large, and far from overflow in any unit.
inline constexpr double kForeverSeconds = 1e9;

/// The attributes of `node`: read-only, sized as the tree says, and the same for the life of the mount. The
/// inode number is left 0 (inode_table.h).
struct stat AttributesOf(const VirtualTree& tree, NodeId node, const Owner& owner);

}  // namespace weightfs
