#include "convert/source/deepspeed/pickled_values.h"

#include <fmt/format.h>

#include <utility>

#include "convert/base/bytes.h"
#include "convert/source/torch/node_access.h"
#include "convert/source/utf8.h"

namespace weightfs {
namespace {

using pickle::Kind;
using pickle::Node;
using pickle::NodePtr;

constexpr uint64_t kStageMax = 3;
constexpr std::pair<std::string_view, uint64_t> kStageNames[] = {
    {"disabled", 0}, {"optimizer_states", 1}, {"gradients", 2}, {"weights", 3}};

std::unexpected<Error> FailValue(std::string_view key, const Node& value, std::string_view expected) {
  return Fail(ErrorCode::kCorrupt, fmt::format("{}: {}; expected {}", key, DescribeValue(value), expected));
}

/// An enumerator as the number it stands for: `C(2)`, or `getattr(C, "gradients")`.
std::optional<uint64_t> StageOf(const Node& value) {
  if (const std::optional<uint64_t> number = UnsignedValue(value)) return number;
  const NodeCall call = CallOf(value);
  if (call.name == "builtins.getattr" && call.arguments.size() == 2) {
    for (const auto& [name, stage] : kStageNames)
      if (call.arguments[1]->Is(Kind::kString) && call.arguments[1]->text() == name) return stage;
    return std::nullopt;
  }
  if (call.name.ends_with(".ZeroStageEnum") && call.arguments.size() == 1)
    return UnsignedValue(*call.arguments[0]);
  return std::nullopt;
}

Result<Shape> ReadShape(const Node& node, std::string_view what, const Limits& limits) {
  NodePtr sizes = &node;
  if (const NodeCall call = CallOf(node); call.name == "torch.Size" && call.arguments.size() == 1)
    sizes = call.arguments[0];
  if (!sizes->Is(Kind::kTuple) && !sizes->Is(Kind::kList)) return FailValue(what, node, "a torch.Size");
  const NodeItems items = Items(*sizes);
  if (items.size() > limits.tensor_rank_max)
    return Fail(ErrorCode::kLimitExceeded, fmt::format("{}: a shape of {} dimensions; the limit is {}", what,
                                                       items.size(), limits.tensor_rank_max));
  Shape shape;
  shape.reserve(items.size());
  for (NodePtr item : items) {
    const std::optional<uint64_t> size = UnsignedValue(*item);
    if (!size) return FailValue(what, *item, "sizes from 0 on");
    shape.push_back(*size);
  }
  return shape;
}

}  // namespace

NodePtr FindValue(const Node& mapping, std::string_view key) {
  if (!mapping.IsMapping()) return nullptr;
  NodePtr found = mapping.Find(key);
  return found == nullptr || found->Is(Kind::kNone) ? nullptr : found;
}

Result<NodePairs> FindNamed(const Node& mapping, std::string_view key) {
  NodePtr found = FindValue(mapping, key);
  if (found == nullptr) return NodePairs();
  if (!found->IsMapping()) return FailValue(key, *found, "a mapping of names");
  for (const auto [name, value] : found->pairs())
    if (!name->Is(Kind::kString)) return FailValue(key, *name, "names as keys");
  return found->pairs();
}

Result<std::optional<uint64_t>> FindCount(const Node& mapping, std::string_view key) {
  NodePtr found = FindValue(mapping, key);
  if (found == nullptr) return std::nullopt;
  const std::optional<uint64_t> value = UnsignedValue(*found);
  if (!value) return FailValue(key, *found, "a number from 0 on");
  return value;
}

Result<std::vector<uint64_t>> FindCounts(const Node& mapping, std::string_view key) {
  NodePtr found = FindValue(mapping, key);
  std::vector<uint64_t> counts;
  if (found == nullptr) return counts;
  if (const std::optional<uint64_t> value = UnsignedValue(*found)) return std::vector{*value};
  if (!found->Is(Kind::kList) && !found->Is(Kind::kTuple)) return FailValue(key, *found, "a list of numbers");
  for (NodePtr item : Items(*found)) {
    const std::optional<uint64_t> value = UnsignedValue(*item);
    if (!value) return FailValue(key, *item, "numbers from 0 on");
    counts.push_back(*value);
  }
  return counts;
}

bool FindFlag(const Node& mapping, std::string_view key) {
  NodePtr found = FindValue(mapping, key);
  return found != nullptr && found->Is(Kind::kBool) && found->boolean();
}

std::string FindText(const Node& mapping, std::string_view key) {
  NodePtr found = FindValue(mapping, key);
  return found != nullptr && found->Is(Kind::kString) ? std::string(found->text()) : std::string();
}

Result<std::optional<uint64_t>> FindZeroStage(const Node& mapping) {
  NodePtr found = FindValue(mapping, "zero_stage");
  if (found == nullptr) return std::nullopt;
  const std::optional<uint64_t> stage = StageOf(*found);
  if (!stage || *stage > kStageMax) return FailValue("zero_stage", *found, "a ZeRO stage from 0 to 3");
  return stage;
}

Result<ShapeGroup> ReadShapes(const Node& mapping, std::string_view what, const Limits& limits) {
  if (!mapping.IsMapping()) return FailValue(what, mapping, "a mapping of names to shapes");
  if (mapping.pairs().size() > limits.tensors_max)
    return Fail(ErrorCode::kLimitExceeded, fmt::format("{}: {} parameters; the limit is {}", what,
                                                       mapping.pairs().size(), limits.tensors_max));
  ShapeGroup group;
  group.reserve(mapping.pairs().size());
  for (const auto [key, value] : mapping.pairs()) {
    if (!key->Is(Kind::kString)) return FailValue(what, *key, "names as keys");
    const std::string where = fmt::format("{}: {}", what, Quoted(key->text()));
    WEIGHTFS_TRY(Shape shape, ReadShape(*value, where, limits));
    const std::optional<uint64_t> count = CheckedProduct(shape);
    if (!count) return Fail(ErrorCode::kCorrupt, fmt::format("{}: more elements than fit 64 bits", where));
    group.push_back({std::string(key->text()), std::move(shape), *count});
  }
  return group;
}

Result<std::optional<std::vector<ShapeGroup>>> FindShapeGroups(const Node& mapping, std::string_view key,
                                                               const Limits& limits) {
  NodePtr found = FindValue(mapping, key);
  if (found == nullptr) return std::nullopt;
  std::vector<ShapeGroup> groups;
  if (found->IsMapping()) {
    WEIGHTFS_TRY(ShapeGroup group, ReadShapes(*found, key, limits));
    groups.push_back(std::move(group));
    return groups;
  }
  if (!found->Is(Kind::kList) && !found->Is(Kind::kTuple))
    return FailValue(key, *found, "a list of mappings, one for each group");
  uint64_t count = 0;
  for (NodePtr item : Items(*found)) {
    WEIGHTFS_TRY(ShapeGroup group, ReadShapes(*item, key, limits));
    count += group.size();
    if (count > limits.tensors_max)
      return Fail(ErrorCode::kLimitExceeded,
                  fmt::format("{}: more than {} parameters", key, limits.tensors_max));
    groups.push_back(std::move(group));
  }
  return groups;
}

}  // namespace weightfs
