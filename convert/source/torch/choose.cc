#include "convert/source/torch/choose.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <unordered_set>
#include <utility>

#include "convert/source/torch/rebuild.h"
#include "convert/source/torch/tensor_form.h"
#include "convert/source/utf8.h"

namespace weightfs {
namespace {

using pickle::Kind;
using pickle::Node;
using pickle::NodePtr;

constexpr std::string_view kStateDictKeys[] = {
    "state_dict", "model_state_dict", "model_state", "model",   "module", "net",
    "network",    "params_ema",       "params",      "weights", "ema",    "generator"};
constexpr size_t kCandidatesMax = 64;
constexpr int kCandidateDepthMax = 4;
constexpr size_t kKeysShownMax = 8;

bool HoldsTensors(const Census& census, const Node& node) {
  const BranchInfo* info = census.Find(node);
  return info != nullptr && info->tensors != 0;
}

std::string JoinPath(std::string_view path, std::string_view key) {
  return path.empty() ? std::string(key) : fmt::format("{}.{}", path, key);
}

/// "model (3 tensors), ema (3 tensors)"
std::string DescribeCandidates(const Node& root, const Census& census) {
  std::string text;
  size_t shown = 0;
  for (const MappingCandidate& candidate : ListCandidates(root, census, nullptr)) {
    if (candidate.path.empty()) continue;
    if (++shown > kKeysShownMax) return text + ", ...";
    text += fmt::format("{}{} ({} tensor{})", text.empty() ? "" : ", ", Quoted(candidate.path),
                        candidate.tensor_count, candidate.tensor_count == 1 ? "" : "s");
  }
  return text.empty() ? "none" : text;
}

/// "dict of epoch: int, args: opaque: argparse.Namespace"
std::string DescribeRoot(const Node& root, const Census& census, const StorageSource& storages) {
  std::string text;
  size_t shown = 0;
  for (const auto [key, value] : MappingPairs(root)) {
    if (++shown > kKeysShownMax) {
      text += ", ...";
      break;
    }
    text += fmt::format("{}{}: {}", text.empty() ? " of " : ", ",
                        KeyText(*key).value_or(ClassName(*key)).substr(0, 60),
                        DescribeNode(*value, census, storages));
  }
  return ClassName(root) + text;
}

/// What torch would make of a tensor node.
std::string_view TensorTypeName(const Node& node) {
  const std::string_view call = CallOf(node).name;
  return call.find("arameter") == std::string_view::npos ? "torch.Tensor" : "torch.nn.Parameter";
}

Status CheckRoot(const Node& root, const Census& census, const StorageSource& storages) {
  constexpr std::string_view kExpected = "a mapping of names to tensors, or an nn.Module";
  constexpr std::string_view kRemedy = "save a dict of named tensors: torch.save({'name': tensor}, FILE)";
  if (IsTensor(root, storages))
    return Fail(ErrorCode::kUnsupported,
                fmt::format("the file holds one tensor (a {}); expected {}", TensorTypeName(root), kExpected),
                std::string(kRemedy));
  if (root.Is(Kind::kList) || root.Is(Kind::kTuple))
    return Fail(
        ErrorCode::kUnsupported,
        fmt::format("the file holds a {}; expected {}", DescribeNode(root, census, storages), kExpected),
        std::string(kRemedy));
  if (CallOf(root).name.starts_with("torch.fx."))
    return Fail(
        ErrorCode::kUnsupported,
        fmt::format("the file holds a torch.fx module (a torch.fx.GraphModule); expected {}", kExpected),
        "save its state dict: torch.save(module.state_dict(), FILE)");
  const BranchInfo* info = census.Find(root);
  if (info == nullptr)
    return Fail(ErrorCode::kUnsupported,
                fmt::format("the file holds a value of type {}; expected {}", ClassName(root), kExpected));
  if (info->tensors == 0 && !(info->all_tensors && !info->module))
    return Fail(ErrorCode::kUnsupported, fmt::format("the file holds no tensors, only a {}; expected {}",
                                                     DescribeRoot(root, census, storages), kExpected));
  return {};
}

/// The first well-known key of `mapping` whose value holds tensors, or an entry of nulls.
std::pair<std::string_view, NodePtr> KnownKey(const Node& mapping, const Census& census) {
  size_t best = std::size(kStateDictKeys);
  NodePtr value = nullptr;
  for (const auto [key, candidate] : MappingPairs(mapping)) {
    if (!key->Is(Kind::kString)) continue;
    const auto* known = std::ranges::find(kStateDictKeys, key->text());
    const auto rank = static_cast<size_t>(known - std::begin(kStateDictKeys));
    if (rank >= best || !HoldsTensors(census, *candidate)) continue;
    best = rank;
    value = candidate;
  }
  return value == nullptr ? std::pair<std::string_view, NodePtr>{} : std::pair{kStateDictKeys[best], value};
}

/// Follows `path` from `root`; keys may hold dots themselves, so every way to split it is tried.
Result<StateDictChoice> FollowKeyPath(const Node& root, const Census& census, std::string_view path) {
  struct Step {
    NodePtr node;
    size_t offset;
    std::vector<NodePtr> trail;
  };
  std::set<std::pair<NodePtr, size_t>> seen;
  std::vector<Step> stack = {{&root, 0, {&root}}};
  while (!stack.empty()) {
    const Step step = std::move(stack.back());
    stack.pop_back();
    if (!seen.insert({step.node, step.offset}).second) continue;
    const std::string_view rest = path.substr(step.offset);
    BranchCursor cursor(*step.node);
    while (const std::optional<BranchEntry> entry = cursor.Next()) {
      const std::optional<std::string> key = KeyText(*entry->key);
      if (!key || !rest.starts_with(*key) || !HoldsTensors(census, *entry->value)) continue;
      std::vector<NodePtr> trail = step.trail;
      trail.push_back(entry->value);
      if (rest.size() == key->size()) return StateDictChoice{std::move(trail), std::string(path)};
      if (rest[key->size()] == '.')
        stack.push_back({entry->value, step.offset + key->size() + 1, std::move(trail)});
    }
  }
  return Fail(ErrorCode::kInvalidArgument,
              fmt::format("--weights {}: no mapping that holds tensors is there; expected one of: {}",
                          Quoted(path), DescribeCandidates(root, census)),
              "weightfs inspect lists the mappings of a file");
}

}  // namespace

Result<StateDictChoice> ChooseStateDict(const Node& root, const Census& census, const StorageSource& storages,
                                        std::string_view weights_key_path) {
  WEIGHTFS_CHECK(CheckRoot(root, census, storages));
  StateDictChoice choice{{&root}, {}};
  if (weights_key_path == ".") return choice;
  if (!weights_key_path.empty()) return FollowKeyPath(root, census, weights_key_path);
  std::unordered_set<NodePtr> seen = {&root};
  while (true) {
    const Node& current = *choice.chosen();
    const BranchInfo& info = *census.Find(current);
    if (info.module || info.all_tensors) return choice;
    const auto [key, value] = KnownKey(current, census);
    if (value == nullptr) break;
    if (!seen.insert(value).second)
      return Fail(ErrorCode::kCorrupt,
                  fmt::format("the mapping at {} contains itself", Quoted(JoinPath(choice.path, key))));
    choice.path = JoinPath(choice.path, key);
    choice.trail.push_back(value);
  }
  if (choice.trail.size() > 1 || census.Find(root)->some_tensors) return choice;
  return Fail(ErrorCode::kAmbiguous,
              fmt::format("which mapping is the state dict is not clear, none has a usual name: {}",
                          DescribeCandidates(root, census)),
              "choose one with --weights KEY.PATH, or all of them with --weights .");
}

std::vector<MappingCandidate> ListCandidates(const Node& root, const Census& census,
                                             const StateDictChoice* choice) {
  struct Item {
    NodePtr node;
    std::string path;
    int depth;
  };
  std::vector<Item> queue = {{&root, {}, 0}};
  std::unordered_set<NodePtr> seen = {&root};
  std::vector<MappingCandidate> result;
  const auto add = [&](const Node& node, const std::string& path) {
    const BranchInfo& info = *census.Find(node);
    result.push_back({path, info.tensors, info.size_bytes, choice != nullptr && choice->chosen() == &node});
  };
  for (size_t i = 0; i < queue.size() && result.size() < kCandidatesMax; ++i) {
    const Item item = queue[i];
    if (HoldsTensors(census, *item.node)) add(*item.node, item.path);
    if (item.depth == kCandidateDepthMax || !item.node->IsMapping()) continue;
    for (const auto [key, value] : MappingPairs(*item.node)) {
      if (queue.size() >= 4 * kCandidatesMax) break;
      if (!key->Is(Kind::kString) || key->text().size() > 4096 || !HoldsTensors(census, *value)) continue;
      if (seen.insert(value).second)
        queue.push_back({value, JoinPath(item.path, key->text()), item.depth + 1});
    }
  }
  const bool listed = std::ranges::any_of(result, &MappingCandidate::chosen);
  if (choice != nullptr && !listed) add(*choice->chosen(), choice->path);
  return result;
}

}  // namespace weightfs
