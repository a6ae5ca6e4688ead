#include "convert/source/torch_zip/zip_directory.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "convert/source/torch_zip/zip_extent.h"
#include "convert/source/utf8.h"

namespace weightfs {
namespace {

constexpr uint64_t kChunkBytes = 1_MiB;
constexpr size_t kCentralHeaderBytes = 46;
constexpr size_t kLocalHeaderBytes = 30;
constexpr uint32_t kCentralSignature = 0x02014B50;
constexpr uint32_t kLocalSignature = 0x04034B50;
constexpr uint16_t kZip64ExtraId = 0x0001;
constexpr uint16_t kEncrypted = 1 << 0, kPatched = 1 << 5, kStrongEncryption = 1 << 6, kMasked = 1 << 13;
/// Local headers that are nearer than this are read with one read.
constexpr uint64_t kHeaderGapBytes = 8_KiB;
constexpr uint64_t kHeaderWindowBytes = 256_KiB;

uint16_t Load16(std::string_view bytes, size_t at) { return LoadLittleEndian<uint16_t>(bytes.data() + at); }
uint32_t Load32(std::string_view bytes, size_t at) { return LoadLittleEndian<uint32_t>(bytes.data() + at); }
uint64_t Load64(std::string_view bytes, size_t at) { return LoadLittleEndian<uint64_t>(bytes.data() + at); }

char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

/// Order of names when ASCII letters of both cases are one, as torch's reader compares them.
int CompareWithoutCase(std::string_view a, std::string_view b) {
  const size_t common = std::min(a.size(), b.size());
  for (size_t i = 0; i < common; ++i) {
    if (a[i] == b[i]) continue;
    const auto x = static_cast<unsigned char>(Lower(a[i])), y = static_cast<unsigned char>(Lower(b[i]));
    if (x != y) return x < y ? -1 : 1;
  }
  return a.size() == b.size() ? 0 : (a.size() < b.size() ? -1 : 1);
}

/// Hands out a range of a file from front to back, `kChunkBytes` at a time.
class ChunkReader {
 public:
  ChunkReader(const RandomAccessFile& file, uint64_t begin, uint64_t end)
      : file_(file), next_(begin), end_(end) {}

  uint64_t remaining() const { return buffer_.size() - position_ + (end_ - next_); }

  /// The next `count` bytes, which stay the next ones until `Skip`; `count <= remaining()`.
  Result<std::string_view> Peek(size_t count) {
    if (buffer_.size() - position_ < count) {
      buffer_.erase(0, position_);
      position_ = 0;
      const size_t kept = buffer_.size();
      const uint64_t more = std::min<uint64_t>(end_ - next_, std::max<uint64_t>(kChunkBytes, count));
      buffer_.resize(kept + more);
      WEIGHTFS_CHECK(file_.ReadAt(next_, std::as_writable_bytes(std::span(buffer_).subspan(kept))));
      next_ += more;
    }
    return std::string_view(buffer_).substr(position_, count);
  }
  void Skip(size_t count) { position_ += count; }

 private:
  const RandomAccessFile& file_;
  uint64_t next_, end_;
  std::string buffer_;
  size_t position_ = 0;
};

/// Replaces the saturated sizes and offset of `member` by those of its zip64 extra field.
/// \return false when the extra fields are not well-formed, or lack a value that is needed
bool ReadZip64Extra(std::string_view extras, ZipMember& member) {
  uint64_t* wanted[3];
  size_t count = 0;
  for (uint64_t* value : {&member.size_bytes, &member.compressed_bytes, &member.header_offset_bytes})
    if (*value == UINT32_MAX) wanted[count++] = value;
  bool found = count == 0;
  while (extras.size() >= 4) {
    const uint16_t id = Load16(extras, 0), bytes = Load16(extras, 2);
    if (bytes > extras.size() - 4) return false;
    if (id == kZip64ExtraId && count != 0) {
      if (found || bytes < count * 8) return false;
      for (size_t i = 0; i < count; ++i) *wanted[i] = Load64(extras, 4 + 8 * i);
      found = true;
    }
    extras.remove_prefix(4 + bytes);
  }
  return found;
}

/// What the flags of a member say that cannot be read, or nothing.
std::string DescribeBadFlags(uint16_t flags) {
  if (flags & (kEncrypted | kStrongEncryption | kMasked))
    return fmt::format("an encrypted member (flags {:#06x}); expected a plain one", flags);
  if (flags & kPatched) return fmt::format("patch data (flags {:#06x}); expected a plain member", flags);
  return {};
}

}  // namespace

Result<ZipDirectory> ZipDirectory::Read(const RandomAccessFile& file, const Limits& limits) {
  WEIGHTFS_TRY(const ZipExtent extent, FindZipExtent(file));
  if (extent.members > limits.zip_members_max)
    return Fail(ErrorCode::kLimitExceeded, fmt::format("{}: an archive of {} members; the limit is {}",
                                                       file.name(), extent.members, limits.zip_members_max));
  if (extent.directory.size() > limits.zip_directory_bytes_max)
    return Fail(ErrorCode::kLimitExceeded,
                fmt::format("{}: a zip directory of {} bytes; the limit is {}", file.name(),
                            extent.directory.size(), limits.zip_directory_bytes_max));
  if (extent.members == 0)
    return Fail(ErrorCode::kCorrupt,
                fmt::format("{}: an archive without members; expected a torch.save file", file.name()));
  ZipDirectory result;
  WEIGHTFS_CHECK(result.ParseMembers(file, extent));
  WEIGHTFS_CHECK(result.IndexNames(file));
  WEIGHTFS_CHECK(result.CheckLocalHeaders(file, extent.directory.begin));
  return result;
}

Status ZipDirectory::ParseMembers(const RandomAccessFile& file, const ZipExtent& extent) {
  const uint64_t directory_bytes = extent.directory.size();
  const auto cut = [&](uint64_t at) {
    return Fail(
        ErrorCode::kCorrupt,
        fmt::format("{}: offset {}: the zip directory ends within entry {}; expected {} entries in {} bytes",
                    file.name(), at, members_.size(), extent.members, directory_bytes));
  };
  if (extent.members > directory_bytes / kCentralHeaderBytes) return cut(extent.directory.begin);
  members_.reserve(extent.members);
  names_.reserve(directory_bytes - extent.members * kCentralHeaderBytes);
  ChunkReader reader(file, extent.directory.begin, extent.directory.end);
  for (uint64_t i = 0; i < extent.members; ++i) {
    const uint64_t at = extent.directory.end - reader.remaining();
    if (reader.remaining() < kCentralHeaderBytes) return cut(at);
    WEIGHTFS_TRY(const std::string_view fixed, reader.Peek(kCentralHeaderBytes));
    if (Load32(fixed, 0) != kCentralSignature)
      return Fail(ErrorCode::kCorrupt,
                  fmt::format("{}: offset {}: no zip directory entry; expected entry {} of {}", file.name(),
                              at, i, extent.members));
    const size_t bytes = kCentralHeaderBytes + Load16(fixed, 28) + Load16(fixed, 30) + Load16(fixed, 32);
    if (reader.remaining() < bytes) return cut(at);
    WEIGHTFS_TRY(const std::string_view record, reader.Peek(bytes));
    WEIGHTFS_CHECK(AddMember(file, record, extent.directory.begin));
    reader.Skip(bytes);
  }
  if (reader.remaining() != 0)
    return Fail(ErrorCode::kCorrupt,
                fmt::format("{}: {} bytes after the last of {} zip directory entries; expected "
                            "none",
                            file.name(), reader.remaining(), extent.members));
  names_.shrink_to_fit();
  metadata_bytes_ = directory_bytes;
  return {};
}

Status ZipDirectory::AddMember(const RandomAccessFile& file, std::string_view record,
                               uint64_t directory_offset_bytes) {
  ZipMember member;
  member.flags = Load16(record, 8);
  member.method = Load16(record, 10);
  member.crc32 = Load32(record, 16);
  member.compressed_bytes = Load32(record, 20);
  member.size_bytes = Load32(record, 24);
  member.name_bytes = Load16(record, 28);
  member.header_offset_bytes = Load32(record, 42);
  const std::string_view name = record.substr(kCentralHeaderBytes, member.name_bytes);
  // Made when it is needed: of most members nothing has to be said.
  const auto fail = [&](ErrorCode code, std::string_view what) {
    return Fail(code, fmt::format("{}: zip member {}: {}", file.name(), Quoted(name), what));
  };
  const auto corrupt = [&](std::string_view what) { return fail(ErrorCode::kCorrupt, what); };
  if (name.empty() || name.find('\0') != std::string_view::npos)
    return corrupt("an empty name or one with NUL in it; expected a plain name");
  if (!ReadZip64Extra(record.substr(kCentralHeaderBytes + name.size(), Load16(record, 30)), member))
    return corrupt("malformed extra fields; expected a zip64 field for each size that does not fit 32 bits");
  if (Load16(record, 34) != 0)
    return fail(ErrorCode::kUnsupported, "on another disk; expected an archive in one file");
  if (const std::string bad = DescribeBadFlags(member.flags); !bad.empty())
    return fail(ErrorCode::kUnsupported, bad);
  if (member.method != kZipStored && member.method != kZipDeflated)
    return fail(ErrorCode::kUnsupported,
                fmt::format("compression method {}; expected stored (0) or deflated (8)", member.method));
  if (member.method == kZipStored && member.compressed_bytes != member.size_bytes)
    return corrupt(fmt::format("stored, with {} bytes in the file and {} bytes of content; expected as many",
                               member.compressed_bytes, member.size_bytes));
  const auto header =
      CheckedRange(member.header_offset_bytes, kLocalHeaderBytes + name.size(), directory_offset_bytes);
  if (!header || !CheckedRange(header->end, member.compressed_bytes, directory_offset_bytes))
    return corrupt(fmt::format(
        "{} bytes from offset {} reach past the data; expected an end by {}: is the file cut off?",
        member.compressed_bytes, member.header_offset_bytes, directory_offset_bytes));
  member.name_offset = static_cast<uint32_t>(names_.size());
  names_ += name;
  members_.push_back(member);
  return {};
}

Status ZipDirectory::IndexNames(const RandomAccessFile& file) {
  by_name_.resize(members_.size());
  std::iota(by_name_.begin(), by_name_.end(), 0u);
  std::ranges::sort(by_name_,
                    [&](uint32_t a, uint32_t b) { return CompareWithoutCase(name(a), name(b)) < 0; });
  for (size_t i = 1; i < by_name_.size(); ++i) {
    const std::string_view a = name(by_name_[i - 1]), b = name(by_name_[i]);
    if (CompareWithoutCase(a, b) != 0) continue;
    return Fail(ErrorCode::kCorrupt,
                fmt::format("{}: zip members {} and {}; expected names that differ by more than case",
                            file.name(), Quoted(a), Quoted(b)));
  }
  return {};
}

const ZipMember* ZipDirectory::Find(std::string_view wanted) const {
  const auto found = std::ranges::lower_bound(
      by_name_, wanted, [](std::string_view a, std::string_view b) { return CompareWithoutCase(a, b) < 0; },
      [&](uint32_t index) { return name(index); });
  return found != by_name_.end() && name(*found) == wanted ? &members_[*found] : nullptr;
}

Status ZipDirectory::CheckLocalHeaders(const RandomAccessFile& file, uint64_t directory_offset_bytes) {
  std::vector<uint32_t> order(members_.size());
  std::iota(order.begin(), order.end(), 0u);
  std::ranges::sort(order, {}, [&](uint32_t index) { return members_[index].header_offset_bytes; });
  const auto header_of = [&](size_t i) {
    const ZipMember& member = members_[order[i]];
    return ByteRange{member.header_offset_bytes,
                     member.header_offset_bytes + kLocalHeaderBytes + member.name_bytes};
  };
  std::string window;
  ByteRange covered;
  for (size_t i = 0; i < order.size(); ++i) {
    const ByteRange header = header_of(i);
    if (header.begin < covered.begin || header.end > covered.end) {
      covered = header;
      for (size_t next = i + 1; next < order.size(); ++next) {
        const ByteRange more = header_of(next);
        if (more.begin > covered.end + kHeaderGapBytes || more.end > header.begin + kHeaderWindowBytes) break;
        covered.end = std::max(covered.end, more.end);
      }
      window.resize(covered.size());
      WEIGHTFS_CHECK(file.ReadAt(covered.begin, std::as_writable_bytes(std::span(window))));
    }
    const uint64_t end = i + 1 < order.size() ? header_of(i + 1).begin : directory_offset_bytes;
    const std::string_view bytes =
        std::string_view(window).substr(header.begin - covered.begin, header.size());
    WEIGHTFS_CHECK(CheckLocalHeader(file, members_[order[i]], bytes, end));
    metadata_bytes_ += header.size();
  }
  return {};
}

Status ZipDirectory::CheckLocalHeader(const RandomAccessFile& file, ZipMember& member,
                                      std::string_view header, uint64_t end) {
  const std::string_view name = NameOf(member);
  const auto corrupt = [&](std::string_view what) {
    return Fail(ErrorCode::kCorrupt, fmt::format("{}: zip member {}: offset {}: {}", file.name(),
                                                 Quoted(name), member.header_offset_bytes, what));
  };
  if (Load32(header, 0) != kLocalSignature) return corrupt("no local header; expected one");
  const uint16_t flags = Load16(header, 6), method = Load16(header, 8);
  if (flags != member.flags || method != member.method)
    return corrupt(
        fmt::format("flags {:#06x} and method {} in the local header, {:#06x} and {} in the directory; "
                    "expected equal ones",
                    flags, method, member.flags, member.method));
  if (Load16(header, 26) != member.name_bytes || header.substr(kLocalHeaderBytes) != name)
    return corrupt(fmt::format("the local header names {}; expected the name in the directory",
                               Quoted(header.substr(kLocalHeaderBytes))));
  // Both additions fit: AddMember has bounded the offset and the size by the size of the file.
  member.data_offset_bytes = member.header_offset_bytes + header.size() + Load16(header, 28);
  if (member.data_offset_bytes + member.compressed_bytes > end)
    return corrupt(
        fmt::format("{} bytes of data from offset {} overlap what begins at {}; expected members apart",
                    member.compressed_bytes, member.data_offset_bytes, end));
  return {};
}

}  // namespace weightfs
