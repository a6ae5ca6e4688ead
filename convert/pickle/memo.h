/// \file
/// The memo of a pickle: numbered references to nodes. Internal to `convert/pickle`.
#pragma once

#include <cstdint>
#include <map>

#include "convert/pickle/memory_budget.h"
#include "convert/pickle/node_arena.h"

namespace weightfs::pickle {

/// Picklers number from 0 or 1 without large gaps: an array. Numbers far beyond it go to a map. Used by one
/// thread.
class Memo {
 public:
  explicit Memo(MemoryBudget& budget) : budget_(budget), dense_(budget) {}
  Memo(const Memo&) = delete;
  Memo& operator=(const Memo&) = delete;
  ~Memo() { budget_.Release(sparse_.size() * kSparseEntryBytes); }

  /// Numbers that hold a node.
  uint64_t size() const { return dense_count_ + sparse_.size(); }

  /// The node under `number`, or kNoNode.
  NodeIndex Get(uint64_t number) const {
    if (number < dense_.size() && dense_[number] != kNoNode) return dense_[number];
    const auto found = sparse_.find(number);
    return found == sparse_.end() ? kNoNode : found->second;
  }

  /// Puts `node` under `number`, in place of what was there; false when there is no memory.
  [[nodiscard]] bool Put(uint64_t number, NodeIndex node) {
    const auto found = sparse_.empty() ? sparse_.end() : sparse_.find(number);
    if (found != sparse_.end()) {
      found->second = node;
      return true;
    }
    if (number > dense_.size() + kGapMax) {
      if (!budget_.Charge(kSparseEntryBytes)) return false;
      sparse_.emplace(number, node);
      return true;
    }
    while (dense_.size() <= number)
      if (!dense_.Push(kNoNode)) return false;
    if (dense_[number] == kNoNode) ++dense_count_;
    dense_[number] = node;
    return true;
  }

 private:
  static constexpr uint64_t kGapMax = 64;
  static constexpr uint64_t kSparseEntryBytes = 64;
  MemoryBudget& budget_;
  ChargedArray<NodeIndex> dense_;
  uint64_t dense_count_ = 0;
  std::map<uint64_t, NodeIndex> sparse_;  // A map, not a hash: no file can make it slow.
};

}  // namespace weightfs::pickle
