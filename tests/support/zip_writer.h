/// \file
/// Writes zip archives byte by byte, well-formed or not: for tests, and independent of the reader.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tests/support/pickle_writer.h"

namespace weightfs::testing {

inline uint32_t Crc32(std::string_view bytes) {
  uint32_t crc = 0xFFFFFFFF;
  for (const char c : bytes) {
    crc ^= static_cast<uint8_t>(c);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (crc & 1 ? 0xEDB88320 : 0);
  }
  return ~crc;
}

/// `bytes` as a deflate stream of blocks that are not compressed.
inline std::string Deflate(std::string_view bytes) {
  std::string out;
  do {
    const std::string_view block = bytes.substr(0, 65535);
    bytes.remove_prefix(block.size());
    out += bytes.empty() ? '\1' : '\0';
    out += LittleEndian(block.size(), 2) + LittleEndian(~block.size() & 0xFFFF, 2) + std::string(block);
  } while (!bytes.empty());
  return out;
}

/// One member; the optional fields are what the directory or the local header says instead of the truth.
struct ZipEntry {
  std::string name;
  std::string content;
  bool deflated = false;
  bool zip64 = false;  ///< Saturated 32-bit fields and a zip64 extra field in the directory.
  uint16_t flags = 0x0800;
  size_t padding_bytes = 0;  ///< In the extra field of the local header, as torch aligns data.
  std::optional<uint32_t> crc32;
  std::optional<uint64_t> stated_size, stated_compressed_size, stated_offset;
  std::optional<std::string> local_name;
  std::optional<uint16_t> local_flags, local_method, method;
};

class ZipWriter {
 public:
  ZipWriter& Add(ZipEntry entry) {
    const std::string data = entry.deflated ? Deflate(entry.content) : entry.content;
    const uint16_t method = entry.method.value_or(entry.deflated ? 8 : 0);
    const uint64_t offset = entry.stated_offset.value_or(bytes_.size());
    const uint64_t size = entry.stated_size.value_or(entry.content.size());
    const uint64_t compressed = entry.stated_compressed_size.value_or(data.size());
    const uint32_t crc = entry.crc32.value_or(Crc32(entry.content));
    const std::string local_name = entry.local_name.value_or(entry.name);
    std::string local_extra;
    if (entry.padding_bytes != 0)
      local_extra = "FB" + LittleEndian(entry.padding_bytes, 2) + std::string(entry.padding_bytes, 'Z');
    bytes_ += "PK\3\4" + LittleEndian(0, 2) + LittleEndian(entry.local_flags.value_or(entry.flags), 2) +
              LittleEndian(entry.local_method.value_or(method), 2) + LittleEndian(0, 4) +
              LittleEndian(crc, 4) + LittleEndian(compressed & 0xFFFFFFFF, 4) +
              LittleEndian(size & 0xFFFFFFFF, 4) + LittleEndian(local_name.size(), 2) +
              LittleEndian(local_extra.size(), 2) + local_name + local_extra + data;
    std::string extra;
    if (entry.zip64)
      extra = LittleEndian(1, 2) + LittleEndian(24, 2) + LittleEndian(size, 8) + LittleEndian(compressed, 8) +
              LittleEndian(offset, 8);
    const auto narrow = [&](uint64_t value) { return LittleEndian(entry.zip64 ? 0xFFFFFFFF : value, 4); };
    directory_ += "PK\1\2" + LittleEndian(0, 4) + LittleEndian(entry.flags, 2) + LittleEndian(method, 2) +
                  LittleEndian(0, 4) + LittleEndian(crc, 4) + narrow(compressed) + narrow(size) +
                  LittleEndian(entry.name.size(), 2) + LittleEndian(extra.size(), 2) + LittleEndian(0, 2) +
                  LittleEndian(0, 2) + LittleEndian(0, 2) + LittleEndian(0, 4) + narrow(offset) + entry.name +
                  extra;
    ++count_;
    return *this;
  }

  /// The archive; with `zip64` the 64-bit end records too, as torch always writes them.
  std::string Finish(bool zip64 = true) const {
    std::string out = bytes_ + directory_;
    if (zip64) {
      const uint64_t record = out.size();
      out += "PK\6\6" + LittleEndian(44, 8) + LittleEndian(0x031E, 2) + LittleEndian(45, 2) +
             LittleEndian(0, 8) + LittleEndian(count_, 8) + LittleEndian(count_, 8) +
             LittleEndian(directory_.size(), 8) + LittleEndian(bytes_.size(), 8);
      out += "PK\6\7" + LittleEndian(0, 4) + LittleEndian(record, 8) + LittleEndian(1, 4);
    }
    return out + "PK\5\6" + LittleEndian(0, 4) + LittleEndian(count_, 2) + LittleEndian(count_, 2) +
           LittleEndian(directory_.size(), 4) + LittleEndian(bytes_.size(), 4) + LittleEndian(0, 2);
  }

 private:
  std::string bytes_;
  std::string directory_;
  uint64_t count_ = 0;
};

}  // namespace weightfs::testing
