/// \file
/// One member of an archive, shown to libzip as an archive of its own.
#pragma once

#include <zip.h>

#include <cstdint>
#include <string>

#include "convert/base/bytes.h"
#include "convert/base/result.h"
#include "convert/io/random_access_file.h"
#include "convert/source/torch_zip/zip_directory.h"

namespace weightfs {

/// A made-up zip archive whose only member is `member`: headers from memory, compressed bytes from the real
/// file.
///
/// Why: libzip then inflates exactly the bytes that our directory names, whatever else the archive holds, its
/// strict checks meet nothing that they dislike, and every thread opens its own in a microsecond. Not
/// thread-safe.
class OneMemberArchive {
 public:
  /// Sizes above this would need zip64 records.
  static constexpr uint64_t kCompressedBytesMax = UINT32_MAX - 1_MiB;

  /// \param member  its sizes at most `kCompressedBytesMax`; it and `archive` must outlive this
  OneMemberArchive(const RandomAccessFile& archive, const ZipMember& member);

  /// The zip_source_callback; `self` is a OneMemberArchive.
  static zip_int64_t Callback(void* self, void* data, zip_uint64_t length, zip_source_cmd_t command);

  /// The first failure to read the real file.
  const Status& status() const { return status_; }

 private:
  zip_int64_t Read(void* data, zip_uint64_t length);
  zip_int64_t Seek(void* data, zip_uint64_t length);
  zip_int64_t Stat(void* data, zip_uint64_t length);
  uint64_t size_bytes() const { return prefix_.size() + member_.compressed_bytes + suffix_.size(); }

  const RandomAccessFile& archive_;
  const ZipMember& member_;
  std::string prefix_;  ///< The local header.
  std::string suffix_;  ///< The directory and the end record.
  uint64_t position_ = 0;
  zip_error_t error_;
  Status status_;
};

}  // namespace weightfs
