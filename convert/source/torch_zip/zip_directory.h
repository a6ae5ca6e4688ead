/// \file
/// The central directory of a zip archive, read strictly.
///
/// Why not libzip: no call of it tells where the bytes of a stored member begin, which reading in place
/// needs, and its consistency checks refuse archives that torch writes (64-bit data descriptors whose local
/// header has zeros). Follows docs/formats/torch.md, "The zip container".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "convert/base/bytes.h"
#include "convert/base/limits.h"
#include "convert/base/result.h"
#include "convert/io/random_access_file.h"
#include "convert/source/torch_zip/zip_extent.h"

namespace weightfs {

/// How the bytes of a member are kept.
inline constexpr uint16_t kZipStored = 0;
inline constexpr uint16_t kZipDeflated = 8;

/// One member, as the central directory has it.
struct ZipMember {
  uint64_t header_offset_bytes = 0;  ///< Of its local header, in the file.
  uint64_t data_offset_bytes = 0;    ///< Of its data, in the file; set when the local header was checked.
  uint64_t compressed_bytes = 0;     ///< Of its data, as it lies in the file.
  uint64_t size_bytes = 0;           ///< Of its content.
  uint32_t crc32 = 0;                ///< 0 also where the writer computed none.
  uint32_t name_offset = 0;
  uint16_t name_bytes = 0;
  uint16_t flags = 0;
  uint16_t method = kZipStored;
};

/// The members of one archive, every local header checked against the directory. Immutable.
class ZipDirectory {
 public:
  /// Reads the directory in pieces of 1 MiB and each local header once; takes about twice the directory's
  /// bytes.
  /// \error kCorrupt        the archive ends early, a record contradicts another, names that are equal but
  /// for case,
  ///                        members that overlap, a local header that differs from the directory
  /// \error kUnsupported    encrypted or patched members, compression other than deflate, several disks
  /// \error kLimitExceeded  more members or a larger directory than the limits allow
  /// \error kIo, kStale     as RandomAccessFile::ReadAt
  static Result<ZipDirectory> Read(const RandomAccessFile& file, const Limits& limits);

  size_t size() const { return members_.size(); }
  const ZipMember& member(size_t index) const { return members_[index]; }
  std::string_view name(size_t index) const { return NameOf(members_[index]); }
  /// The member with exactly this name, or nullptr.
  const ZipMember* Find(std::string_view name) const;
  /// Bytes of the file that the directory and the local headers take.
  uint64_t metadata_bytes() const { return metadata_bytes_; }

 private:
  std::string_view NameOf(const ZipMember& member) const {
    return std::string_view(names_).substr(member.name_offset, member.name_bytes);
  }
  Status ParseMembers(const RandomAccessFile& file, const ZipExtent& extent);
  Status AddMember(const RandomAccessFile& file, std::string_view record, uint64_t directory_offset_bytes);
  Status IndexNames(const RandomAccessFile& file);
  Status CheckLocalHeaders(const RandomAccessFile& file, uint64_t directory_offset_bytes);
  Status CheckLocalHeader(const RandomAccessFile& file, ZipMember& member, std::string_view header,
                          uint64_t end);

  std::vector<ZipMember> members_;
  std::string names_;
  std::vector<uint32_t> by_name_;  ///< Indexes of members, ordered by name without case.
  uint64_t metadata_bytes_ = 0;
};

}  // namespace weightfs
