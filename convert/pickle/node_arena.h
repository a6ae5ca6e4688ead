/// \file
/// Makes the nodes of a tree while a pickle is parsed. Internal to `convert/pickle`.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "convert/pickle/memory_budget.h"
#include "convert/pickle/value.h"

namespace weightfs::pickle {

/// A node while parsing: its place in the arena, in words. The arena moves as it grows, so pointers would not
/// last.
using NodeIndex = uint32_t;
/// No node; what every function below returns when the memory budget is spent.
inline constexpr NodeIndex kNoNode = 0;

/// Owns and fills the words that become a `Tree`. Used by one thread.
///
/// A node is a `Node` header and what its kind needs after it:
///   kString, kBytes, kBigInt, kGlobal   the bytes, padded to words
///   kInt                                nothing while the value fits 28 bits, else (tag kWideInt) 8 bytes
///   kFloat                              8 bytes
///   kTuple, kPersistent                 the references
///   kList, kSet, kDict                  a reference to a block
///   kObject                             callable, arguments, state, and a reference to a block of pairs, or
///                                       (tag kObjectOfItems) of items
/// A block is its capacity in references, then the references; containers move to a larger one as they grow.
class NodeArena {
 public:
  static constexpr uint32_t kObjectOfItems = Node::kObjectOfItems;
  static constexpr uint32_t kWideInt = Node::kWideInt;
  /// Index of the reference to the block of a kObject, after callable, arguments and state.
  static constexpr uint32_t kObjectBlock = 3;
  /// The most bytes, items or pairs that one node can have.
  static constexpr uint64_t kCountMax = (1u << 28) - 1;

  explicit NodeArena(MemoryBudget& budget);

  // Scalars. None, booleans, small integers and equal texts share one node.
  NodeIndex None(uint64_t offset_bytes);
  NodeIndex Bool(bool value, uint64_t offset_bytes);
  NodeIndex Int(int64_t value, uint64_t offset_bytes);
  NodeIndex Float(double value, uint64_t offset_bytes);
  /// A kString, kBytes or kBigInt. `text` must not lie in the arena.
  NodeIndex Text(Kind kind, std::string_view text, uint64_t offset_bytes);
  /// "module.name"; never shared, so that its cost is always charged.
  NodeIndex Global(std::string_view module, std::string_view name, uint64_t offset_bytes);

  // Containers.
  NodeIndex Tuple(std::span<const NodeIndex> items, uint64_t offset_bytes);
  /// An empty kList, kDict or kSet.
  NodeIndex Container(Kind kind, uint64_t offset_bytes);
  NodeIndex Persistent(NodeIndex id, uint64_t offset_bytes);
  NodeIndex Object(NodeIndex callable, NodeIndex arguments, uint64_t offset_bytes);

  /// Adds items to a kList, kSet, or a kObject that has no pairs; false when there is no memory.
  [[nodiscard]] bool Append(NodeIndex container, std::span<const NodeIndex> items);
  /// Adds pairs, given as key, value, key, ..., to a kDict, or a kObject that has no items.
  [[nodiscard]] bool AddPairs(NodeIndex mapping, std::span<const NodeIndex> keys_and_values);
  void SetState(NodeIndex object, NodeIndex state);

  /// The node; the reference lasts until the next node is made.
  const Node& At(NodeIndex index) const { return *reinterpret_cast<const Node*>(&words_[index]); }
  Kind KindOf(NodeIndex index) const { return At(index).kind(); }
  /// The place of a node of this arena.
  NodeIndex IndexOf(NodePtr node) const {
    return static_cast<NodeIndex>(reinterpret_cast<const uint32_t*>(node) - words_.data());
  }
  /// One past the place of the last node.
  NodeIndex end_index() const { return static_cast<NodeIndex>(words_.size()); }

  /// How many nodes `node` refers to directly, and the i-th of them (kNoNode where a kObject has none).
  uint32_t ChildCount(NodeIndex node) const;
  NodeIndex Child(NodeIndex node, uint32_t i) const;

  /// Keeps the last value of each key of `mapping` in the place of the first; false when there is no memory.
  [[nodiscard]] bool MergeEqualKeys(NodeIndex mapping);

  /// Hands the nodes over. The arena is empty afterwards.
  Tree Finish(NodeIndex root, uint64_t size_bytes);

  MemoryBudget& budget() { return budget_; }

 private:
  Node& Mutable(NodeIndex index) { return *reinterpret_cast<Node*>(&words_[index]); }
  NodeIndex New(uint32_t tag, uint64_t count, uint64_t payload_words, uint64_t offset_bytes);
  NodeIndex NewText(Kind kind, std::initializer_list<std::string_view> parts, uint64_t offset_bytes);
  bool AddReferences(NodeIndex container, std::span<const NodeIndex> targets, uint32_t per_item);
  /// Word of the reference to the block of a container or object.
  NodeIndex BlockSlot(NodeIndex container) const;
  uint32_t* GrowBlock(NodeIndex slot, uint64_t used, uint64_t needed);
  void SetReference(NodeIndex word, NodeIndex target) {
    words_[word] = target == kNoNode ? 0 : target - word;
  }
  NodeIndex Target(NodeIndex word) const { return words_[word] == 0 ? kNoNode : word + words_[word]; }

  uint64_t HashText(Kind kind, std::string_view text) const;
  /// The slot of `text_table_` that holds an equal text, or the free one where it belongs.
  size_t FindTextSlot(Kind kind, std::string_view text) const;
  bool GrowTextTable();
  uint64_t HashKey(NodeIndex key) const;
  bool EqualKeys(NodeIndex left, NodeIndex right) const;

  MemoryBudget& budget_;
  ChargedArray<uint32_t> words_;
  // Open addressing with linear probes; 0 is free. The hash is seeded, so that no file can provoke
  // collisions.
  std::vector<NodeIndex> text_table_;
  size_t text_count_ = 0;
  const std::array<uint64_t, 2>& hash_seed_;
  NodeIndex none_ = kNoNode;
  NodeIndex booleans_[2] = {};
  NodeIndex empty_tuple_ = kNoNode;
  std::array<NodeIndex, 256> small_integers_ = {};
};

}  // namespace weightfs::pickle
