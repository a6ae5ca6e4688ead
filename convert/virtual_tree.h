/// \file
/// The directory that a mount shows, without FUSE: names, sizes, times and how to read each file.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "convert/base/result.h"
#include "convert/view/virtual_file.h"

namespace weightfs {

/// Index of a node in its tree; the root is 0. Stable for the life of the tree.
using NodeId = uint32_t;
inline constexpr NodeId kRootNode = 0;
inline constexpr NodeId kNoNode = UINT32_MAX;

/// One file or folder.
struct VirtualNode {
  std::string name;  ///< Empty for the root.
  NodeId parent = kRootNode;
  bool is_directory = false;
  /// Left out of the listing of its parent, and never exported, but there when asked for by name
  /// (`/.weightfs`).
  bool hidden = false;
  int64_t mtime_nanoseconds = 0;
  uint64_t size_bytes = 0;       ///< 0 for folders.
  VirtualFilePtr file;           ///< nullptr for folders.
  std::vector<NodeId> children;  ///< Of a folder, sorted by name bytes.
};

/// A tree of nodes. Built once, then immutable and safe to share between threads.
class VirtualTree {
 public:
  VirtualTree();
  VirtualTree(VirtualTree&&) = default;
  VirtualTree& operator=(VirtualTree&&) = default;

  /// Adds a folder, and the folders above it, when they are not there. `path` is relative, '/'-separated.
  /// \error kCorrupt  a file has that name
  Result<NodeId> AddFolder(std::string_view path, int64_t mtime_nanoseconds);

  /// Adds a file at `path`, replacing one that is there (an overlay wins).
  /// \error kCorrupt  a folder has that name, or `path` is empty
  Result<NodeId> AddFile(std::string_view path, VirtualFilePtr file, int64_t mtime_nanoseconds);

  /// Leaves `node` out of listings and exports.
  void Hide(NodeId node) { nodes_[node].hidden = true; }

  /// The child of folder `parent` called `name`, or kNoNode. Logarithmic; no allocation.
  NodeId Find(NodeId parent, std::string_view name) const;
  /// The node at a relative path ("" is the root), or kNoNode.
  NodeId FindPath(std::string_view path) const;
  const VirtualNode& node(NodeId id) const { return nodes_[id]; }
  size_t size() const { return nodes_.size(); }
  /// The relative path of `id`, '/'-separated.
  std::string Path(NodeId id) const;

 private:
  Result<NodeId> Add(NodeId parent, std::string_view name, bool is_directory);
  std::vector<VirtualNode> nodes_;
};

}  // namespace weightfs
