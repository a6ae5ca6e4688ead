/// \file
/// Random access into an `.lz4` file (docs/formats/lz4.md).
#pragma once

#include <memory>

#include "convert/base/limits.h"
#include "convert/io/block_cache.h"
#include "convert/io/random_access_file.h"

namespace weightfs {

/// True when `file` begins with the lz4 frame magic number or that of a skippable or legacy frame.
Result<bool> LooksLikeLz4(const RandomAccessFile& file);

/// The decompressed content of `file` as a file, one block decoded at a time through `cache`.
///
/// Seekable only when every frame has independent blocks and a content size; the block table is built by
/// walking block headers (4 bytes per block; nothing is decoded at open). Block checksums are verified when
/// present.
/// \error kUnsupported  linked blocks, no content size, a dictionary, or a legacy frame; the message says
/// which and
///                      the remedy is the `lz4` command that re-compresses (`lz4 -BI --content-size`), or
///                      decompress
/// \error kCorrupt      not a well-formed frame; a block that passes the end of file
/// \error kLimitExceeded more blocks than the limits allow
Result<FilePtr> OpenLz4(FilePtr file, std::shared_ptr<BlockCache> cache, const Limits& limits);

}  // namespace weightfs
