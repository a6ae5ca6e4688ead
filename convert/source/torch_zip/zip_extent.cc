#include "convert/source/torch_zip/zip_extent.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <string_view>

namespace weightfs {
namespace {

constexpr size_t kEndBytes = 22;
constexpr size_t kEnd64Bytes = 56;
constexpr size_t kLocator64Bytes = 20;
constexpr uint64_t kCommentBytesMax = 65535;
constexpr std::string_view kEndSignature("PK\5\6", 4);
constexpr uint32_t kEnd64Signature = 0x06064B50;
constexpr uint32_t kLocator64Signature = 0x07064B50;
/// The 64-bit record states its size without its first 12 bytes.
constexpr uint64_t kEnd64StatedBytesMin = kEnd64Bytes - 12;

struct EndRecord {
  uint64_t disk = 0, directory_disk = 0, members_here = 0, members = 0, directory_bytes = 0,
           directory_offset = 0;
};

uint16_t Load16(std::string_view bytes, size_t at) { return LoadLittleEndian<uint16_t>(bytes.data() + at); }
uint32_t Load32(std::string_view bytes, size_t at) { return LoadLittleEndian<uint32_t>(bytes.data() + at); }
uint64_t Load64(std::string_view bytes, size_t at) { return LoadLittleEndian<uint64_t>(bytes.data() + at); }

Result<std::string> ReadString(const RandomAccessFile& file, uint64_t offset, size_t count) {
  std::string bytes(count, '\0');
  WEIGHTFS_CHECK(file.ReadAt(offset, std::as_writable_bytes(std::span(bytes))));
  return bytes;
}

EndRecord DecodeEnd(std::string_view record) {
  return {Load16(record, 4),  Load16(record, 6),  Load16(record, 8),
          Load16(record, 10), Load32(record, 12), Load32(record, 16)};
}

EndRecord DecodeEnd64(std::string_view record) {
  return {Load32(record, 16), Load32(record, 20), Load64(record, 24),
          Load64(record, 32), Load64(record, 40), Load64(record, 48)};
}

/// A 32-bit value agrees with its 64-bit form when it is that, or saturated.
bool Agrees(uint64_t narrow, uint64_t saturated, uint64_t wide) {
  return narrow == saturated || narrow == wide;
}

bool Agree(const EndRecord& narrow, const EndRecord& wide) {
  return Agrees(narrow.disk, UINT16_MAX, wide.disk) &&
         Agrees(narrow.directory_disk, UINT16_MAX, wide.directory_disk) &&
         Agrees(narrow.members_here, UINT16_MAX, wide.members_here) &&
         Agrees(narrow.members, UINT16_MAX, wide.members) &&
         Agrees(narrow.directory_bytes, UINT32_MAX, wide.directory_bytes) &&
         Agrees(narrow.directory_offset, UINT32_MAX, wide.directory_offset);
}

}  // namespace

Result<ZipExtent> FindZipExtent(const RandomAccessFile& file) {
  const uint64_t file_bytes = file.size_bytes();
  const auto corrupt = [&](std::string_view what) {
    return Fail(ErrorCode::kCorrupt, fmt::format("{}: {}", file.name(), what));
  };
  // Nearly every archive ends with a record without a comment: no later place could hold another.
  uint64_t tail_bytes = std::min<uint64_t>(file_bytes, kEndBytes);
  WEIGHTFS_TRY(std::string tail, ReadString(file, file_bytes - tail_bytes, tail_bytes));
  if (!tail.starts_with(kEndSignature)) {
    tail_bytes = std::min(file_bytes, kEndBytes + kCommentBytesMax);
    WEIGHTFS_TRY(tail, ReadString(file, file_bytes - tail_bytes, tail_bytes));
  }
  const uint64_t tail_offset = file_bytes - tail_bytes;
  const size_t found =
      tail_bytes < kEndBytes ? std::string::npos : tail.rfind(kEndSignature, tail_bytes - kEndBytes);
  if (found == std::string::npos)
    return corrupt(
        fmt::format("no zip end record in the last {} of {} bytes; expected one: is the file cut off?",
                    tail_bytes, file_bytes));
  const std::string_view record = std::string_view(tail).substr(found);
  const uint64_t end_offset = tail_offset + found;
  if (kEndBytes + Load16(record, 20) != record.size())
    return corrupt(fmt::format("offset {}: {} bytes after the zip end record; expected its comment of {}",
                               end_offset, record.size() - kEndBytes, Load16(record, 20)));
  EndRecord end = DecodeEnd(record);
  uint64_t records_offset = end_offset;

  if (end_offset >= kLocator64Bytes) {
    WEIGHTFS_TRY(const std::string locator, ReadString(file, end_offset - kLocator64Bytes, kLocator64Bytes));
    if (Load32(locator, 0) == kLocator64Signature) {
      const uint64_t offset = Load64(locator, 8);
      if (!CheckedRange(offset, kEnd64Bytes, end_offset - kLocator64Bytes))
        return corrupt(fmt::format("a zip64 end record at offset {}; expected it before its locator at {}",
                                   offset, end_offset - kLocator64Bytes));
      WEIGHTFS_TRY(const std::string wide, ReadString(file, offset, kEnd64Bytes));
      const uint64_t stated = Load64(wide, 4), room = end_offset - kLocator64Bytes - offset - 12;
      if (Load32(wide, 0) != kEnd64Signature || stated < kEnd64StatedBytesMin || stated > room)
        return corrupt(
            fmt::format("offset {}: no zip64 end record; expected one, its locator says so", offset));
      const EndRecord end64 = DecodeEnd64(wide);
      if (!Agree(end, end64) || Load32(locator, 16) > 1)
        return corrupt("the zip end record and its 64-bit form contradict each other; expected equal values");
      end = end64;
      records_offset = offset;
    }
  }
  if (end.disk != 0 || end.directory_disk != 0 || end.members_here != end.members)
    return Fail(ErrorCode::kUnsupported,
                fmt::format("{}: a zip archive on several disks; expected one file", file.name()));
  const auto directory = CheckedRange(end.directory_offset, end.directory_bytes, records_offset);
  if (!directory)
    return corrupt(
        fmt::format("a zip directory of {} bytes at offset {}; expected it before its end record at {}",
                    end.directory_bytes, end.directory_offset, records_offset));
  return ZipExtent{*directory, end.members};
}

}  // namespace weightfs
