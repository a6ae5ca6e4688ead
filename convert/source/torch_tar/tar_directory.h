/// \file
/// The members of a tar archive and where their bytes lie.
///
/// Why not libarchive: it tells where a member's header begins, but not its data, which follows after a
/// number of extension headers; reading in place needs that position, and the headers are simple to check
/// strictly.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "convert/base/result.h"
#include "convert/io/random_access_file.h"

namespace weightfs {

/// One member of a tar archive.
struct TarMember {
  std::string name;  ///< As long-name and pax headers give it.
  uint64_t data_offset_bytes = 0;
  uint64_t size_bytes = 0;
  bool regular = false;  ///< An ordinary file: no link, folder, device or sparse file.
};

/// True when `file` begins with a tar header: its checksum is right.
/// \error kIo, kStale  as RandomAccessFile::ReadAt
Result<bool> LooksLikeTar(const RandomAccessFile& file);

/// The first `members_max` members of an archive, in order. Reads headers only.
/// \error kCorrupt     a header whose checksum or numbers are wrong, a member that reaches past the end of
/// the file
/// \error kIo, kStale  as RandomAccessFile::ReadAt
Result<std::vector<TarMember>> ReadTarMembers(const RandomAccessFile& file, size_t members_max);

}  // namespace weightfs
