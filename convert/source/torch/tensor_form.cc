#include "convert/source/torch/tensor_form.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "convert/source/torch/dtensor.h"

namespace weightfs {
namespace {

using pickle::Kind;
using pickle::Node;
using pickle::NodePtr;

/// Wrappers around one tensor (a parameter of a subclass of ...): real files have two.
constexpr int kWrappersMax = 64;

enum class Form : uint8_t {
  kNotTensor,
  kDense,          ///< (storage, offset, size, stride, ...)
  kFirstArgument,  ///< The tensor is the first argument.
  kFromType,       ///< (function, class, arguments, state): a tensor subclass.
  kParameter,      ///< A class whose data is its first argument or in its state.
  kTensorObject,   ///< A tensor class with the state (storage, offset, size, stride).
  kUnsupported,
};

struct KnownCall {
  std::string_view name;
  Form form;
  std::string_view reason;
};

constexpr KnownCall kKnownCalls[] = {
    {"torch._utils._rebuild_tensor_v2", Form::kDense, {}},
    {"torch._utils._rebuild_tensor_v3", Form::kDense, {}},
    {"torch._utils._rebuild_tensor", Form::kDense, {}},
    {"torch._utils._rebuild_parameter", Form::kFirstArgument, {}},
    {"torch._utils._rebuild_parameter_with_state", Form::kFirstArgument, {}},
    {"torch._utils._rebuild_device_tensor_from_cpu_tensor", Form::kFirstArgument, {}},
    {"torch._tensor._rebuild_from_type_v2", Form::kFromType, {}},
    {"torch._tensor._rebuild_from_type", Form::kFromType, {}},
    {"torch.tensor._rebuild_from_type_v2", Form::kFromType, {}},
    {"torch.tensor._rebuild_from_type", Form::kFromType, {}},
    {"torch.nn.parameter.Parameter", Form::kParameter, {}},
    {"torch.nn.Parameter", Form::kParameter, {}},
    {"torch.nn.parameter.Buffer", Form::kParameter, {}},
    {"torch.nn.Buffer", Form::kParameter, {}},
    {"torch.autograd.variable.Variable", Form::kParameter, {}},
    {"torch.autograd.Variable", Form::kParameter, {}},
    {"torch._utils._rebuild_qtensor", Form::kUnsupported,
     "quantized tensor; safetensors has no quantized types"},
    {"torch._utils._rebuild_nested_tensor", Form::kUnsupported,
     "nested tensor; safetensors has only dense tensors"},
    {"torch._utils._rebuild_meta_tensor_no_storage", Form::kUnsupported, "meta tensor; it has no data"},
    {"torch._utils._rebuild_wrapper_subclass", Form::kUnsupported,
     "tensor subclass without data of its own; safetensors has only plain tensors"},
    {"torch._utils._rebuild_device_tensor_from_numpy", Form::kUnsupported,
     "device tensor saved as a numpy array inside the pickle; save it from the CPU"},
    {"torch._utils._rebuild_xla_tensor", Form::kUnsupported,
     "XLA tensor saved as a numpy array inside the pickle; save it from the CPU"},
    {"torch.nn.parameter.UninitializedParameter", Form::kUnsupported,
     "uninitialized parameter; it has no data"},
    {"torch.nn.parameter.UninitializedBuffer", Form::kUnsupported, "uninitialized buffer; it has no data"},
};

constexpr std::string_view kSparse = "torch._utils._rebuild_sparse_tensor";

Form FormOf(std::string_view name, std::string_view* reason) {
  const auto* known = std::ranges::find(kKnownCalls, name, &KnownCall::name);
  if (known != std::end(kKnownCalls)) {
    *reason = known->reason;
    return known->form;
  }
  if (name == kSparse) return Form::kUnsupported;
  if (name.ends_with(".ShardedTensor") && name.starts_with("torch.")) {
    *reason = "ShardedTensor; the file holds the shards of one rank, not the tensor";
    return Form::kUnsupported;
  }
  if (name.starts_with("torch._utils._rebuild_")) {
    *reason = "tensor of an unknown kind";
    return Form::kUnsupported;
  }
  if (!name.starts_with("torch.") || !name.ends_with("Tensor")) return Form::kNotTensor;
  const std::string_view module = name.substr(0, name.rfind('.'));
  if (module == "torch" || module == "torch.cuda" || module == "torch._tensor" || module == "torch.tensor")
    return Form::kTensorObject;
  *reason = "sparse tensor; safetensors has no sparse layout";
  return module == "torch.sparse" || module == "torch.cuda.sparse" ? Form::kUnsupported : Form::kNotTensor;
}

std::string SparseReason(const NodeCall& call) {
  std::string_view layout = "sparse";
  if (!call.arguments.empty()) {
    const NodeCall get_layout = CallOf(*call.arguments[0]);
    if (get_layout.arguments.size() == 1) layout = get_layout.arguments[0]->text();
  }
  return fmt::format("{} tensor; safetensors has no sparse layout", layout.substr(0, 40));
}

/// The tensor inside a parameter object, or its own (storage, offset, size, stride).
Result<NodePtr> ParameterData(const NodeCall& call, InnerTensor& inner) {
  if (call.state != nullptr && call.state->Is(Kind::kTuple)) {
    const NodeItems state = Items(*call.state);
    if (state.size() == 4) {
      inner.dense = NodeCall{{}, state, nullptr};
      return nullptr;
    }
    if (state.size() == 5) return state[0];
  }
  if (call.arguments.empty()) return BadCall(call.name, "a tensor");
  return call.arguments[0];
}

/// The next thing to look at inside a tensor subclass: a node, or nullptr and `call` replaced by the call
/// inside, or why it is not served.
Result<NodePtr> FromType(NodeCall& call, InnerTensor& inner) {
  const NodeItems arguments = call.arguments;
  if (arguments.size() != 4 || !arguments[0]->Is(Kind::kGlobal) || !arguments[2]->Is(Kind::kTuple))
    return BadCall(call.name, "a function, a class, a tuple and a state");
  if (arguments[0]->text() == "torch._utils._rebuild_wrapper_subclass") {
    WrapperSubclass wrapper = InspectWrapperSubclass(arguments);
    inner.unsupported = std::move(wrapper.unsupported_reason);
    return wrapper.local;
  }
  call = NodeCall{arguments[0]->text(), Items(*arguments[2]), nullptr};
  return nullptr;
}

}  // namespace

std::unexpected<Error> BadCall(std::string_view name, std::string_view expected) {
  return Fail(ErrorCode::kCorrupt, fmt::format("arguments of {} that do not fit; expected {}",
                                               name.empty() ? "a tensor" : name, expected));
}

bool IsTensor(const Node& node, const StorageSource& storages) {
  if (node.Is(Kind::kPersistent)) return storages.FindTensor(node) != nullptr;
  std::string_view reason;
  return FormOf(CallOf(node).name, &reason) != Form::kNotTensor;
}

Result<InnerTensor> UnwrapTensor(const Node& node, const StorageSource& storages) {
  NodePtr current = &node;
  NodeCall call = CallOf(node);
  InnerTensor inner;
  for (int wrappers = 0; wrappers < kWrappersMax; ++wrappers) {
    if (current != nullptr && current->Is(Kind::kPersistent)) {
      inner.tensor = storages.FindTensor(*current);
      if (inner.tensor != nullptr) return inner;
    }
    std::string_view reason;
    switch (FormOf(call.name, &reason)) {
      case Form::kNotTensor:
        return Fail(ErrorCode::kCorrupt, fmt::format("a {} where a tensor is needed",
                                                     current != nullptr ? ClassName(*current) : call.name));
      case Form::kUnsupported:
        inner.unsupported = call.name == kSparse ? SparseReason(call) : std::string(reason);
        return inner;
      case Form::kDense:
        inner.dense = call;
        return inner;
      case Form::kTensorObject:
        if (call.state == nullptr || Items(*call.state).size() != 4)
          return BadCall(call.name, "a state of (storage, offset, size, stride)");
        inner.dense = NodeCall{{}, Items(*call.state), nullptr};
        return inner;
      case Form::kFirstArgument:
        if (call.arguments.empty()) return BadCall(call.name, "a tensor");
        current = call.arguments[0];
        break;
      case Form::kParameter: {
        WEIGHTFS_TRY(current, ParameterData(call, inner));
        if (current == nullptr) return inner;
        break;
      }
      case Form::kFromType: {
        WEIGHTFS_TRY(current, FromType(call, inner));
        if (!inner.unsupported.empty()) return inner;
        if (current == nullptr) continue;
        break;
      }
    }
    call = CallOf(*current);
  }
  return Fail(ErrorCode::kCorrupt, fmt::format("more than {} wrappers around a tensor", kWrappersMax));
}

}  // namespace weightfs
