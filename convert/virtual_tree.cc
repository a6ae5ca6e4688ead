#include "convert/virtual_tree.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace weightfs {

VirtualTree::VirtualTree() {
  VirtualNode root;
  root.is_directory = true;
  nodes_.push_back(std::move(root));
}

NodeId VirtualTree::Find(NodeId parent, std::string_view name) const {
  const std::vector<NodeId>& children = nodes_[parent].children;
  const auto found =
      std::lower_bound(children.begin(), children.end(), name,
                       [this](NodeId child, std::string_view n) { return nodes_[child].name < n; });
  return found != children.end() && nodes_[*found].name == name ? *found : kNoNode;
}

NodeId VirtualTree::FindPath(std::string_view path) const {
  NodeId node = kRootNode;
  while (!path.empty()) {
    const size_t slash = path.find('/');
    node = Find(node, path.substr(0, slash));
    if (node == kNoNode || slash == std::string_view::npos) return node;
    path.remove_prefix(slash + 1);
  }
  return node;
}

std::string VirtualTree::Path(NodeId id) const {
  std::string path;
  for (; id != kRootNode; id = nodes_[id].parent) {
    if (!path.empty()) path.insert(0, 1, '/');
    path.insert(0, nodes_[id].name);
  }
  return path;
}

Result<NodeId> VirtualTree::Add(NodeId parent, std::string_view name, bool is_directory) {
  if (!nodes_[parent].is_directory)
    return Fail(ErrorCode::kCorrupt, fmt::format("{}: a file and a folder have the same name", Path(parent)));
  const std::vector<NodeId>& siblings = nodes_[parent].children;
  const auto place =
      std::lower_bound(siblings.begin(), siblings.end(), name,
                       [this](NodeId child, std::string_view n) { return nodes_[child].name < n; });
  if (place != siblings.end() && nodes_[*place].name == name) {
    if (nodes_[*place].is_directory == is_directory) return *place;
    return Fail(ErrorCode::kCorrupt, fmt::format("{}: a file and a folder have the same name", Path(*place)));
  }
  const auto position = place - siblings.begin();
  VirtualNode node;
  node.name = name;
  node.parent = parent;
  node.is_directory = is_directory;
  const NodeId id = static_cast<NodeId>(nodes_.size());
  nodes_.push_back(std::move(node));
  std::vector<NodeId>& children = nodes_[parent].children;
  children.insert(children.begin() + position, id);
  return id;
}

Result<NodeId> VirtualTree::AddFolder(std::string_view path, int64_t mtime_nanoseconds) {
  NodeId node = kRootNode;
  while (!path.empty()) {
    const size_t slash = path.find('/');
    WEIGHTFS_TRY(node, Add(node, path.substr(0, slash), true));
    nodes_[node].mtime_nanoseconds = std::max(nodes_[node].mtime_nanoseconds, mtime_nanoseconds);
    path.remove_prefix(slash == std::string_view::npos ? path.size() : slash + 1);
  }
  nodes_[node].mtime_nanoseconds = std::max(nodes_[node].mtime_nanoseconds, mtime_nanoseconds);
  return node;
}

Result<NodeId> VirtualTree::AddFile(std::string_view path, VirtualFilePtr file, int64_t mtime_nanoseconds) {
  const size_t slash = path.rfind('/');
  const std::string_view name = slash == std::string_view::npos ? path : path.substr(slash + 1);
  if (name.empty()) return Fail(ErrorCode::kCorrupt, fmt::format("{}: a file without a name", path));
  NodeId folder = kRootNode;
  if (slash != std::string_view::npos) {
    WEIGHTFS_TRY(folder, AddFolder(path.substr(0, slash), mtime_nanoseconds));
  }
  WEIGHTFS_TRY(const NodeId id, Add(folder, name, false));
  VirtualNode& node = nodes_[id];
  node.size_bytes = file->size_bytes();
  node.file = std::move(file);
  node.mtime_nanoseconds = mtime_nanoseconds;
  return id;
}

}  // namespace weightfs
