/// \file
/// The index of a sharded weight set: which tensor is in which file.
///
/// Follows docs/formats/huggingface.md, "Shards".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "convert/base/limits.h"
#include "convert/base/result.h"

namespace weightfs {

/// One line of a weight map.
struct IndexedTensor {
  std::string name;
  uint32_t shard = 0;  ///< Index into `WeightIndex::shards`.
};

/// A value.
struct WeightIndex {
  std::vector<std::string> shards;     ///< File names, sorted: shards in their order.
  std::vector<IndexedTensor> tensors;  ///< In the order of the weight map.
};

/// Reads the `weight_map` of an index; what else is in it does not matter. Thread-safe.
/// \param file  for messages
/// \error kCorrupt        not JSON, no `weight_map` object, a value that is not the name of a file in the
/// same
///                        folder, or a key that occurs twice
/// \error kLimitExceeded  larger or deeper than the limits, or too many tensors
Result<WeightIndex> ParseWeightIndex(std::string_view text, std::string_view file, const Limits& limits);

}  // namespace weightfs
