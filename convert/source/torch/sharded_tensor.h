/// \file
/// Tensors of which a file of one rank holds parts: ShardedTensor, and DTensor over several ranks.
///
/// Follows docs/formats/dcp.md, "Files of ranks".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "convert/base/limits.h"
#include "convert/base/result.h"
#include "convert/pickle/value.h"
#include "convert/source/torch/storage.h"
#include "convert/view/tensor_view.h"

namespace weightfs {

/// One part that a rank holds.
struct TensorPart {
  Shape offsets;  ///< Of its first element; empty when `shard_axis` says where it is.
  TensorView view;
  std::string storage;
};

/// The parts that one file holds of one tensor.
struct ShardedTensor {
  Shape shape;  ///< Of the whole.
  std::vector<TensorPart> parts;
  /// A DTensor cut along this axis, as torch.chunk cuts, by its ranks in order: one part, of the rank whose
  /// file it is.
  std::optional<size_t> shard_axis;
  std::string unsupported_reason;  ///< Names the kind; set instead of parts.
};

/// Reads `node` when it is such a tensor; nothing when it is something else.
/// \error kCorrupt  values of other types, or as RebuildTensor
Result<std::optional<ShardedTensor>> ReadShardedTensor(const pickle::Node& node, StorageSource& storages,
                                                       const Limits& limits);

}  // namespace weightfs
