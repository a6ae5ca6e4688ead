/// \file
/// One checkpoint file, whatever its format: recognised by its content, never by its name.
#pragma once

#include "convert/base/result.h"
#include "convert/source/checkpoint.h"
#include "convert/source/torch/torch_object.h"

namespace weightfs {

/// File formats that hold tensors.
enum class FileFormat : uint8_t { kTorchZip, kTorchLegacy, kTorchTar, kSafetensors };

/// The word for `format` in messages, JSON and `weightfs formats`: "torch-zip", "torch-legacy", "torch-tar",
/// "safetensors".
std::string_view FileFormatName(FileFormat format);

/// Recognises the format of `file` in the order torch.load tries: zip at offset 0, tar, legacy pickle;
/// safetensors by its header. Look-alikes have messages of their own.
/// \error kUnsupported  git-lfs pointer, HTML page, TorchScript, GGUF, 7z, gzip, torch.package, torch.export,
/// bare
///                      pickle, ...: the message names the look-alike, the remedy what to do
/// \error kCorrupt      nothing that is known; says what the first bytes are
Result<FileFormat> DetectFileFormat(const FilePtr& file);

/// Reads the metadata of `file`: no tensor byte is read.
/// \error as DetectFileFormat and the reader of the format
Result<Checkpoint> OpenCheckpointFile(const FilePtr& file, const SourceContext& context);

/// Reads the value that a torch file holds, zip or legacy, for formats that give its keys a meaning.
/// \error as DetectFileFormat and the reader of the format; kUnsupported for other formats
Result<TorchObject> OpenTorchObject(const FilePtr& file, const SourceContext& context);

}  // namespace weightfs
