/// \file
/// From the value that a pickle describes to a tensor view: torch's rebuild functions, none of them called.
///
/// Follows docs/formats/torch.md, "Tensors".
#pragma once

#include <optional>
#include <string>

#include "convert/base/limits.h"
#include "convert/base/result.h"
#include "convert/pickle/value.h"
#include "convert/source/torch/storage.h"
#include "convert/view/tensor_view.h"

namespace weightfs {

/// A tensor of a pickle: a view, or why there cannot be one.
struct RebuiltTensor {
  std::optional<TensorView> view;
  std::string storage;             ///< Label of its storage; empty without a view.
  std::string unsupported_reason;  ///< Names the type; empty with a view.
};

/// The bytes of the tensor as the pickle states them, for listings; 0 when it does not say. Saturates.
uint64_t StatedSizeBytes(const pickle::Node& node, const StorageSource& storages);

/// Rebuilds a node for which `IsTensor` holds.
/// \error kCorrupt        arguments of wrong number or type, a view outside its storage, a storage that is
/// not there
/// \error kUnsupported    an unknown storage class
/// \error kLimitExceeded  rank, or storage repeated beyond the limits
Result<RebuiltTensor> RebuildTensor(const pickle::Node& node, StorageSource& storages, const Limits& limits);

}  // namespace weightfs
