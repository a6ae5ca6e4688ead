/// \file
/// Reads checkpoints that torch.distributed.checkpoint wrote: folders whose tensors lie in parts.
///
/// Follows docs/formats/dcp.md.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "convert/base/result.h"
#include "convert/source/checkpoint.h"
#include "convert/source/source_files.h"

namespace weightfs {

/// How a folder says where the parts are.
enum class DcpForm : uint8_t {
  kMetadata,      ///< `.metadata`, for all ranks.
  kRankMetadata,  ///< `__RANK.metadata`, each for one rank: saved without collectives.
  kShards,        ///< `shard-RANK-model-N-of-M.safetensors`, which say it themselves.
  kRankFiles,     ///< torch.save files of ranks (rank_files.h).
  kUnfinished,    ///< Payload files alone: what is written last is not there.
};

/// The form of a folder, by the names in it; nothing when it is no such checkpoint. Thread-safe.
std::optional<DcpForm> FindDcpForm(std::span<const SourceEntry> entries);

/// Reads the metadata of the checkpoint in `folder`: no element is read. Tensors of the subtree that is the
/// model (or that `context.weights_key_path` names), in the order of the metadata; `file` is the payload file
/// of the first part of each, relative to the root of `source`.
/// \param folder  relative to the root of `source`
/// \error kNotFound     no metadata (an unfinished save), the metadata of a rank or a payload file is
/// missing, a
///                      region of a tensor that no part holds: the message names tensor, region and file
/// \error kCorrupt      parts that overlap, or as ReadDcpMetadata and ReadDcpPayloads
/// \error kUnsupported, kInvalidArgument  as ChooseDcpSubtree, ReadDcpMetadata
/// \error kLimitExceeded, kIo, kStale
Result<Checkpoint> ReadDcp(SourceFiles& source, const std::string& folder, const SourceContext& context);

}  // namespace weightfs
