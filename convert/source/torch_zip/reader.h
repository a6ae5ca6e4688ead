/// \file
/// Reads checkpoints that torch.save wrote as zip archives (torch 1.4 on).
#pragma once

#include "convert/base/result.h"
#include "convert/source/checkpoint.h"
#include "convert/source/torch/torch_object.h"

namespace weightfs {

/// Reads the value that `file`, a zip archive of torch, holds, without saying what it means.
/// \error as ReadTorchZip, without those of ReadStateDict
Result<TorchObject> ReadTorchZipObject(const FilePtr& file, const SourceContext& context);

/// Reads the metadata of `file`, a zip archive of torch. Follows docs/formats/torch.md.
/// \error kUnsupported  archives of other kinds (TorchScript, torch.package, torch.export, .mar, npz, ...)
/// \error as ZipDirectory::Read, pickle::Parse and ReadStateDict
Result<Checkpoint> ReadTorchZip(const FilePtr& file, const SourceContext& context);

}  // namespace weightfs
