/// \file
/// Folders of safetensors files that hold parts of tensors, as torch's HuggingFaceStorageWriter leaves them
/// when it does not consolidate.
///
/// Follows docs/formats/dcp.md, "Shards in safetensors files".
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "convert/base/result.h"
#include "convert/source/checkpoint.h"
#include "convert/source/source_files.h"

namespace weightfs {

/// True for `shard-RANK-model-N-of-M.safetensors`.
bool IsDcpShardName(std::string_view name);

/// Reads the headers of the shards of `folder` and puts their tensors together. What the tensors' shapes are
/// follows from the parts, so a rank whose file is absent is noticed by its number.
/// \param entries  what `source.List(folder)` gave
/// \error kNotFound  the file of a rank, or a region that no part holds; kCorrupt: parts that overlap or
/// differ in
///                   dtype; as ReadSafetensors, ReadShardingInfo
Result<Checkpoint> ReadDcpShards(SourceFiles& source, const std::string& folder,
                                 std::span<const SourceEntry> entries, const SourceContext& context);

}  // namespace weightfs
