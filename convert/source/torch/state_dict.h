/// \file
/// From the root of a pickled checkpoint to a `Checkpoint`: the mapping is chosen, flattened, its tensors
/// rebuilt.
#pragma once

#include <cstdint>
#include <string>

#include "convert/base/result.h"
#include "convert/pickle/value.h"
#include "convert/source/checkpoint.h"
#include "convert/source/torch/storage.h"

namespace weightfs {

/// Reads the state dict below `root`. Follows docs/formats/torch.md, "Which mapping is the state dict".
///
/// Values that share a mapping are expanded at every place it has, as `state_dict()` would; what that may
/// cost is bounded by `pickle_bytes`, so that a small file cannot describe millions of tensors.
/// \param pickle_bytes  size of the pickle that `root` comes from
/// \return format and metadata_bytes are left to the caller
/// \error kUnsupported, kAmbiguous, kInvalidArgument  as ChooseStateDict; a tensor under a key that is no
/// name
/// \error kCorrupt        a mapping that contains itself, two tensors of one name, or as RebuildTensor
/// \error kLimitExceeded  more entries or longer names than `pickle_bytes` allows, or as RebuildTensor
Result<Checkpoint> ReadStateDict(const pickle::Node& root, uint64_t pickle_bytes, StorageSource& storages,
                                 const SourceContext& context);

}  // namespace weightfs
