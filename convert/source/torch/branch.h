/// \file
/// The branches of a pickled value that tensors hang from: mappings and pickled `nn.Module` objects.
///
/// Follows docs/formats/torch.md, "The state dict". Nothing here recurses; shared and cyclic values are
/// visited once.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>

#include "convert/pickle/value.h"
#include "convert/source/torch/node_access.h"
#include "convert/source/torch/storage.h"

namespace weightfs {

/// What holds an entry of a branch.
enum class EntryKind : uint8_t { kMember, kParameter, kBuffer, kNonPersistentBuffer, kModule };

struct BranchEntry {
  pickle::NodePtr key = nullptr;
  pickle::NodePtr value = nullptr;
  EntryKind kind = EntryKind::kMember;
};

/// True for an object whose state has the mappings `_parameters` and `_modules`, as `nn.Module` has. Takes
/// time linear in its attributes.
bool IsModule(const pickle::Node& node);

/// The text of a key in a tensor name: strings as they are, integers in decimal; nothing for other keys.
std::optional<std::string> KeyText(const pickle::Node& key);

/// Walks the entries of a mapping, or those of a module in the order of its `state_dict()`: parameters,
/// buffers, modules.
class BranchCursor {
 public:
  /// \param branch  a mapping or a module; must outlive the cursor
  explicit BranchCursor(const pickle::Node& branch);

  pickle::NodePtr branch() const { return branch_; }
  /// Values that were looked at to begin: attributes of a module and names of its buffers.
  size_t overhead() const { return overhead_; }
  /// The next entry, or nothing after the last.
  std::optional<BranchEntry> Next();

 private:
  pickle::NodePtr branch_;
  NodePairs sections_[3];
  EntryKind kinds_[3] = {EntryKind::kMember, EntryKind::kMember, EntryKind::kMember};
  std::set<std::string_view> non_persistent_;
  size_t overhead_ = 0;
  size_t section_ = 0;
  size_t index_ = 0;
};

/// What is known of one branch.
struct BranchInfo {
  uint64_t tensors = 0;       ///< At any depth; saturates.
  uint64_t size_bytes = 0;    ///< Of these, as the pickle states them; saturates.
  bool all_tensors = true;    ///< Every value is a tensor (true for an empty mapping).
  bool some_tensors = false;  ///< Some value is a tensor.
  bool module = false;
  bool cyclic = false;             ///< It, or a branch below it, contains itself.
  bool tensor_attributes = false;  ///< A module that has tensors as plain attributes.
};

/// Every branch that can be reached from a root through branches. A cycle counts nothing where it closes.
class Census {
 public:
  Census(const pickle::Node& root, const StorageSource& storages);

  /// What is known of `node`; nullptr when it is no branch.
  const BranchInfo* Find(const pickle::Node& node) const;

 private:
  std::unordered_map<pickle::NodePtr, BranchInfo> branches_;
};

/// "dict of 3 tensors", "int", "opaque: argparse.Namespace": what a value is, for listings.
std::string DescribeNode(const pickle::Node& node, const Census& census, const StorageSource& storages);

}  // namespace weightfs
