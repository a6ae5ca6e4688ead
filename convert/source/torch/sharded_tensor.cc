#include "convert/source/torch/sharded_tensor.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "convert/base/bytes.h"
#include "convert/source/torch/node_access.h"
#include "convert/source/torch/rebuild.h"

namespace weightfs {
namespace {

using pickle::Kind;
using pickle::Node;
using pickle::NodePtr;

std::string_view LastName(std::string_view dotted) { return dotted.substr(dotted.rfind('.') + 1); }

/// The class and the state of a tensor subclass, however it was pickled.
struct Subclass {
  std::string_view name;
  NodePtr state = nullptr;
  NodeItems shell;  ///< (class, dtype, size, ...) of a wrapper subclass; empty for plain objects.
};

Subclass SubclassOf(const Node& node) {
  const NodeCall call = CallOf(node);
  if (!LastName(call.name).starts_with("_rebuild_from_type")) return {call.name, call.state, {}};
  if (call.arguments.size() != 4) return {};
  return {call.arguments[1]->text(), call.arguments[3], Items(*call.arguments[2])};
}

Result<Shape> Numbers(NodePtr node, std::string_view what, const Limits& limits) {
  if (node != nullptr && LastName(CallOf(*node).name) == "Size" && CallOf(*node).arguments.size() == 1)
    node = CallOf(*node).arguments[0];
  const NodeItems items = node == nullptr ? NodeItems() : Items(*node);
  if (node == nullptr || !(node->Is(Kind::kTuple) || node->Is(Kind::kList)) ||
      items.size() > limits.tensor_rank_max)
    return Fail(
        ErrorCode::kCorrupt,
        fmt::format("{} of a sharded tensor that are {}; expected a list of at most {} "
                    "numbers",
                    what, node == nullptr ? "missing" : DescribeValue(*node), limits.tensor_rank_max));
  Shape shape;
  for (NodePtr item : items) {
    const std::optional<uint64_t> number = UnsignedValue(*item);
    if (!number)
      return Fail(ErrorCode::kCorrupt,
                  fmt::format("{} of a sharded tensor with {} in them; expected numbers from 0 "
                              "on",
                              what, DescribeValue(*item)));
    shape.push_back(*number);
  }
  return shape;
}

/// Rebuilds the plain tensor of a part.
Status AddPart(NodePtr tensor, Shape offsets, StorageSource& storages, const Limits& limits,
               ShardedTensor& sharded) {
  if (tensor == nullptr) return Fail(ErrorCode::kCorrupt, "a shard without a tensor; expected one");
  WEIGHTFS_TRY(RebuiltTensor part, RebuildTensor(*tensor, storages, limits));
  if (!part.view) {
    sharded.unsupported_reason = std::move(part.unsupported_reason);
    return {};
  }
  sharded.parts.push_back({std::move(offsets), *std::move(part.view), std::move(part.storage)});
  return {};
}

/// The state is (local shards, metadata, ...).
Result<ShardedTensor> ReadShards(NodePtr state, StorageSource& storages, const Limits& limits) {
  const NodeItems items = state == nullptr ? NodeItems() : Items(*state);
  if (items.size() < 2 || !items[0]->Is(Kind::kList))
    return Fail(ErrorCode::kCorrupt, "the state of a ShardedTensor; expected its shards and their metadata");
  ShardedTensor sharded;
  WEIGHTFS_TRY(sharded.shape, Numbers(StateAttribute(CallOf(*items[1]).state, "size"), "sizes", limits));
  for (NodePtr shard : Items(*items[0])) {
    NodePtr attributes = CallOf(*shard).state;
    NodePtr metadata = StateAttribute(attributes, "metadata");
    if (metadata == nullptr)
      return Fail(ErrorCode::kCorrupt, "a shard without metadata; expected its offsets");
    WEIGHTFS_TRY(Shape offsets,
                 Numbers(StateAttribute(CallOf(*metadata).state, "shard_offsets"), "offsets", limits));
    WEIGHTFS_CHECK(
        AddPart(StateAttribute(attributes, "tensor"), std::move(offsets), storages, limits, sharded));
    if (!sharded.unsupported_reason.empty()) break;
  }
  return sharded;
}

Result<std::optional<ShardedTensor>> ReadDTensor(const Subclass& subclass, StorageSource& storages,
                                                 const Limits& limits) {
  ShardedTensor sharded;
  NodePtr spec = StateAttribute(subclass.state, "_spec");
  NodePtr placements = spec == nullptr ? nullptr : StateAttribute(CallOf(*spec).state, "placements");
  if (placements == nullptr || subclass.shell.size() < 3) return std::nullopt;
  const NodeItems items = Items(*placements);
  const NodeCall placement = items.size() == 1 ? CallOf(*items[0]) : NodeCall{};
  if (LastName(placement.name) != "Shard") {
    // Replicated ones are plain tensors; what else there is needs the mesh.
    const bool is_sharded =
        std::ranges::any_of(items, [](NodePtr item) { return LastName(CallOf(*item).name) != "Replicate"; });
    if (!is_sharded) return std::nullopt;
    sharded.unsupported_reason =
        "DTensor over a mesh of several dimensions; its file holds the part of one rank";
    return sharded;
  }
  NodePtr axis = StateAttribute(placement.state, "dim");
  WEIGHTFS_TRY(sharded.shape, Numbers(subclass.shell[2], "sizes", limits));
  const std::optional<uint64_t> number = axis == nullptr ? std::nullopt : UnsignedValue(*axis);
  if (!number || *number >= sharded.shape.size())
    return Fail(ErrorCode::kCorrupt,
                fmt::format("a DTensor that is cut along axis {}; expected one below {}",
                            axis == nullptr ? "?" : DescribeValue(*axis), sharded.shape.size()));
  sharded.shard_axis = number;
  WEIGHTFS_CHECK(AddPart(StateAttribute(subclass.state, "_local_tensor"), {}, storages, limits, sharded));
  return sharded;
}

}  // namespace

Result<std::optional<ShardedTensor>> ReadShardedTensor(const Node& node, StorageSource& storages,
                                                       const Limits& limits) {
  const Subclass subclass = SubclassOf(node);
  if (!subclass.name.starts_with("torch.")) return std::nullopt;
  if (LastName(subclass.name) == "ShardedTensor") {
    WEIGHTFS_TRY(ShardedTensor sharded, ReadShards(subclass.state, storages, limits));
    return sharded;
  }
  if (LastName(subclass.name) == "DTensor") return ReadDTensor(subclass, storages, limits);
  return std::nullopt;
}

}  // namespace weightfs
