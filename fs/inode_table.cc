#include "fs/inode_table.h"

#include <algorithm>
#include <mutex>
#include <utility>

namespace weightfs {
namespace {

// Positions of a listing before the first child.
constexpr uint64_t kDot = 0;
constexpr uint64_t kDotDot = 1;
constexpr uint64_t kFirstChild = 2;

FileClass ClassOf(std::string_view name) {
  if (name.ends_with(".safetensors")) return FileClass::kWeights;
  if (name.ends_with(".npy")) return FileClass::kTensorArrays;
  return FileClass::kOther;
}

bool IsListed(const VirtualTree& tree, NodeId id) {
  for (; id != kRootNode; id = tree.node(id).parent)
    if (tree.node(id).hidden) return false;
  return true;
}

}  // namespace

std::string PathOf(const ServedFile& file) {
  const std::string path = file.tree->tree->Path(file.node);
  return file.tree->name.empty() ? path : file.tree->name + "/" + path;
}

InodeTable::InodeTable(const VirtualTree& tree, Owner owner) : owner_(owner) { Append(tree, ""); }

void InodeTable::AddTree(const VirtualTree& tree, std::string name) {
  std::unique_lock lock(mutex_);
  Append(tree, std::move(name));
}

void InodeTable::Append(const VirtualTree& tree, std::string name) {
  const uint64_t index = trees_.size();
  ServedTree& served = trees_.emplace_back(&tree, std::move(name), index);
  served.files.resize(tree.size());
  for (NodeId id = 0; id < tree.size(); ++id) {
    if (tree.node(id).is_directory) continue;
    served.files[id] = MakeFile(served, id);
    if (IsListed(tree, id)) listed_bytes_ += tree.node(id).size_bytes;
  }
  node_count_ += tree.size();
}

ServedFile InodeTable::MakeFile(const ServedTree& tree, NodeId id) {
  const VirtualNode& node = tree.tree->node(id);
  ServedFile file{.file = node.file.get(),
                  .tree = &tree,
                  .node = id,
                  .wait_group = kNeverWaits,
                  .file_class = ClassOf(node.name)};
  if (const void* group = node.file->wait_group()) {
    const auto next = static_cast<WaitGroup>(groups_.size() % kWaitGroupsMax);
    file.wait_group = groups_.try_emplace(group, next).first->second;
  }
  return file;
}

std::optional<NodeRef> InodeTable::Find(uint64_t inode) const {
  const uint64_t index = inode >> kTreeShift;
  const uint64_t node = (inode & UINT32_MAX) - 1;
  std::shared_lock lock(mutex_);
  if (index >= trees_.size() || node >= trees_[index].tree->size()) return std::nullopt;
  return NodeRef{&trees_[index], static_cast<NodeId>(node)};
}

std::optional<NodeRef> InodeTable::Child(NodeRef folder, std::string_view name) const {
  if (const NodeId child = folder.tree->tree->Find(folder.id, name); child != kNoNode)
    return NodeRef{folder.tree, child};
  if (!folder.is_root()) return std::nullopt;
  std::shared_lock lock(mutex_);
  for (size_t i = 1; i < trees_.size(); ++i)
    if (trees_[i].name == name) return NodeRef{&trees_[i], kRootNode};
  return std::nullopt;
}

struct stat InodeTable::Attributes(NodeRef node) const {
  struct stat attributes = AttributesOf(*node.tree->tree, node.id, owner_);
  attributes.st_ino = InodeOf(node);
  if (node.is_root()) {
    std::shared_lock lock(mutex_);
    attributes.st_nlink += trees_.size() - 1;
  }
  return attributes;
}

uint32_t InodeTable::wait_group_count() const {
  std::shared_lock lock(mutex_);
  return static_cast<uint32_t>(std::min<size_t>(groups_.size(), kWaitGroupsMax));
}

uint64_t InodeTable::listed_bytes() const {
  std::shared_lock lock(mutex_);
  return listed_bytes_;
}

uint64_t InodeTable::node_count() const {
  std::shared_lock lock(mutex_);
  return node_count_;
}

std::optional<InodeTable::ListEntry> InodeTable::EntryAt(NodeRef folder, uint64_t position) const {
  const VirtualNode& node = folder.node();
  if (position == kDot) return ListEntry{folder, ".", kDotDot};
  if (position == kDotDot) {
    // The root of an added tree lies in the root of the first one, which its own parent link does not know.
    std::shared_lock lock(mutex_);
    const ServedTree* parent_tree = folder.id == kRootNode ? &trees_.front() : folder.tree;
    return ListEntry{{parent_tree, node.parent}, "..", kFirstChild};
  }
  uint64_t i = position - kFirstChild;
  for (; i < node.children.size(); ++i) {
    const NodeRef child{folder.tree, node.children[i]};
    if (!child.node().hidden) return ListEntry{child, child.node().name.c_str(), i + kFirstChild + 1};
  }
  if (!folder.is_root()) return std::nullopt;
  std::shared_lock lock(mutex_);
  const uint64_t added = i - node.children.size() + 1;
  if (added >= trees_.size()) return std::nullopt;
  return ListEntry{{&trees_[added], kRootNode}, trees_[added].name.c_str(), i + kFirstChild + 1};
}

}  // namespace weightfs
