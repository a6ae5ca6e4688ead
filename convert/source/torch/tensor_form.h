/// \file
/// The forms in which pickles hold tensors, and the one dense tensor inside them.
///
/// Follows docs/formats/torch.md, "Tensors".
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "convert/base/result.h"
#include "convert/pickle/value.h"
#include "convert/source/torch/node_access.h"
#include "convert/source/torch/storage.h"

namespace weightfs {

/// What is left of a tensor value when all wrappers are taken off: exactly one of these.
struct InnerTensor {
  const TorchTensor* tensor = nullptr;
  std::optional<NodeCall> dense;  ///< A rebuild call, or the name "" and the four items of a tensor's state.
  std::string unsupported;        ///< Names the kind of tensor and why it is not served.
};

/// True when `node` is something that torch would make a tensor of, kinds that are not served included.
bool IsTensor(const pickle::Node& node, const StorageSource& storages);

/// Takes the wrappers off: parameters, subclasses, old tensor objects.
/// \error kCorrupt  arguments that do not fit, or no tensor inside
Result<InnerTensor> UnwrapTensor(const pickle::Node& node, const StorageSource& storages);

/// A kCorrupt failure: the arguments of the call `name` are not `expected`.
std::unexpected<Error> BadCall(std::string_view name, std::string_view expected);

}  // namespace weightfs
