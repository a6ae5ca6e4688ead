/// \file
/// When the file of the source already is the file to serve.
#pragma once

#include <span>

#include "convert/source/checkpoint.h"
#include "convert/target/hf/served_tensor.h"

namespace weightfs {

/// True when a single safetensors file needs no change: `served` are all tensors of `checkpoint`, under their
/// names, in their dtype. Such a file is passed through byte for byte, its metadata and layout included, when
/// the set is one file (`WeightSet::shards.size() == 1`, no index) and the shard plan has one shard.
/// Thread-safe.
bool ServesUnchanged(const Checkpoint& checkpoint, std::span<const ServedTensor> served);

}  // namespace weightfs
