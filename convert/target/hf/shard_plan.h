/// \file
/// Which tensors go into which weight file, and the index of the files.
///
/// Follows docs/formats/huggingface.md, "Shards": the split that huggingface_hub makes of tensors that each
/// own their bytes, as every name of a view does.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "convert/base/result.h"
#include "convert/target/hf/served_tensor.h"

namespace weightfs {

/// One weight file.
struct Shard {
  std::string
      file_name;  ///< "model-00001-of-00003.safetensors", or "model.safetensors" when it is the only one.
  std::vector<size_t> tensors;  ///< Indices into the given tensors, in the order given.
  uint64_t size_bytes = 0;      ///< Of the tensors, without the header.
};

/// All weight files of one (stem, variant).
struct ShardPlan {
  std::vector<Shard> shards;  ///< At least one.
  std::string index_name;     ///< "model.safetensors.index.json"; empty with one shard.
  std::string index_json;     ///< The text of the index; empty with one shard.
};

/// Splits `tensors`, in the order given. Without a limit there is one file, without an index. Thread-safe.
/// \param max_shard_bytes  the most tensor bytes of a shard; a tensor larger than this gets a shard of its
/// own
/// \error kLimitExceeded  more than 99,999 shards
Result<ShardPlan> PlanShards(std::span<const ServedTensor> tensors, std::string_view stem,
                             std::string_view variant, std::optional<uint64_t> max_shard_bytes);

/// A size as `--max-shard-size` and `--cache` take it: a number, with a fraction if it has a unit, and a
/// unit: KB, MB, GB, TB (powers of 1000, as huggingface_hub reads them), KiB, MiB, GiB, TiB (powers of 1024),
/// B or none (bytes). Case does not matter; spaces around the number are ignored. "5GB" is 5,000,000,000.
/// \error kInvalidArgument  not of that form, zero, or more than 63 bits
Result<uint64_t> ParseSize(std::string_view text);

}  // namespace weightfs
