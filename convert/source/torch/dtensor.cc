#include "convert/source/torch/dtensor.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

namespace weightfs {
namespace {

using pickle::Kind;
using pickle::Node;
using pickle::NodePtr;

/// The numbers behind a tuple or a torch.Size.
NodeItems Numbers(const Node& node) {
  const NodeCall call = CallOf(node);
  return call.name == "torch.Size" && call.arguments.size() == 1 ? Items(*call.arguments[0]) : Items(node);
}

/// True when the plain tensor `local` has the sizes `global`.
bool HasSizes(const Node& local, const Node& global) {
  const NodeCall call = CallOf(local);
  if (!call.name.starts_with("torch._utils._rebuild_tensor_v") || call.arguments.size() < 4) return false;
  const NodeItems left = Numbers(*call.arguments[2]), right = Numbers(global);
  return std::ranges::equal(left, right, [](NodePtr a, NodePtr b) {
    return UnsignedValue(*a).has_value() && UnsignedValue(*a) == UnsignedValue(*b);
  });
}

bool IsDTensorClass(std::string_view name) {
  return name == "torch.distributed.tensor.DTensor" || name == "torch.distributed._tensor.api.DTensor" ||
         name == "torch.distributed.tensor._api.DTensor" || name == "torch.distributed._tensor.DTensor";
}

}  // namespace

WrapperSubclass InspectWrapperSubclass(NodeItems arguments) {
  const std::string_view name = arguments[1]->text();
  WrapperSubclass result;
  if (!IsDTensorClass(name)) {
    result.unsupported_reason =
        fmt::format("{}; a tensor subclass without data of its own, safetensors has only plain tensors",
                    name.substr(0, 120));
    return result;
  }
  result.unsupported_reason = "DTensor; the file holds one rank's part of it, not the tensor";
  NodePtr local = StateAttribute(arguments[3], "_local_tensor");
  NodePtr spec = StateAttribute(arguments[3], "_spec");
  const NodeItems shell = Items(*arguments[2]);
  if (local == nullptr || spec == nullptr || shell.size() < 3) return result;
  NodePtr placements = StateAttribute(CallOf(*spec).state, "placements");
  if (placements == nullptr || Items(*placements).empty()) return result;
  for (NodePtr placement : Items(*placements)) {
    const std::string_view kind = CallOf(*placement).name;
    const std::string_view last = kind.substr(kind.rfind('.') + 1);
    if (last != "Replicate" && last != "Shard" && last != "_StridedShard") return result;
  }
  if (!HasSizes(*local, *shell[2])) return result;
  return {local, {}};
}

}  // namespace weightfs
