/// \file
/// Inodes and the nodes that they stand for, with what the read path must know of each file.
///
/// One tree is there from the start. For a folder of training steps more trees are added while it is served,
/// each shown as a folder of the root; nothing is ever removed, so an inode number stands for one node for
/// the life of the mount.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "convert/virtual_tree.h"
#include "fs/attributes.h"

namespace weightfs {

/// What a file holds, for the counters in status.json.
enum class FileClass : uint8_t { kWeights, kTensorArrays, kOther };
inline constexpr size_t kFileClassCount = 3;

/// Index of a group of files whose reads may wait for each other (virtual_file.h, `wait_group`).
using WaitGroup = uint32_t;
/// Sources beyond this many share groups, so that groups, and the threads that they may need, are bounded.
inline constexpr WaitGroup kWaitGroupsMax = 512;
/// Reads that never wait: bytes in memory.
inline constexpr WaitGroup kNeverWaits = UINT32_MAX;

struct ServedTree;

/// What reading one file takes. Its address is the same for the life of the mount.
struct ServedFile {
  const VirtualFile* file = nullptr;
  const ServedTree* tree = nullptr;
  NodeId node = kNoNode;
  WaitGroup wait_group = kNeverWaits;
  FileClass file_class = FileClass::kOther;
};

/// One tree. Immutable.
struct ServedTree {
  const VirtualTree* tree = nullptr;
  std::string name;  ///< Of the folder that it is in the root; empty for the first tree.
  uint64_t index = 0;
  std::vector<ServedFile> files;  ///< By NodeId; those of folders are empty.
};

/// The path of `file` below the mountpoint.
std::string PathOf(const ServedFile& file);

/// A node of one of the trees. A value; valid for the life of the mount.
struct NodeRef {
  const ServedTree* tree = nullptr;
  NodeId id = kNoNode;

  const VirtualNode& node() const { return tree->tree->node(id); }
  const ServedFile& file() const { return tree->files[id]; }
  bool is_root() const { return tree->index == 0 && id == kRootNode; }
};

/// Thread-safe. Does not own the trees, which must outlive it. The lock is held for moments only, and not
/// needed to read.
class InodeTable {
 public:
  InodeTable(const VirtualTree& tree, Owner owner);

  /// Shows `tree` as folder `name` of the root from now on. `name` must be new.
  void AddTree(const VirtualTree& tree, std::string name);

  static uint64_t InodeOf(NodeRef node) { return (node.tree->index << kTreeShift) + node.id + 1; }
  /// The node of an inode number, or nothing for one that was never handed out.
  std::optional<NodeRef> Find(uint64_t inode) const;
  /// The child of `folder` called `name`.
  std::optional<NodeRef> Child(NodeRef folder, std::string_view name) const;
  struct stat Attributes(NodeRef node) const;

  /// Number of wait groups in use, numbered from 0; at most kWaitGroupsMax.
  uint32_t wait_group_count() const;
  /// Sum of the sizes of all files that are listed, and the number of nodes, for statfs.
  uint64_t listed_bytes() const;
  uint64_t node_count() const;

  /// One line of a listing. `next` is the position to go on from.
  struct ListEntry {
    NodeRef node;
    const char* name = nullptr;
    uint64_t next = 0;
  };
  /// The entry of `folder` at or after `position` (0 at first): `.`, `..`, the children that are not hidden,
  /// and in the root the trees that were added, in order of adding: positions never move.
  std::optional<ListEntry> EntryAt(NodeRef folder, uint64_t position) const;

 private:
  static constexpr unsigned kTreeShift = 32;

  void Append(const VirtualTree& tree, std::string name);  // Needs mutex_.
  ServedFile MakeFile(const ServedTree& tree, NodeId id);  // Needs mutex_.

  const Owner owner_;
  mutable std::shared_mutex mutex_;  ///< Guards all below. Taken last.
  std::deque<ServedTree> trees_;     ///< A deque: elements never move.
  std::unordered_map<const void*, WaitGroup> groups_;
  uint64_t listed_bytes_ = 0;
  uint64_t node_count_ = 0;
};

}  // namespace weightfs
