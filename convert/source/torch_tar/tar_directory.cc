#include "convert/source/torch_tar/tar_directory.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <span>
#include <string_view>

#include "convert/base/bytes.h"

namespace weightfs {
namespace {

constexpr size_t kBlockBytes = 512;
/// Of one long name or pax header.
constexpr uint64_t kExtensionBytesMax = 1_MiB;
constexpr size_t kChecksumOffset = 148, kChecksumBytes = 8;

/// A header field as text, up to its first NUL.
std::string_view Text(std::string_view block, size_t offset, size_t bytes) {
  const std::string_view field = block.substr(offset, bytes);
  return field.substr(0, field.find('\0'));
}

/// A number in octal digits between spaces, or in GNU's base 256.
std::optional<uint64_t> Number(std::string_view block, size_t offset, size_t bytes) {
  const std::string_view field = block.substr(offset, bytes);
  if (static_cast<uint8_t>(field[0]) == 0x80) {
    uint64_t value = 0;
    for (const char c : field.substr(1)) {
      if (value >> 56 != 0) return std::nullopt;
      value = value << 8 | static_cast<uint8_t>(c);
    }
    return value;
  }
  std::string_view digits = field.substr(0, field.find('\0'));
  while (digits.starts_with(' ')) digits.remove_prefix(1);
  while (digits.ends_with(' ')) digits.remove_suffix(1);
  if (digits.empty()) return 0;
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, 8);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return value;
}

/// The sum of a header's bytes with its checksum field as spaces.
uint64_t Checksum(std::string_view block) {
  uint64_t sum = 0;
  for (size_t i = 0; i < block.size(); ++i) {
    const bool in_field = i >= kChecksumOffset && i < kChecksumOffset + kChecksumBytes;
    sum += in_field ? ' ' : static_cast<uint8_t>(block[i]);
  }
  return sum;
}

bool IsHeader(std::string_view block) {
  return !Text(block, 0, 100).empty() && Number(block, kChecksumOffset, kChecksumBytes) == Checksum(block);
}

bool IsZero(std::string_view block) {
  return std::ranges::all_of(block, [](char c) { return c == '\0'; });
}

/// What extension headers say about the member that follows.
struct Extension {
  std::optional<std::string> name;
  std::optional<uint64_t> size_bytes;
  bool sparse = false;
};

/// Reads the records "LENGTH KEY=VALUE\n" of a pax header.
bool ReadPax(std::string_view text, Extension& extension) {
  while (!text.empty()) {
    size_t bytes = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), bytes);
    const auto digits = static_cast<size_t>(end - text.data());
    if (error != std::errc() || bytes > text.size() || bytes < digits + 3 || text[digits] != ' ' ||
        text[bytes - 1] != '\n')
      return false;
    const std::string_view record = text.substr(digits + 1, bytes - digits - 2);
    const size_t equals = record.find('=');
    if (equals == std::string_view::npos) return false;
    const std::string_view key = record.substr(0, equals), value = record.substr(equals + 1);
    if (key == "path") extension.name = value;
    if (key.starts_with("GNU.sparse.")) extension.sparse = true;
    if (key == "size") {
      uint64_t size = 0;
      const auto [last, bad] = std::from_chars(value.data(), value.data() + value.size(), size);
      if (bad != std::errc() || last != value.data() + value.size()) return false;
      extension.size_bytes = size;
    }
    text.remove_prefix(bytes);
  }
  return true;
}

/// Walks the headers of one archive.
class Walker {
 public:
  explicit Walker(const RandomAccessFile& file) : file_(file) {}

  /// The next member, or nothing at the end of the archive.
  Result<std::optional<TarMember>> Next() {
    Extension extension;
    while (true) {
      if (offset_ == file_.size_bytes()) return std::nullopt;
      WEIGHTFS_TRY(const std::string block, ReadBytes(offset_, kBlockBytes));
      if (IsZero(block)) return std::nullopt;
      const std::optional<uint64_t> stated = Number(block, 124, 12);
      if (!IsHeader(block) || !stated) return Corrupt("no tar header; expected one with a right checksum");
      const char type = block[156];
      const bool extends = type == 'x' || type == 'g' || type == 'L' || type == 'K';
      const uint64_t size = extends ? *stated : extension.size_bytes.value_or(*stated);
      // Links, folders and devices have no data, whatever size they state.
      const bool has_data = !(type >= '1' && type <= '6');
      const uint64_t data_offset = offset_ + kBlockBytes;
      const std::optional<ByteRange> data =
          CheckedRange(data_offset, has_data ? size : 0, file_.size_bytes());
      if (!data)
        return Corrupt(fmt::format(
            "a member of {} bytes reaches past the end; expected it in the file: is the file cut off?",
            size));
      if (extends) WEIGHTFS_CHECK(ReadExtension(type, *data, extension));
      const uint64_t next = std::min(AlignUp(data->end, kBlockBytes), file_.size_bytes());
      if (!extends) {
        TarMember member{extension.name.value_or(HeaderName(block)), data_offset, data->size(), false};
        member.regular = (type == '0' || type == '\0' || type == '7') && !extension.sparse;
        offset_ = next;
        return member;
      }
      offset_ = next;
    }
  }

 private:
  std::unexpected<Error> Corrupt(std::string_view what) const {
    return Fail(ErrorCode::kCorrupt, fmt::format("{}: offset {}: {}", file_.name(), offset_, what));
  }

  Result<std::string> ReadBytes(uint64_t offset, uint64_t count) const {
    if (!CheckedRange(offset, count, file_.size_bytes())) return Corrupt("the file ends within a tar header");
    std::string bytes(count, '\0');
    WEIGHTFS_CHECK(file_.ReadAt(offset, std::as_writable_bytes(std::span(bytes))));
    return bytes;
  }

  Status ReadExtension(char type, ByteRange data, Extension& extension) const {
    if (data.size() > kExtensionBytesMax)
      return Corrupt(fmt::format("an extension header of {} bytes; expected at most {}", data.size(),
                                 kExtensionBytesMax));
    WEIGHTFS_TRY(std::string text, ReadBytes(data.begin, data.size()));
    if (type == 'L') extension.name = std::string(Text(text, 0, text.size()));
    if (type == 'x' && !ReadPax(text, extension)) return Corrupt("a malformed pax header");
    return {};
  }

  static std::string HeaderName(std::string_view block) {
    const std::string_view name = Text(block, 0, 100);
    const bool ustar = block.substr(257, 6) == std::string_view("ustar\0", 6);
    const std::string_view prefix = ustar ? Text(block, 345, 155) : std::string_view();
    return prefix.empty() ? std::string(name) : fmt::format("{}/{}", prefix, name);
  }

  const RandomAccessFile& file_;
  uint64_t offset_ = 0;
};

}  // namespace

Result<bool> LooksLikeTar(const RandomAccessFile& file) {
  if (file.size_bytes() < kBlockBytes) return false;
  std::string block(kBlockBytes, '\0');
  WEIGHTFS_CHECK(file.ReadAt(0, std::as_writable_bytes(std::span(block))));
  return IsHeader(block);
}

Result<std::vector<TarMember>> ReadTarMembers(const RandomAccessFile& file, size_t members_max) {
  std::vector<TarMember> members;
  Walker walker(file);
  while (members.size() < members_max) {
    WEIGHTFS_TRY(std::optional<TarMember> member, walker.Next());
    if (!member) break;
    members.push_back(*std::move(member));
  }
  return members;
}

}  // namespace weightfs
