#include "convert/source/torch/branch.h"

#include <fmt/format.h>

#include <utility>
#include <vector>

#include "convert/base/bytes.h"
#include "convert/source/torch/rebuild.h"
#include "convert/source/torch/tensor_form.h"

namespace weightfs {
namespace {

using pickle::Kind;
using pickle::Node;
using pickle::NodePtr;

uint64_t SaturatingAdd(uint64_t a, uint64_t b) { return CheckedAdd(a, b).value_or(UINT64_MAX); }

/// The mapping `name` of a module's attributes, or nullptr.
NodePtr ModuleMapping(const Node& state, std::string_view name) {
  NodePtr found = state.Find(name);
  return found != nullptr && found->IsMapping() ? found : nullptr;
}

struct CensusFrame {
  BranchCursor cursor;
  BranchInfo info;
};

void AddBranch(BranchInfo& parent, const BranchInfo& child) {
  parent.tensors = SaturatingAdd(parent.tensors, child.tensors);
  parent.size_bytes = SaturatingAdd(parent.size_bytes, child.size_bytes);
  parent.cyclic |= child.cyclic;
}

}  // namespace

bool IsModule(const Node& node) {
  const NodeCall call = CallOf(node);
  if (call.name.empty() || call.state == nullptr || !call.state->IsMapping()) return false;
  return ModuleMapping(*call.state, "_parameters") != nullptr &&
         ModuleMapping(*call.state, "_modules") != nullptr;
}

std::optional<std::string> KeyText(const Node& key) {
  if (key.Is(Kind::kString)) return std::string(key.text());
  if (key.Is(Kind::kInt)) return fmt::format("{}", key.integer());
  return std::nullopt;
}

BranchCursor::BranchCursor(const Node& branch) : branch_(&branch) {
  if (branch.IsMapping()) {
    sections_[0] = MappingPairs(branch);
    return;
  }
  const Node& state = *CallOf(branch).state;
  constexpr std::pair<std::string_view, EntryKind> kSections[] = {{"_parameters", EntryKind::kParameter},
                                                                  {"_buffers", EntryKind::kBuffer},
                                                                  {"_modules", EntryKind::kModule}};
  for (size_t i = 0; i < 3; ++i) {
    NodePtr mapping = ModuleMapping(state, kSections[i].first);
    if (mapping != nullptr) sections_[i] = MappingPairs(*mapping);
    kinds_[i] = kSections[i].second;
  }
  overhead_ = MappingPairs(state).size();
  if (NodePtr names = state.Find("_non_persistent_buffers_set"); names != nullptr)
    for (NodePtr name : Items(*names))
      if (name->Is(Kind::kString)) non_persistent_.insert(name->text());
  overhead_ += non_persistent_.size();
}

std::optional<BranchEntry> BranchCursor::Next() {
  while (section_ < 3 && index_ == sections_[section_].size()) ++section_, index_ = 0;
  if (section_ == 3) return std::nullopt;
  const auto [key, value] = sections_[section_][index_++];
  EntryKind kind = kinds_[section_];
  if (kind == EntryKind::kBuffer && key->Is(Kind::kString) && non_persistent_.contains(key->text()))
    kind = EntryKind::kNonPersistentBuffer;
  return BranchEntry{key, value, kind};
}

Census::Census(const Node& root, const StorageSource& storages) {
  std::vector<CensusFrame> stack;
  const auto enter = [&](const Node& node) {
    const bool module = !node.IsMapping() && IsModule(node);
    if (!module && !node.IsMapping()) return false;
    // While a branch is open, meeting it again closes a cycle: that is what the mark then says.
    branches_.emplace(&node, BranchInfo{.cyclic = true});
    stack.push_back({BranchCursor(node), {}});
    stack.back().info.module = module;
    if (module)
      for (const auto [key, value] : MappingPairs(*CallOf(node).state))
        stack.back().info.tensor_attributes |= IsTensor(*value, storages);
    return true;
  };
  enter(root);
  while (!stack.empty()) {
    CensusFrame& frame = stack.back();
    const std::optional<BranchEntry> entry = frame.cursor.Next();
    if (!entry) {
      const BranchInfo info = frame.info;
      branches_[frame.cursor.branch()] = info;
      stack.pop_back();
      if (!stack.empty()) AddBranch(stack.back().info, info);
      continue;
    }
    if (entry->kind == EntryKind::kNonPersistentBuffer) continue;
    BranchInfo& info = frame.info;
    if (IsTensor(*entry->value, storages)) {
      info.some_tensors = true;
      info.tensors = SaturatingAdd(info.tensors, 1);
      info.size_bytes = SaturatingAdd(info.size_bytes, StatedSizeBytes(*entry->value, storages));
      continue;
    }
    info.all_tensors = false;
    if (const auto known = branches_.find(entry->value); known != branches_.end()) {
      AddBranch(info, known->second);
      continue;
    }
    enter(*entry->value);  // Invalidates `frame` and `info`.
  }
}

const BranchInfo* Census::Find(const Node& node) const {
  const auto found = branches_.find(&node);
  return found == branches_.end() ? nullptr : &found->second;
}

std::string DescribeNode(const Node& node, const Census& census, const StorageSource& storages) {
  if (IsTensor(node, storages)) return "tensor";
  const BranchInfo* info = census.Find(node);
  if (info != nullptr && info->tensors != 0)
    return fmt::format("{} of {} tensor{}", ClassName(node), info->tensors, info->tensors == 1 ? "" : "s");
  switch (node.kind()) {
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kSet:
      return fmt::format("{} of {} value{}", ClassName(node), Items(node).size(),
                         Items(node).size() == 1 ? "" : "s");
    case Kind::kPersistent:
      return "storage without a tensor";
    case Kind::kObject:
      return info != nullptr ? ClassName(node) : "opaque: " + ClassName(node);
    default:
      return ClassName(node);
  }
}

}  // namespace weightfs
