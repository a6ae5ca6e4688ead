/// \file
/// Reads checkpoints of torch 0.1.1, which are tar archives.
#pragma once

#include <vector>

#include "convert/base/result.h"
#include "convert/source/checkpoint.h"
#include "convert/source/torch_tar/tar_directory.h"

namespace weightfs {

/// Members that are looked at: torch's archives have four.
inline constexpr size_t kTorchTarMembersMax = 64;

/// True when the members are those of a torch checkpoint: `storages`, `tensors` and `pickle` are among them.
bool AreTorchTarMembers(const std::vector<TarMember>& members);

/// Reads the metadata of `file`. Follows docs/formats/torch.md, "Tar files".
/// \error kCorrupt        a member that is missing, there twice or no ordinary file; a storage or tensor with
/// numbers that
///                        do not fit
/// \error as ReadTarMembers, pickle::Parse and ReadStateDict
Result<Checkpoint> ReadTorchTar(const FilePtr& file, const SourceContext& context);

}  // namespace weightfs
