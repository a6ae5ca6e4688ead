#include "convert/source/dcp/subtree.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "convert/base/bytes.h"
#include "convert/source/utf8.h"

namespace weightfs {
namespace {

/// In order of preference.
const DcpPath kModelPaths[] = {{"model"}, {"module"}, {"state_dict"}, {"app", "model"}};
constexpr std::string_view kOptimizer = "optim";
constexpr std::string_view kNeverServed = "the state of an optimizer, which is never served";
constexpr size_t kCandidatesMax = 64;
constexpr size_t kNamesShownMax = 8;

bool HasPrefix(const DcpPath& path, const DcpPath& prefix) {
  return path.size() > prefix.size() && std::equal(prefix.begin(), prefix.end(), path.begin());
}

std::string Join(const DcpPath& path, size_t from) {
  std::string text;
  for (size_t i = from; i < path.size(); ++i) {
    if (i != from) text += '.';
    text += path[i];
  }
  return text;
}

/// A key that was saved flat: `optimizer.state.NAME.exp_avg`, `optim.param_groups.0.lr`.
bool IsFlatOptimizerKey(std::string_view key) {
  if (!key.starts_with(kOptimizer)) return false;
  const std::string_view rest = key.substr(std::min(key.find('.'), key.size()));
  return rest.starts_with(".state.") || rest.starts_with(".param_groups.");
}

bool IsOptimizer(const DcpPath& path) {
  if (path.size() == 1) return IsFlatOptimizerKey(path[0]);
  if (path[0].starts_with(kOptimizer)) return true;
  return path[0] == "app" && path.size() > 2 && path[1].starts_with(kOptimizer);
}

/// The buffer in which FSDP flattens the parameters of a module: `_flat_param`, `flat_param_0`,
/// `flat_param.data`.
bool IsFlatParameter(std::string_view name) {
  if (name == "flat_param.data") return true;
  std::string_view last = name.substr(name.rfind('.') + 1);
  if (last.starts_with('_')) last.remove_prefix(1);
  return last.starts_with("flat_param");
}

uint64_t SizeBytes(const DcpTensor& tensor) {
  if (tensor.dtype == nullptr) return 0;
  return CheckedMultiply(CheckedProduct(tensor.shape).value_or(0), tensor.dtype->element_bytes)
      .value_or(UINT64_MAX);
}

std::string Count(uint64_t count, std::string_view what) {
  return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

/// Subtrees that could be chosen, by path.
std::map<std::string, MappingCandidate> FindCandidates(const DcpMetadata& metadata) {
  std::map<std::string, MappingCandidate> found;
  const auto add = [&](const std::string& path, const DcpTensor& tensor) {
    if (found.size() >= kCandidatesMax && !found.contains(path)) return;
    MappingCandidate& candidate = found[path];
    candidate.path = path;
    ++candidate.tensor_count;
    candidate.size_bytes = CheckedAdd(candidate.size_bytes, SizeBytes(tensor)).value_or(UINT64_MAX);
  };
  for (const DcpTensor& tensor : metadata.tensors) {
    if (IsOptimizer(tensor.path)) continue;
    add("", tensor);
    if (tensor.path.size() > 1) add(tensor.path[0], tensor);
    if (tensor.path.size() > 2 && tensor.path[0] == "app") add(Join({"app", tensor.path[1]}, 0), tensor);
  }
  return found;
}

std::string ListCandidates(const std::map<std::string, MappingCandidate>& candidates) {
  std::string text;
  size_t shown = 0;
  for (const auto& [path, candidate] : candidates) {
    if (++shown > kNamesShownMax) return text + ", ...";
    text += fmt::format("{}{} ({})", text.empty() ? "" : ", ", path.empty() ? "." : Quoted(path),
                        Count(candidate.tensor_count, "tensor"));
  }
  return text;
}

/// The prefix of the chosen subtree; empty for the root.
Result<DcpPath> ChoosePrefix(const DcpMetadata& metadata, std::string_view key_path,
                             const std::map<std::string, MappingCandidate>& candidates,
                             std::string_view folder) {
  if (key_path == ".") return DcpPath{};
  if (key_path.empty()) {
    for (const DcpPath& model : kModelPaths)
      for (const DcpTensor& tensor : metadata.tensors)
        if (HasPrefix(tensor.path, model)) return model;
    return DcpPath{};
  }
  for (const DcpTensor& tensor : metadata.tensors) {
    DcpPath prefix = tensor.path;
    for (prefix.pop_back(); !prefix.empty(); prefix.pop_back()) {
      if (Join(prefix, 0) != key_path) continue;
      if (!IsOptimizer(tensor.path)) return prefix;
      return Fail(ErrorCode::kInvalidArgument, fmt::format("--weights {}: {}; expected one of {}", key_path,
                                                           kNeverServed, ListCandidates(candidates)));
    }
  }
  return Fail(ErrorCode::kInvalidArgument,
              fmt::format("--weights {}: no subtree of {} with tensors; expected one of {}", key_path, folder,
                          ListCandidates(candidates)));
}

/// Lists what is not served: each other subtree as one line, values of the chosen one by name.
class Remainder {
 public:
  explicit Remainder(const DcpPath& prefix) : prefix_(prefix) {}

  void Add(const DcpPath& path, bool is_tensor) {
    // Beside the chosen subtree: up to the component in which they part.
    size_t depth = 0;
    while (depth < prefix_.size() && depth + 1 < path.size() && path[depth] == prefix_[depth]) ++depth;
    const bool is_leaf = depth + 1 >= path.size();
    Group& group =
        groups_[is_leaf ? Join(path, 0) : Join(DcpPath(path.begin(), path.begin() + depth + 1), 0)];
    group.is_leaf = is_leaf;
    group.is_optimizer = IsOptimizer(path);
    ++(is_tensor ? group.tensors : group.values);
  }

  std::vector<LeftOut> Finish() && {
    std::vector<LeftOut> left_out;
    for (const auto& [path, group] : groups_) {
      std::string reason = group.is_leaf ? (group.tensors != 0 ? "tensor" : "object") : Contents(group);
      if (group.is_optimizer) {
        reason += ", the state of an optimizer";
      } else if (group.tensors != 0) {
        reason += ", not the model";
      }
      left_out.push_back({path, std::move(reason)});
    }
    return left_out;
  }

 private:
  struct Group {
    uint64_t tensors = 0, values = 0;
    bool is_leaf = false, is_optimizer = false;
  };
  static std::string Contents(const Group& group) {
    if (group.tensors == 0) return Count(group.values, "object");
    if (group.values == 0) return Count(group.tensors, "tensor");
    return fmt::format("{} and {}", Count(group.tensors, "tensor"), Count(group.values, "object"));
  }

  const DcpPath& prefix_;
  std::map<std::string, Group> groups_;
};

}  // namespace

Result<DcpSubtree> ChooseDcpSubtree(const DcpMetadata& metadata, std::string_view weights_key_path,
                                    std::string_view folder) {
  std::map<std::string, MappingCandidate> candidates = FindCandidates(metadata);
  if (candidates.empty() && !metadata.tensors.empty())
    return Fail(ErrorCode::kUnsupported,
                fmt::format("{}: all {} tensors are {}; expected a model", folder, metadata.tensors.size(),
                            kNeverServed),
                "mount the folder that holds the model: it lies beside this one, or above it");
  WEIGHTFS_TRY(const DcpPath prefix, ChoosePrefix(metadata, weights_key_path, candidates, folder));
  DcpSubtree subtree;
  subtree.path = Join(prefix, 0);
  Remainder remainder(prefix);
  for (size_t i = 0; i < metadata.tensors.size(); ++i) {
    const DcpPath& path = metadata.tensors[i].path;
    const bool is_chosen = prefix.empty() ? !IsOptimizer(path) : HasPrefix(path, prefix);
    if (!is_chosen) {
      remainder.Add(path, true);
      continue;
    }
    subtree.tensors.push_back(i);
    subtree.names.push_back(Join(path, prefix.size()));
  }
  for (const DcpValue& value : metadata.values) remainder.Add(value.path, false);
  if (!candidates.contains(subtree.path)) {
    MappingCandidate& chosen = candidates[subtree.path];
    chosen.path = subtree.path;
    chosen.tensor_count = subtree.tensors.size();
    for (const size_t i : subtree.tensors)
      chosen.size_bytes = CheckedAdd(chosen.size_bytes, SizeBytes(metadata.tensors[i])).value_or(UINT64_MAX);
  }
  subtree.left_out = std::move(remainder).Finish();
  for (auto& [path, candidate] : candidates) {
    candidate.chosen = path == subtree.path;
    subtree.candidates.push_back(std::move(candidate));
  }
  for (const std::string& name : subtree.names) WEIGHTFS_CHECK(RefuseFlatParameter(name, folder));
  return subtree;
}

Status RefuseFlatParameter(std::string_view name, std::string_view folder) {
  if (!IsFlatParameter(name)) return {};
  return Fail(
      ErrorCode::kUnsupported,
      fmt::format("{}: tensor {}: the flat parameters of FSDP's LOCAL_STATE_DICT, which only the module "
                  "that was trained can take apart; expected SHARDED_STATE_DICT or FULL_STATE_DICT",
                  folder, Quoted(name)),
      "load it in the program that wrote it, and save it with "
      "FSDP.state_dict_type(model, StateDictType.SHARDED_STATE_DICT)");
}

}  // namespace weightfs
