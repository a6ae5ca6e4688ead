#include "convert/source/torch/state_dict.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <unordered_set>
#include <utility>
#include <vector>

#include "convert/base/bytes.h"
#include "convert/source/torch/branch.h"
#include "convert/source/torch/choose.h"
#include "convert/source/torch/rebuild.h"
#include "convert/source/torch/tensor_form.h"
#include "convert/source/torch/torch_object.h"
#include "convert/source/torch/values.h"
#include "convert/source/torch/walk_budget.h"
#include "convert/source/utf8.h"

namespace weightfs {
namespace {

using pickle::Kind;
using pickle::Node;
using pickle::NodePtr;

/// Looking at an attribute of a module costs this part of an entry.
constexpr uint64_t kAttributesPerEntry = 64;

/// Turns one branch into tensors, left-out values and unsupported tensors.
class Flattener {
 public:
  Flattener(const Census& census, StorageSource& storages, const Limits& limits, uint64_t pickle_bytes,
            Checkpoint& checkpoint)
      : census_(census),
        storages_(storages),
        limits_(limits),
        budget_(pickle_bytes, limits),
        checkpoint_(checkpoint) {}

  Status Run(const Node& chosen, const std::string& path) {
    path_ = path;
    WEIGHTFS_CHECK(Enter(chosen, 0));
    while (!stack_.empty()) {
      Frame& frame = stack_.back();
      const std::optional<BranchEntry> entry = frame.cursor.Next();
      if (!entry) {
        on_path_.erase(frame.cursor.branch());
        stack_.pop_back();
        continue;
      }
      name_.resize(frame.prefix_bytes);
      WEIGHTFS_CHECK(Visit(*entry));
    }
    return {};
  }

  /// Lists the values beside the chosen branch, at every level above it.
  Status ListSiblings(const StateDictChoice& choice) {
    std::string path;
    for (size_t level = 0; level + 1 < choice.trail.size(); ++level) {
      BranchCursor cursor(*choice.trail[level]);
      std::string next = path;
      bool taken = false;
      while (const std::optional<BranchEntry> entry = cursor.Next()) {
        const std::string key = KeyText(*entry->key).value_or(fmt::format("<{}>", ClassName(*entry->key)));
        std::string entry_path = path.empty() ? key : fmt::format("{}.{}", path, key);
        if (entry->value == choice.trail[level + 1] && !taken) {
          taken = true;
          next = std::move(entry_path);
          continue;
        }
        std::string reason = DescribeNode(*entry->value, census_, storages_);
        const BranchInfo* info = census_.Find(*entry->value);
        if (IsTensor(*entry->value, storages_) || (info != nullptr && info->tensors != 0))
          reason += ", not the state dict";
        WEIGHTFS_CHECK(LeaveOut(std::move(entry_path), std::move(reason)));
      }
      path = std::move(next);
    }
    return {};
  }

 private:
  struct Frame {
    BranchCursor cursor;
    size_t prefix_bytes;  ///< Bytes of `name_` that the entries share.
  };

  Status Enter(const Node& branch, size_t prefix_bytes) {
    if (!on_path_.insert(&branch).second)
      return Fail(ErrorCode::kCorrupt,
                  fmt::format("the mapping at {} contains itself",
                              Quoted(name_.substr(0, std::max<size_t>(prefix_bytes, 1) - 1))));
    stack_.push_back({BranchCursor(branch), prefix_bytes});
    WEIGHTFS_CHECK(budget_.SpendEntries(stack_.back().cursor.overhead() / kAttributesPerEntry, name_));
    const BranchInfo* info = census_.Find(branch);
    return info->tensor_attributes ? ListTensorAttributes(branch) : Status();
  }

  /// Tensors that are plain attributes of a module are no part of its state dict.
  Status ListTensorAttributes(const Node& module) {
    const NodePairs attributes = MappingPairs(*CallOf(module).state);
    for (const auto [key, value] : attributes) {
      if (!IsTensor(*value, storages_)) continue;
      std::string name = name_ + KeyText(*key).value_or(fmt::format("<{}>", ClassName(*key)));
      WEIGHTFS_CHECK(
          LeaveOut(std::move(name), "tensor that is an attribute of a module, not in its state dict"));
    }
    return {};
  }

  Status Visit(const BranchEntry& entry) {
    WEIGHTFS_CHECK(budget_.SpendEntries(1, name_));
    const Node& value = *entry.value;
    const bool of_module = entry.kind != EntryKind::kMember;
    if (of_module && value.Is(Kind::kNone))
      return {};  // As in state_dict(): the place of an absent parameter.
    const bool tensor = IsTensor(value, storages_);
    const BranchInfo* info = tensor ? nullptr : census_.Find(value);
    const std::optional<std::string> key = KeyText(*entry.key);
    if (!key) {
      name_ += fmt::format("<{}>", ClassName(*entry.key));
      if (tensor || (info != nullptr && info->tensors != 0))
        return Fail(
            ErrorCode::kUnsupported,
            fmt::format("a tensor under the key {} of type {}; expected keys that are text or integers",
                        Quoted(name_), ClassName(*entry.key)));
      return LeaveOut(name_, DescribeNode(value, census_, storages_));
    }
    name_ += *key;
    if (entry.kind == EntryKind::kNonPersistentBuffer) return LeaveOut(name_, "non-persistent buffer");
    if (tensor) return AddTensor(value);
    if (info == nullptr) return LeaveOut(name_, DescribeNode(value, census_, storages_));
    if (info->tensors == 0 && !info->cyclic && !of_module)
      return LeaveOut(name_, DescribeNode(value, census_, storages_));
    WEIGHTFS_CHECK(budget_.SpendNameBytes(key->size(), name_));
    name_ += '.';
    return Enter(value, name_.size());
  }

  Status AddTensor(const Node& value) {
    WEIGHTFS_CHECK(budget_.SpendNameBytes(name_.size(), name_));
    Result<RebuiltTensor> rebuilt = RebuildTensor(value, storages_, limits_);
    if (!rebuilt) return std::unexpected(rebuilt.error().Within(fmt::format("tensor {}", Quoted(name_))));
    if (rebuilt->view) {
      checkpoint_.tensors.push_back(
          {name_, *std::move(rebuilt->view), std::move(rebuilt->storage), storages_.file()});
    } else {
      checkpoint_.unsupported.push_back({name_, std::move(rebuilt->unsupported_reason), storages_.file()});
    }
    if (checkpoint_.tensors.size() + checkpoint_.unsupported.size() > limits_.tensors_max)
      return Fail(ErrorCode::kLimitExceeded, fmt::format("more than {} tensors", limits_.tensors_max));
    return {};
  }

  Status LeaveOut(std::string name, std::string reason) {
    WEIGHTFS_CHECK(budget_.SpendNameBytes(name.size() + path_.size(), name_));
    if (!path_.empty()) name = fmt::format("{}.{}", path_, name);
    checkpoint_.left_out.push_back({std::move(name), std::move(reason)});
    return {};
  }

  const Census& census_;
  StorageSource& storages_;
  const Limits& limits_;
  WalkBudget budget_;
  Checkpoint& checkpoint_;
  std::string path_;  ///< Key path of the chosen branch.
  std::string name_;  ///< Of the entry at hand, within the chosen branch.
  std::vector<Frame> stack_;
  std::unordered_set<NodePtr> on_path_;
};

Result<Checkpoint> Read(const Node& root, uint64_t pickle_bytes, StorageSource& storages,
                        const SourceContext& context) {
  const Census census(root, storages);
  WEIGHTFS_TRY(const StateDictChoice choice,
               ChooseStateDict(root, census, storages, context.weights_key_path));
  Checkpoint checkpoint;
  const BranchInfo& info = *census.Find(*choice.chosen());
  checkpoint.tensors.reserve(std::min(info.tensors, WalkBudget::EntriesMax(pickle_bytes)));
  Flattener flattener(census, storages, context.limits, pickle_bytes, checkpoint);
  WEIGHTFS_CHECK(flattener.ListSiblings(choice));
  WEIGHTFS_CHECK(flattener.Run(*choice.chosen(), choice.path));
  PickledValues values = ReadValues(choice, census, storages, context.limits);
  checkpoint.values = std::move(values.values);
  std::ranges::move(values.left_out, std::back_inserter(checkpoint.left_out));
  checkpoint.candidates = ListCandidates(root, census, &choice);
  if (checkpoint.tensors.empty() && checkpoint.unsupported.empty())
    checkpoint.warnings.push_back(fmt::format("{}: the state dict is empty", storages.file()));
  return checkpoint;
}

}  // namespace

Result<Checkpoint> ReadStateDict(const Node& root, uint64_t pickle_bytes, StorageSource& storages,
                                 const SourceContext& context) {
  Result<Checkpoint> checkpoint = Read(root, pickle_bytes, storages, context);
  if (!checkpoint) return std::unexpected(checkpoint.error().Within(storages.file()));
  WEIGHTFS_CHECK(CheckTensorNames(*checkpoint, storages.file(), context.limits));
  return checkpoint;
}

Result<Checkpoint> ReadStateDict(const TorchObject& object, const SourceContext& context) {
  WEIGHTFS_TRY(Checkpoint checkpoint,
               ReadStateDict(*object.tree.root(), object.tree.size_bytes(), *object.storages, context));
  checkpoint.format = object.format;
  checkpoint.metadata_bytes = object.metadata_bytes;
  return checkpoint;
}

}  // namespace weightfs
