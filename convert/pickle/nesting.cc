// What is checked once the whole graph of values is there.

#include <vector>

#include "convert/pickle/machine.h"

namespace weightfs::pickle {
namespace {

/// A set of nodes. Two nodes never share a pair of words, so one bit for each pair will do.
class NodeSet {
 public:
  explicit NodeSet(NodeIndex end_index) : bits_(MemoryBytes(end_index) / sizeof(uint64_t), 0) {}
  static uint64_t MemoryBytes(NodeIndex end_index) {
    return (uint64_t{end_index} / 128 + 1) * sizeof(uint64_t);
  }

  /// Adds `node`; false when it was in the set.
  bool Add(NodeIndex node) {
    uint64_t& word = bits_[node / 128];
    const uint64_t bit = uint64_t{1} << (node / 2 % 64);
    const bool added = (word & bit) == 0;
    word |= bit;
    return added;
  }

 private:
  std::vector<uint64_t> bits_;
};

bool IsContainer(Kind kind) { return kind >= Kind::kTuple && kind != Kind::kGlobal; }

struct PathStep {
  NodeIndex node;
  uint32_t next_child;
};

}  // namespace

Status Machine::CheckGraph(NodeIndex root) {
  const uint64_t set_bytes = NodeSet::MemoryBytes(arena_.end_index());
  if (!arena_.budget().Charge(set_bytes)) return diagnostics_.OutOfMemory();
  NodeSet visited(arena_.end_index());
  std::vector<PathStep> path;  // From the root to the node at hand: never longer than the limit.
  const auto is_new = [&](NodeIndex node) {
    return node != kNoNode && IsContainer(arena_.KindOf(node)) && visited.Add(node);
  };
  const auto enter = [&](NodeIndex node) -> Status {
    if (path.size() >= limits_.nesting_depth_max) {
      diagnostics_.opcode_offset_bytes = At(node).offset_bytes();
      return diagnostics_.Limit(
          fmt::format("values nested more than {} deep; expected at most that", limits_.nesting_depth_max));
    }
    if (!arena_.MergeEqualKeys(node)) return diagnostics_.OutOfMemory();
    path.push_back({node, 0});
    return {};
  };
  if (is_new(root)) WEIGHTFS_CHECK(enter(root));
  while (!path.empty()) {
    PathStep& step = path.back();
    const uint32_t count = arena_.ChildCount(step.node);
    NodeIndex child = kNoNode;
    // Most children are scalars, or were met before.
    while (step.next_child < count && child == kNoNode) {
      child = arena_.Child(step.node, step.next_child++);
      if (!is_new(child)) child = kNoNode;
    }
    if (child == kNoNode) {
      path.pop_back();
    } else {
      WEIGHTFS_CHECK(enter(child));
    }
  }
  arena_.budget().Release(set_bytes);
  return {};
}

}  // namespace weightfs::pickle
