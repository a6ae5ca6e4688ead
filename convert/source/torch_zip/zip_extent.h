/// \file
/// Where the directory of a zip archive is: the records at the end of the file.
#pragma once

#include <cstdint>

#include "convert/base/bytes.h"
#include "convert/base/result.h"
#include "convert/io/random_access_file.h"

namespace weightfs {

/// What the end records say.
struct ZipExtent {
  ByteRange directory;  ///< Of the central directory, in the file.
  uint64_t members = 0;
};

/// Finds the end record, and its 64-bit form where there is one. The two must agree wherever the 32-bit value
/// is not saturated, and the end record with its comment must be the end of the file.
/// \error kCorrupt      no end record (the file is cut off), or records that contradict each other
/// \error kUnsupported  an archive on several disks
/// \error kIo, kStale   as RandomAccessFile::ReadAt
Result<ZipExtent> FindZipExtent(const RandomAccessFile& file);

}  // namespace weightfs
