/// \file
/// Members of a zip archive that are deflated: re-zipped checkpoints. Inflated by libzip, as a whole.
#pragma once

#include <memory>
#include <string>

#include "convert/base/result.h"
#include "convert/io/block_cache.h"
#include "convert/io/random_access_file.h"
#include "convert/source/torch_zip/zip_directory.h"

namespace weightfs {

/// The content of the deflated `member` of `archive` as a file. It is inflated into one block of `cache` when
/// it is read, and again when the block was evicted; size and CRC are verified each time.
/// \param name  of the file that is returned
/// \error kLimitExceeded  larger than `cache` may be: the remedy names the size that would do, and how to
/// save the
///                        file without compression
Result<FilePtr> MakeDeflatedFile(FilePtr archive, const ZipMember& member, std::string name,
                                 std::shared_ptr<BlockCache> cache);

/// Inflates the deflated `member` into `destination`, which has its size. Thread-safe.
/// \param name  of the member, for messages
/// \error kCorrupt     the data is not a deflate stream of that size, or its CRC is another
/// \error kIo, kStale  as RandomAccessFile::ReadAt
Status InflateMember(const RandomAccessFile& archive, const ZipMember& member, std::string_view name,
                     std::span<std::byte> destination);

}  // namespace weightfs
