/// \file
/// Reads checkpoints of torch's format before zip: five pickles, then the storages (torch 0.1.2 to 1.3, and
/// later with `_use_new_zipfile_serialization=False`).
#pragma once

#include "convert/base/result.h"
#include "convert/pickle/value.h"
#include "convert/source/checkpoint.h"
#include "convert/source/torch/torch_object.h"

namespace weightfs {

/// True when `root`, the first pickle of a file, is the magic number of the format.
bool IsTorchLegacyMagic(const pickle::Node& root);

/// Reads the value that `file` holds, without saying what it means.
/// \error as ReadTorchLegacy, without those of ReadStateDict
Result<TorchObject> ReadTorchLegacyObject(const FilePtr& file, const SourceContext& context);

/// Reads the metadata of `file`. Follows docs/formats/torch.md, "Legacy files".
/// \error kCorrupt        a section that is not the literal it must be; a list of storages that lacks one
/// that is used,
///                        or has one that is not; a storage that reaches past the end of the file
/// \error kUnsupported    another protocol version
/// \error as pickle::Parse and ReadStateDict
Result<Checkpoint> ReadTorchLegacy(const FilePtr& file, const SourceContext& context);

}  // namespace weightfs
