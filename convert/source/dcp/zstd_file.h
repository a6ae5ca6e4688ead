/// \file
/// Entries that were compressed with zstd when they were saved.
#pragma once

#include <memory>
#include <string>

#include "convert/base/result.h"
#include "convert/io/block_cache.h"
#include "convert/io/random_access_file.h"

namespace weightfs {

/// The content of `compressed`, one zstd frame or several, as a file. It is decompressed here once, to learn
/// its size and that it decodes, and again into one block of `cache` when it is read and the block is gone.
/// \param name  of the file that is returned
/// \error kCorrupt        not zstd frames, or damaged ones; bytes after the last
/// \error kLimitExceeded  larger than `cache` may be: the remedy names the size that would do; or a frame
/// that needs
///                        a window beyond 64 MiB
/// \error kIo, kStale     as RandomAccessFile::ReadAt
Result<FilePtr> MakeZstdFile(FilePtr compressed, std::string name, std::shared_ptr<BlockCache> cache);

}  // namespace weightfs
