#include "convert/source/torch_legacy/storage_ids.h"

#include <cstdint>

namespace weightfs {
namespace {

using pickle::Kind;
using pickle::Node;
using pickle::NodePtr;

/// Marks nodes of one tree. They lie in one block of known size, aligned to 4 bytes, so that their distance
/// from the root numbers them.
class Marks {
 public:
  explicit Marks(const pickle::Tree& tree)
      : base_(reinterpret_cast<uintptr_t>(tree.root()) - tree.memory_bytes()),
        marked_(2 * tree.memory_bytes() / sizeof(uint32_t) + 1) {}

  uint32_t NumberOf(const Node& node) const {
    return static_cast<uint32_t>((reinterpret_cast<uintptr_t>(&node) - base_) / sizeof(uint32_t));
  }
  NodePtr NodeOf(uint32_t number) const {
    return reinterpret_cast<NodePtr>(base_ + uintptr_t{number} * sizeof(uint32_t));
  }
  /// Marks a node. \return whether it had no mark
  bool Mark(uint32_t number) {
    if (marked_[number]) return false;
    marked_[number] = true;
    return true;
  }

 private:
  uintptr_t base_;
  std::vector<bool> marked_;
};

bool HasParts(const Node& node) {
  switch (node.kind()) {
    case Kind::kTuple:
    case Kind::kList:
    case Kind::kSet:
    case Kind::kDict:
    case Kind::kPersistent:
    case Kind::kObject:
      return true;
    default:
      return false;
  }
}

}  // namespace

std::vector<NodePtr> CollectPersistentIds(const pickle::Tree& tree) {
  std::vector<NodePtr> found;
  Marks marks(tree);
  std::vector<uint32_t> waiting;
  const auto visit = [&](NodePtr node) {
    if (node == nullptr || !HasParts(*node)) return;
    const uint32_t number = marks.NumberOf(*node);
    if (marks.Mark(number)) waiting.push_back(number);
  };
  visit(tree.root());
  while (!waiting.empty()) {
    const Node& node = *marks.NodeOf(waiting.back());
    waiting.pop_back();
    if (node.Is(Kind::kPersistent)) found.push_back(&node);
    for (const NodePtr item : node.items()) visit(item);
    for (const auto [key, value] : node.pairs()) {
      visit(key);
      visit(value);
    }
    visit(node.callable());
    visit(node.arguments());
    visit(node.state());
  }
  return found;
}

}  // namespace weightfs
