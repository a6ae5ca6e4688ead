/// \file
/// Whether two files hold the same bytes, without reading all of large ones.
#pragma once

#include "convert/base/result.h"
#include "convert/io/random_access_file.h"

namespace weightfs {

/// Compares sizes, then bytes. Of files over 64 MiB, only the first and the last 32 MiB: in an archive of
/// torch the end lists a checksum of every member, so other content shows there.
/// \error as RandomAccessFile::ReadAt
Result<bool> HaveSameContent(const RandomAccessFile& a, const RandomAccessFile& b);

}  // namespace weightfs
