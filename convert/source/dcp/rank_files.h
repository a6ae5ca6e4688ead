/// \file
/// Files of ranks that torch.save wrote, each with its parts of sharded tensors: FSDP's SHARDED_STATE_DICT
/// without torch.distributed.checkpoint.
///
/// Follows docs/formats/dcp.md, "Files of ranks".
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "convert/base/result.h"
#include "convert/source/checkpoint.h"
#include "convert/source/source_files.h"

namespace weightfs {

/// True for `pytorch_model_fsdp_rank0.bin`, `pytorch_model_fsdp_0_rank0.bin`, `rank0.pt` and their like.
bool IsShardedRankName(std::string_view name);

/// Opens the files of all ranks in `folder` and puts their tensors together. Tensors that are not sharded are
/// those of the first rank.
/// \param entries  what `source.List(folder)` gave
/// \error kNotFound     the file of a rank, or a region that no part holds
/// \error kCorrupt      parts that overlap, or ranks that contradict each other
/// \error kUnsupported  flat parameters of FSDP's LOCAL state
/// \error kAmbiguous    ranks of several models
/// \error as OpenCheckpointFile
Result<Checkpoint> ReadRankFiles(SourceFiles& source, const std::string& folder,
                                 std::span<const SourceEntry> entries, const SourceContext& context);

}  // namespace weightfs
