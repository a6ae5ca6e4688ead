/// \file
/// Reads the header of a safetensors file.
///
/// Follows docs/formats/safetensors.md, "Reading". Every rule of the reference reader is checked, and a name
/// that occurs twice is refused, which the reference reader lets pass when both entries give the same bytes.
#pragma once

#include "convert/base/bytes.h"
#include "convert/base/limits.h"
#include "convert/base/result.h"
#include "convert/io/random_access_file.h"
#include "convert/source/checkpoint.h"

namespace weightfs {

/// Reads the header of `file`; no tensor byte is read. Tensors come in file order (by offset), `file` is the
/// name of `file`, `format` is "safetensors". Costs about the header's bytes plus what it returns.
/// Thread-safe.
/// \error kCorrupt        a rule of the format is broken: the message names the file, the tensor, what was
/// found and
///                        what was expected (for JSON: the byte offset in the file)
/// \error kLimitExceeded  the header, the number of tensors or a rank is above its limit
/// \error kIo, kStale     as RandomAccessFile::ReadAt
Result<Checkpoint> ReadSafetensors(const FilePtr& file, const SourceContext& context);

/// The bytes of `file` that hold the JSON header, padding included; tensor data starts at `end`.
/// \error kCorrupt        the file ends before its header does
/// \error kLimitExceeded  the header is larger than `limits.emitted_header_bytes_max`
/// \error kIo, kStale     as RandomAccessFile::ReadAt
Result<ByteRange> SafetensorsHeaderRange(const RandomAccessFile& file, const Limits& limits);

}  // namespace weightfs
