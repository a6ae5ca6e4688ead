/// \file
/// What writers of safetensors shards say about them: where in its tensor each shard begins.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "convert/base/limits.h"
#include "convert/base/result.h"
#include "convert/view/tensor_view.h"

namespace weightfs {

/// Offsets of the shards of one file, by tensor name.
using ShardingInfo = std::map<std::string, Shape, std::less<>>;

/// Reads `DCP_SHARDING_INFO` of a safetensors `__metadata__`; nothing when it is not there.
/// \param file  for messages
/// \error kCorrupt  it is not a JSON object of {"NAME": {"saved_offsets": [integers]}}
Result<std::optional<ShardingInfo>> ReadShardingInfo(const std::map<std::string, std::string>& metadata,
                                                     std::string_view file, const Limits& limits);

}  // namespace weightfs
