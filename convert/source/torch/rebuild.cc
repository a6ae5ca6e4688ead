#include "convert/source/torch/rebuild.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>
#include <vector>

#include "convert/base/bytes.h"
#include "convert/source/torch/dtensor.h"
#include "convert/source/torch/node_access.h"
#include "convert/view/layout.h"

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

/// What is left when all wrappers are taken off: exactly one of these.
struct Inner {
  const TorchTensor* tensor = nullptr;
  std::optional<NodeCall> dense;  ///< A rebuild call, or the name "" and the four items of a tensor's state.
  std::string unsupported;
};

std::string SparseReason(const NodeCall& call) {
  std::string_view layout = "sparse";
  if (!call.arguments.empty()) {
    const NodeCall get_layout = CallOf(*call.arguments[0]);
    if (get_layout.arguments.size() == 1) layout = get_layout.arguments[0]->text();
  }
  return fmt::format("{} tensor; safetensors has no sparse layout", layout.substr(0, 40));
}

std::unexpected<Error> BadCall(std::string_view name, std::string_view expected) {
  return Fail(ErrorCode::kCorrupt, fmt::format("arguments of {} that do not fit; expected {}",
                                               name.empty() ? "a tensor" : name, expected));
}

/// The tensor inside a parameter object, or its own (storage, offset, size, stride).
Result<NodePtr> ParameterData(const NodeCall& call, Inner& inner) {
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

Result<Inner> Unwrap(const Node& node, const StorageSource& storages) {
  NodePtr current = &node;
  NodeCall call = CallOf(node);
  Inner inner;
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
        if (call.arguments.size() != 4 || !call.arguments[0]->Is(Kind::kGlobal) ||
            !call.arguments[2]->Is(Kind::kTuple))
          return BadCall(call.name, "a function, a class, a tuple and a state");
        if (call.arguments[0]->text() == "torch._utils._rebuild_wrapper_subclass") {
          const WrapperSubclass wrapper = InspectWrapperSubclass(call.arguments);
          if (wrapper.local == nullptr) {
            inner.unsupported = wrapper.unsupported_reason;
            return inner;
          }
          current = wrapper.local;
          break;
        }
        call = NodeCall{call.arguments[0]->text(), Items(*call.arguments[2]), nullptr};
        current = nullptr;
        continue;
      }
    }
    call = CallOf(*current);
  }
  return Fail(ErrorCode::kCorrupt, fmt::format("more than {} wrappers around a tensor", kWrappersMax));
}

struct DenseArguments {
  NodePtr storage = nullptr;
  NodePtr offset = nullptr;
  NodePtr size = nullptr;
  NodePtr stride = nullptr;
  NodePtr dtype = nullptr;     ///< v3 only.
  NodePtr metadata = nullptr;  ///< v2 and v3, when there is any.
};

Result<DenseArguments> SplitArguments(const NodeCall& call) {
  const NodeItems items = call.arguments;
  size_t required = 4, most = 4;
  const bool v3 = call.name.ends_with("_v3");
  if (v3) required = 7, most = 8;
  if (call.name.ends_with("_v2")) required = 6, most = 7;
  // Files of torch 0.4 call v2 with as few as the four that matter.
  if (items.size() < required || items.size() > most)
    return BadCall(call.name, fmt::format("{} to {} of them, not {}", required, most, items.size()));
  DenseArguments result{items[0], items[1], items[2], items[3], v3 ? items[6] : nullptr, nullptr};
  if (most > 4 && items.size() == most && !items.back()->Is(Kind::kNone)) result.metadata = items.back();
  return result;
}

/// The numbers of a tuple, a list or a torch.Size.
Result<std::vector<uint64_t>> Extents(const Node& node, std::string_view what, const Limits& limits) {
  NodePtr tuple = &node;
  if (const NodeCall call = CallOf(node); call.name == "torch.Size" && call.arguments.size() == 1)
    tuple = call.arguments[0];
  if (!tuple->Is(Kind::kTuple) && !tuple->Is(Kind::kList))
    return Fail(ErrorCode::kCorrupt,
                fmt::format("a {} that is {}; expected a tuple of numbers", what, DescribeValue(*tuple)));
  const NodeItems items = Items(*tuple);
  if (items.size() > limits.tensor_rank_max)
    return Fail(ErrorCode::kLimitExceeded, fmt::format("a {} of {} dimensions; the limit is {}", what,
                                                       items.size(), limits.tensor_rank_max));
  std::vector<uint64_t> result;
  result.reserve(items.size());
  for (NodePtr item : items) {
    const std::optional<uint64_t> value = UnsignedValue(*item);
    if (!value)
      return Fail(ErrorCode::kCorrupt,
                  fmt::format("a {} with {} in it; expected numbers from 0 on", what, DescribeValue(*item)));
    result.push_back(*value);
  }
  return result;
}

/// Reads torch's `conj` and `neg` marks. `reason` is set when they cannot be applied to `dtype`.
Result<SignFlip> DecodeMetadata(NodePtr metadata, const TorchDType& dtype, std::string& reason) {
  if (metadata == nullptr) return SignFlip::kNone;
  if (!metadata->IsMapping())
    return Fail(ErrorCode::kCorrupt,
                fmt::format("tensor metadata that is a {}; expected a dict", ClassName(*metadata)));
  bool conj = false, neg = false;
  for (const auto [key, value] : MappingPairs(*metadata)) {
    if (value->Is(Kind::kBool) && !value->boolean()) continue;
    const std::string_view name = key->Is(Kind::kString) ? key->text() : std::string_view();
    if (name == "conj" && value->Is(Kind::kBool)) {
      conj = true;
    } else if (name == "neg" && value->Is(Kind::kBool)) {
      neg = true;
    } else {
      reason = fmt::format("tensor with metadata {}; only conj and neg are known", DescribeValue(*key));
    }
  }
  if (conj && dtype.dtype != DType::kC64)
    return Fail(ErrorCode::kCorrupt,
                fmt::format("a {} tensor marked conj; expected a complex one", dtype.name));
  if (neg && dtype.dtype != DType::kC64 && !(dtype.dtype && IsCastable(*dtype.dtype)))
    reason = fmt::format("lazily negated {} tensor; only floating point and complex64 can be", dtype.name);
  if (conj) return neg ? SignFlip::kReal : SignFlip::kImaginary;
  return neg ? SignFlip::kAll : SignFlip::kNone;
}

struct DenseTensor {
  std::shared_ptr<const TorchStorage> storage;
  const TorchDType* dtype = nullptr;
  uint64_t offset = 0;
  std::vector<uint64_t> shape, strides;
  ElementOps ops;
};

Result<RebuiltTensor> MakeView(DenseTensor tensor, const Limits& limits) {
  const TorchDType& dtype = *tensor.dtype;
  RebuiltTensor result;
  if (!dtype.dtype) {
    result.unsupported_reason = fmt::format("{} tensor; safetensors has no such type", dtype.name);
    return result;
  }
  if (tensor.storage->bytes == nullptr) {
    result.unsupported_reason = "meta tensor; it has no data";
    return result;
  }
  if (tensor.shape.size() != tensor.strides.size())
    return Fail(ErrorCode::kCorrupt, fmt::format("{} sizes and {} strides; expected as many",
                                                 tensor.shape.size(), tensor.strides.size()));
  WEIGHTFS_TRY(Layout layout, Layout::Strided(tensor.shape, tensor.strides, tensor.offset,
                                              dtype.element_bytes, tensor.storage->size_bytes, limits));
  if (dtype.dtype == DType::kF4) {
    // torch counts pairs of elements, safetensors counts elements.
    if (tensor.shape.empty()) {
      result.unsupported_reason =
          "float4_e2m1fn_x2 tensor without dimensions; safetensors cannot say its shape";
      return result;
    }
    const std::optional<uint64_t> doubled = CheckedMultiply(tensor.shape.back(), 2);
    if (!doubled) return Fail(ErrorCode::kCorrupt, "a last dimension that does not fit 64 bits");
    tensor.shape.back() = *doubled;
  }
  WEIGHTFS_TRY(result.view, TensorView::Make(tensor.storage->bytes, std::move(layout), *dtype.dtype,
                                             std::move(tensor.shape), tensor.ops));
  result.storage = tensor.storage->label;
  return result;
}

Result<RebuiltTensor> RebuildDense(const NodeCall& call, StorageSource& storages, const Limits& limits) {
  WEIGHTFS_TRY(const DenseArguments arguments, SplitArguments(call));
  if (!arguments.storage->Is(Kind::kPersistent))
    return Fail(ErrorCode::kCorrupt, fmt::format("a tensor whose storage is a {}; expected a persistent id",
                                                 ClassName(*arguments.storage)));
  RebuiltTensor refused;
  DenseTensor tensor;
  WEIGHTFS_TRY(tensor.storage, storages.Find(*arguments.storage));
  tensor.dtype = tensor.storage->storage_class.dtype;
  if (arguments.dtype != nullptr) {
    if (!arguments.dtype->Is(Kind::kGlobal) || !arguments.dtype->text().starts_with("torch."))
      return Fail(ErrorCode::kCorrupt,
                  fmt::format("a dtype that is a {}; expected a torch.dtype", ClassName(*arguments.dtype)));
    tensor.dtype = TorchDTypeFromGlobal(arguments.dtype->text());
    if (tensor.dtype == nullptr) {
      refused.unsupported_reason =
          fmt::format("{} tensor; safetensors has no such type", arguments.dtype->text());
      return refused;
    }
  }
  const std::optional<uint64_t> offset = UnsignedValue(*arguments.offset);
  if (!offset)
    return Fail(ErrorCode::kCorrupt, fmt::format("a storage offset that is {}; expected a number from 0 on",
                                                 DescribeValue(*arguments.offset)));
  tensor.offset = *offset;
  WEIGHTFS_TRY(tensor.shape, Extents(*arguments.size, "shape", limits));
  WEIGHTFS_TRY(tensor.strides, Extents(*arguments.stride, "stride", limits));
  WEIGHTFS_TRY(tensor.ops.sign_flip,
               DecodeMetadata(arguments.metadata, *tensor.dtype, refused.unsupported_reason));
  if (!refused.unsupported_reason.empty()) return refused;
  if (storages.big_endian()) {
    if (arguments.dtype != nullptr && tensor.dtype->swap_bytes > 1) {
      refused.unsupported_reason =
          fmt::format("{} tensor in an untyped storage of a big-endian file; its byte order is ambiguous",
                      tensor.dtype->name);
      return refused;
    }
    tensor.ops.swap_bytes = tensor.dtype->swap_bytes;
  }
  return MakeView(std::move(tensor), limits);
}

}  // namespace

bool IsTensor(const pickle::Node& node, const StorageSource& storages) {
  if (node.Is(Kind::kPersistent)) return storages.FindTensor(node) != nullptr;
  std::string_view reason;
  return FormOf(CallOf(node).name, &reason) != Form::kNotTensor;
}

uint64_t StatedSizeBytes(const pickle::Node& node, const StorageSource& storages) {
  constexpr uint64_t kMost = UINT64_MAX;
  Result<Inner> inner = Unwrap(node, storages);
  if (!inner) return 0;
  const TorchDType* dtype = nullptr;
  std::vector<uint64_t> shape;
  if (inner->tensor != nullptr) {
    dtype = inner->tensor->storage->storage_class.dtype;
    shape = inner->tensor->shape;
  } else if (inner->dense) {
    Result<DenseArguments> arguments = SplitArguments(*inner->dense);
    if (!arguments) return 0;
    Result<std::vector<uint64_t>> extents = Extents(*arguments->size, "shape", Limits{});
    if (!extents) return 0;
    shape = *std::move(extents);
    if (arguments->dtype != nullptr) {
      dtype = TorchDTypeFromGlobal(arguments->dtype->text());
    } else if (arguments->storage->Is(Kind::kPersistent)) {
      for (NodePtr item : Items(PersistentId(*arguments->storage)))
        if (auto known = StorageClassFromGlobal(item->text()); known && dtype == nullptr)
          dtype = known->dtype;
    }
  }
  if (dtype == nullptr) return 0;
  const std::optional<uint64_t> count = CheckedProduct(shape);
  return count ? CheckedMultiply(*count, dtype->element_bytes).value_or(kMost) : kMost;
}

Result<RebuiltTensor> RebuildTensor(const pickle::Node& node, StorageSource& storages, const Limits& limits) {
  WEIGHTFS_TRY(Inner inner, Unwrap(node, storages));
  if (inner.dense) return RebuildDense(*inner.dense, storages, limits);
  if (inner.tensor != nullptr) {
    const TorchTensor& tensor = *inner.tensor;
    return MakeView({tensor.storage,
                     tensor.storage->storage_class.dtype,
                     tensor.offset,
                     tensor.shape,
                     tensor.strides,
                     {}},
                    limits);
  }
  RebuiltTensor result;
  result.unsupported_reason = std::move(inner.unsupported);
  return result;
}

}  // namespace weightfs
