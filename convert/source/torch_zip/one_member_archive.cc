#include "convert/source/torch_zip/one_member_archive.h"

#include <algorithm>
#include <cstring>
#include <span>

namespace weightfs {
namespace {

constexpr char kName = 'm';

template <typename T>
void Append(std::string& bytes, T value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}

/// The fields that local header and directory entry share, from "version needed" to the length of the extra
/// fields.
void AppendCommon(std::string& bytes, const ZipMember& member) {
  Append<uint16_t>(bytes, 20);
  Append<uint16_t>(bytes, 0);
  Append<uint16_t>(bytes, member.method);
  Append<uint32_t>(bytes, 0);
  Append<uint32_t>(bytes, member.crc32);
  Append<uint32_t>(bytes, static_cast<uint32_t>(member.compressed_bytes));
  Append<uint32_t>(bytes, static_cast<uint32_t>(member.size_bytes));
  Append<uint16_t>(bytes, 1);
  Append<uint16_t>(bytes, 0);
}

}  // namespace

OneMemberArchive::OneMemberArchive(const RandomAccessFile& archive, const ZipMember& member)
    : archive_(archive), member_(member) {
  zip_error_init(&error_);
  Append<uint32_t>(prefix_, 0x04034B50);
  AppendCommon(prefix_, member);
  prefix_ += kName;

  Append<uint32_t>(suffix_, 0x02014B50);
  Append<uint16_t>(suffix_, 20);
  AppendCommon(suffix_, member);
  suffix_.append(14, '\0');  // Comment, disk, attributes, and an offset of 0.
  suffix_ += kName;
  const auto directory_bytes = static_cast<uint32_t>(suffix_.size());
  Append<uint32_t>(suffix_, 0x06054B50);
  Append<uint32_t>(suffix_, 0);
  Append<uint16_t>(suffix_, 1);
  Append<uint16_t>(suffix_, 1);
  Append<uint32_t>(suffix_, directory_bytes);
  Append<uint32_t>(suffix_, static_cast<uint32_t>(prefix_.size() + member.compressed_bytes));
  Append<uint16_t>(suffix_, 0);
}

zip_int64_t OneMemberArchive::Callback(void* self, void* data, zip_uint64_t length,
                                       zip_source_cmd_t command) {
  auto& source = *static_cast<OneMemberArchive*>(self);
  switch (command) {
    case ZIP_SOURCE_OPEN:
      source.position_ = 0;
      return 0;
    case ZIP_SOURCE_READ:
      return source.Read(data, length);
    case ZIP_SOURCE_SEEK:
      return source.Seek(data, length);
    case ZIP_SOURCE_TELL:
      return static_cast<zip_int64_t>(source.position_);
    case ZIP_SOURCE_STAT:
      return source.Stat(data, length);
    case ZIP_SOURCE_ERROR:
      return zip_error_to_data(&source.error_, data, length);
    case ZIP_SOURCE_CLOSE:
    case ZIP_SOURCE_FREE:
      return 0;
    case ZIP_SOURCE_SUPPORTS:
      return zip_source_make_command_bitmap(ZIP_SOURCE_OPEN, ZIP_SOURCE_READ, ZIP_SOURCE_SEEK,
                                            ZIP_SOURCE_TELL, ZIP_SOURCE_STAT, ZIP_SOURCE_ERROR,
                                            ZIP_SOURCE_CLOSE, ZIP_SOURCE_FREE, ZIP_SOURCE_SUPPORTS, -1);
    default:
      zip_error_set(&source.error_, ZIP_ER_OPNOTSUPP, 0);
      return -1;
  }
}

zip_int64_t OneMemberArchive::Read(void* data, zip_uint64_t length) {
  auto* out = static_cast<char*>(data);
  const uint64_t count = std::min<uint64_t>(length, size_bytes() - position_);
  for (uint64_t done = 0; done < count;) {
    const uint64_t data_end = prefix_.size() + member_.compressed_bytes;
    uint64_t part = 0;
    if (position_ < prefix_.size()) {
      part = std::min<uint64_t>(count - done, prefix_.size() - position_);
      std::memcpy(out + done, prefix_.data() + position_, part);
    } else if (position_ < data_end) {
      part = std::min<uint64_t>(count - done, data_end - position_);
      const uint64_t at = member_.data_offset_bytes + (position_ - prefix_.size());
      status_ = archive_.ReadAt(at, std::as_writable_bytes(std::span(out + done, part)));
      if (!status_) {
        zip_error_set(&error_, ZIP_ER_READ, 0);
        return -1;
      }
    } else {
      part = std::min<uint64_t>(count - done, size_bytes() - position_);
      std::memcpy(out + done, suffix_.data() + (position_ - data_end), part);
    }
    done += part;
    position_ += part;
  }
  return static_cast<zip_int64_t>(count);
}

zip_int64_t OneMemberArchive::Seek(void* data, zip_uint64_t length) {
  const zip_int64_t position = zip_source_seek_compute_offset(position_, size_bytes(), data, length, &error_);
  if (position < 0) return -1;
  position_ = static_cast<uint64_t>(position);
  return 0;
}

zip_int64_t OneMemberArchive::Stat(void* data, zip_uint64_t length) {
  if (length < sizeof(zip_stat_t)) {
    zip_error_set(&error_, ZIP_ER_INVAL, 0);
    return -1;
  }
  auto* stat = static_cast<zip_stat_t*>(data);
  zip_stat_init(stat);
  stat->valid = ZIP_STAT_SIZE;
  stat->size = size_bytes();
  return sizeof(zip_stat_t);
}

}  // namespace weightfs
