#include "convert/source/torch/rebuild.h"

#include <fmt/format.h>

#include <utility>
#include <vector>

#include "convert/base/bytes.h"
#include "convert/source/torch/node_access.h"
#include "convert/source/torch/tensor_form.h"
#include "convert/view/layout.h"

namespace weightfs {
namespace {

using pickle::Kind;
using pickle::Node;
using pickle::NodePtr;

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

uint64_t StatedSizeBytes(const pickle::Node& node, const StorageSource& storages) {
  constexpr uint64_t kMost = UINT64_MAX;
  const Result<InnerTensor> inner = UnwrapTensor(node, storages);
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
  WEIGHTFS_TRY(InnerTensor inner, UnwrapTensor(node, storages));
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
