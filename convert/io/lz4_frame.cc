#include "convert/io/lz4_frame.h"

#include <fmt/format.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <optional>
#include <span>
#include <string>
#include <utility>

namespace weightfs {
namespace {

constexpr uint64_t kBlockHeaderBytes = 4;
constexpr uint64_t kChecksumBytes = 4;
/// A byte of a compressed block stands for at most 255 bytes of content; the first few cost no more than
/// this.
constexpr uint64_t kExpansionMax = 255;

constexpr uint8_t kVersionMask = 0xc0, kVersion = 0x40;
constexpr uint8_t kIndependentBlocks = 0x20;
constexpr uint8_t kBlockChecksums = 0x10;
constexpr uint8_t kContentSize = 0x08;
constexpr uint8_t kContentChecksum = 0x04;
constexpr uint8_t kReservedFlag = 0x02;
constexpr uint8_t kDictionary = 0x01;

/// The fields of a frame's header.
struct FrameHeader {
  uint8_t flags = 0;
  uint8_t block_bytes_log2 = 0;
  std::optional<uint64_t> content_bytes;
  uint64_t end = 0;  ///< Where the first block's header is.

  bool Has(uint8_t flag) const { return (flags & flag) != 0; }
  uint64_t block_bytes() const { return uint64_t{1} << block_bytes_log2; }
};

/// Reads small headers at growing offsets, in windows: block headers of a well compressed file lie close
/// together.
class HeaderReader {
 public:
  explicit HeaderReader(const RandomAccessFile& file) : file_(file) {}

  /// `size` bytes (at most 64) at `offset`; valid until the next call. Fewer when the file ends before.
  Result<std::span<const std::byte>> Read(uint64_t offset, uint64_t size) {
    const uint64_t end = std::min(offset + size, file_.size_bytes());
    if (offset < window_.begin || end > window_.end) {
      // A far jump means large blocks: then the bytes around a header are of no use.
      const uint64_t ahead = offset < window_.end + bytes_.size() ? bytes_.size() : 64;
      window_ = {offset, std::min(offset + ahead, file_.size_bytes())};
      WEIGHTFS_CHECK(file_.ReadAt(window_.begin, std::span(bytes_).first(window_.size())));
    }
    return std::span<const std::byte>(bytes_).subspan(offset - window_.begin, end - offset);
  }

 private:
  const RandomAccessFile& file_;
  std::array<std::byte, 4096> bytes_;
  ByteRange window_;
};

}  // namespace

/// Builds an `Lz4Table`.
class Lz4Walker {
 public:
  Lz4Walker(const RandomAccessFile& file, const Limits& limits)
      : file_(file), limits_(limits), headers_(file) {}

  Result<Lz4Table> Walk();

 private:
  std::unexpected<Error> Corrupt(uint64_t offset, std::string_view what) const {
    return Fail(ErrorCode::kCorrupt, fmt::format("{}: offset {}: {}", file_.name(), offset, what));
  }
  std::unexpected<Error> NotSeekable(uint64_t offset, std::string_view what) const {
    return Fail(
        ErrorCode::kUnsupported,
        fmt::format("{}: lz4 frame at offset {}: {}; expected independent blocks and a content size",
                    file_.name(), offset, what),
        "decompress it with `lz4 -d`, or compress the decompressed file again with `lz4 -BI --content-size`");
  }
  Result<uint32_t> Read32(uint64_t offset, std::string_view what);
  Status WalkSkippable();
  Status WalkFrame();
  Result<FrameHeader> ReadHeader();
  Status CheckHeader(const FrameHeader& header, uint64_t frame_begin) const;
  Status AddFrame(const FrameHeader& header, uint64_t frame_begin);
  Status AddBlocks(const FrameHeader& header, uint64_t frame_begin, uint64_t content_bytes, uint64_t count);
  Status CheckBlock(const FrameHeader& header, uint64_t frame_begin, uint32_t size_field,
                    uint64_t content_bytes, bool is_last);

  const RandomAccessFile& file_;
  const Limits& limits_;
  HeaderReader headers_;
  Lz4Table table_;
  uint64_t at_ = 0;  ///< Never past the end of the file.
};

Result<uint32_t> Lz4Walker::Read32(uint64_t offset, std::string_view what) {
  WEIGHTFS_TRY(const auto bytes, headers_.Read(offset, 4));
  if (bytes.size() < 4) return Corrupt(offset, fmt::format("the file ends within {}", what));
  return LoadLittleEndian<uint32_t>(bytes.data());
}

Result<Lz4Table> Lz4Walker::Walk() {
  while (at_ < file_.size_bytes()) {
    WEIGHTFS_TRY(const uint32_t magic, Read32(at_, "the magic number of an lz4 frame"));
    if (magic == kLz4LegacyMagic) return NotSeekable(at_, "the legacy format, which has neither");
    if ((magic & ~0xfu) == kLz4SkippableMagic) {
      WEIGHTFS_CHECK(WalkSkippable());
    } else if (magic == kLz4FrameMagic) {
      WEIGHTFS_CHECK(WalkFrame());
    } else {
      return Corrupt(at_, fmt::format("{:#010x} is no magic number of an lz4 frame", magic));
    }
  }
  if (file_.size_bytes() == 0) return Corrupt(0, "empty; expected an lz4 frame");
  return std::move(table_);
}

Status Lz4Walker::WalkSkippable() {
  WEIGHTFS_TRY(const uint32_t size, Read32(at_ + 4, "the size of a skippable frame"));
  if (size > file_.size_bytes() - at_ - 8)
    return Corrupt(at_, fmt::format("a skippable frame of {} bytes passes the end of the file", size));
  at_ += 8 + size;
  return {};
}

Result<FrameHeader> Lz4Walker::ReadHeader() {
  constexpr uint64_t kHeaderBytesMax = 19;
  WEIGHTFS_TRY(const auto bytes, headers_.Read(at_, kHeaderBytesMax));
  if (bytes.size() < 7) return Corrupt(at_, "the file ends within an lz4 frame header");
  FrameHeader header;
  header.flags = std::to_integer<uint8_t>(bytes[4]);
  const uint64_t header_bytes = 7 + (header.Has(kContentSize) ? 8 : 0) + (header.Has(kDictionary) ? 4 : 0);
  if (bytes.size() < header_bytes) return Corrupt(at_, "the file ends within an lz4 frame header");
  if ((header.flags & kVersionMask) != kVersion)
    return Fail(ErrorCode::kUnsupported, fmt::format("{}: lz4 frame at offset {}: version {}; expected 1",
                                                     file_.name(), at_, header.flags >> 6));
  const uint8_t descriptor = std::to_integer<uint8_t>(bytes[5]);
  const uint8_t size_code = (descriptor >> 4) & 7;
  if (header.Has(kReservedFlag) || (descriptor & 0x8f) != 0)
    return Corrupt(at_, "an lz4 frame header with reserved bits set");
  const uint8_t checksum = static_cast<uint8_t>(XXH32(bytes.data() + 4, header_bytes - 5, 0) >> 8);
  if (checksum != std::to_integer<uint8_t>(bytes[header_bytes - 1]))
    return Corrupt(at_, "an lz4 frame header that does not match its checksum");
  if (size_code < 4)
    return Corrupt(at_, fmt::format("an lz4 frame with the unknown block size code {}", size_code));
  header.block_bytes_log2 = static_cast<uint8_t>(8 + 2 * size_code);  // 64 KiB, 256 KiB, 1 MiB, 4 MiB
  if (header.Has(kContentSize)) header.content_bytes = LoadLittleEndian<uint64_t>(bytes.data() + 6);
  header.end = at_ + header_bytes;
  return header;
}

/// A content size of zero cannot be written into a header: writers leave it out.
Status Lz4Walker::CheckHeader(const FrameHeader& header, uint64_t frame_begin) const {
  if (header.Has(kDictionary)) return NotSeekable(frame_begin, "it needs a dictionary");
  if (!header.content_bytes) return NotSeekable(frame_begin, "no content size");
  // The first block depends on nothing, so a linked frame of one block is as good as an independent one.
  if (!header.Has(kIndependentBlocks) && *header.content_bytes > header.block_bytes())
    return NotSeekable(frame_begin, "linked blocks");
  return {};
}

Status Lz4Walker::WalkFrame() {
  const uint64_t frame_begin = at_;
  WEIGHTFS_TRY(FrameHeader header, ReadHeader());
  at_ = header.end;
  WEIGHTFS_TRY(const uint32_t first_size, Read32(at_, "a block header"));
  if (first_size == 0 && !header.content_bytes) header.content_bytes = 0;
  WEIGHTFS_CHECK(CheckHeader(header, frame_begin));
  WEIGHTFS_CHECK(AddFrame(header, frame_begin));
  WEIGHTFS_TRY(const uint32_t end_mark, Read32(at_, "a block header"));
  if (end_mark != 0)
    return NotSeekable(frame_begin,
                       fmt::format("more blocks than its content of {} bytes has at {} bytes each",
                                   *header.content_bytes, header.block_bytes()));
  at_ += kBlockHeaderBytes;
  // The checksum of the whole content cannot be checked without decoding all of it.
  if (header.Has(kContentChecksum)) {
    WEIGHTFS_CHECK(Read32(at_, "a content checksum"));
    at_ += kChecksumBytes;
  }
  return {};
}

Status Lz4Walker::AddFrame(const FrameHeader& header, uint64_t frame_begin) {
  const uint64_t content_bytes = *header.content_bytes;
  if (content_bytes == 0) return {};
  const auto content_end = CheckedAdd(table_.content_bytes_, content_bytes);
  if (!content_end || *content_end > INT64_MAX)
    return Corrupt(frame_begin,
                   fmt::format("a content size of {} bytes; expected less than 2^63", content_bytes));
  const uint64_t count = (content_bytes - 1) / header.block_bytes() + 1;
  const uint64_t overhead = kBlockHeaderBytes + (header.Has(kBlockChecksums) ? kChecksumBytes : 0);
  if (count > (file_.size_bytes() - at_) / (overhead + 1))
    return Corrupt(frame_begin,
                   fmt::format("a content size of {} bytes, whose {} blocks do not fit into the file",
                               content_bytes, count));
  constexpr uint64_t kEntryBytes = sizeof(uint64_t) + sizeof(uint32_t);
  const uint64_t table_bytes =
      (table_.block_count() + count) * kEntryBytes + (table_.frames_.size() + 1) * sizeof(Lz4Table::Frame);
  if (table_bytes > limits_.lz4_table_bytes_max)
    return Fail(
        ErrorCode::kLimitExceeded,
        fmt::format("{}: lz4 frame at offset {}: {} blocks take a table of {} bytes; expected at most {}",
                    file_.name(), frame_begin, table_.block_count() + count, table_bytes,
                    limits_.lz4_table_bytes_max),
        "compress the decompressed file again with larger blocks, `lz4 -BI -B7 --content-size`");
  table_.frames_.push_back({table_.content_bytes_, *content_end, table_.block_count(),
                            header.block_bytes_log2, header.Has(kBlockChecksums)});
  table_.content_bytes_ = *content_end;
  return AddBlocks(header, frame_begin, content_bytes, count);
}

Status Lz4Walker::AddBlocks(const FrameHeader& header, uint64_t frame_begin, uint64_t content_bytes,
                            uint64_t count) {
  if (table_.block_count() + count > table_.offsets_.capacity()) {
    const uint64_t capacity = std::max(table_.block_count() + count, 2 * table_.block_count());
    table_.offsets_.reserve(capacity);
    table_.sizes_.reserve(capacity);
  }
  const uint64_t checksum_bytes = header.Has(kBlockChecksums) ? kChecksumBytes : 0;
  for (uint64_t i = 0; i < count; ++i) {
    WEIGHTFS_TRY(const uint32_t size_field, Read32(at_, "a block header"));
    const bool is_last = i + 1 == count;
    const uint64_t block_content = is_last ? content_bytes - i * header.block_bytes() : header.block_bytes();
    WEIGHTFS_CHECK(CheckBlock(header, frame_begin, size_field, block_content, is_last));
    const uint64_t stored_bytes = size_field & ~Lz4Table::kUncompressed;
    const uint64_t data = at_ + kBlockHeaderBytes;
    if (!CheckedRange(data, stored_bytes + checksum_bytes, file_.size_bytes()))
      return Corrupt(
          at_, fmt::format("an lz4 block of {} bytes passes the end of the file; expected {} bytes more",
                           stored_bytes, data + stored_bytes + checksum_bytes - file_.size_bytes()));
    table_.offsets_.push_back(data);
    table_.sizes_.push_back(size_field);
    at_ = data + stored_bytes + checksum_bytes;
  }
  return {};
}

Status Lz4Walker::CheckBlock(const FrameHeader& header, uint64_t frame_begin, uint32_t size_field,
                             uint64_t content_bytes, bool is_last) {
  if (size_field == 0)
    return Corrupt(at_, fmt::format("the lz4 frame at offset {} ends before its content of {} bytes",
                                    frame_begin, *header.content_bytes));
  const uint64_t stored_bytes = size_field & ~Lz4Table::kUncompressed;
  if (stored_bytes > header.block_bytes())
    return Corrupt(at_, fmt::format("an lz4 block of {} bytes; expected at most the frame's block size {}",
                                    stored_bytes, header.block_bytes()));
  const bool compressed = (size_field & Lz4Table::kUncompressed) == 0;
  const bool is_short =
      compressed ? stored_bytes * kExpansionMax < content_bytes : stored_bytes < content_bytes;
  if (is_short && !is_last)
    return NotSeekable(
        frame_begin, fmt::format("the block at offset {} is too short to hold {} bytes", at_, content_bytes));
  if (is_short || (!compressed && stored_bytes > content_bytes))
    return Corrupt(
        at_, fmt::format("an lz4 block of {} bytes cannot hold the last {} bytes of the frame's content",
                         stored_bytes, content_bytes));
  return {};
}

Result<Lz4Table> Lz4Table::Build(const RandomAccessFile& file, const Limits& limits) {
  return Lz4Walker(file, limits).Walk();
}

uint64_t Lz4Table::BlockAt(uint64_t offset_bytes) const {
  const auto frame = std::upper_bound(frames_.begin(), frames_.end(), offset_bytes,
                                      [](uint64_t offset, const Frame& f) { return offset < f.content_end; });
  return frame->first_block + ((offset_bytes - frame->content_begin) >> frame->block_bytes_log2);
}

Lz4Block Lz4Table::Block(uint64_t index) const {
  const auto frame = std::prev(std::upper_bound(
      frames_.begin(), frames_.end(), index, [](uint64_t i, const Frame& f) { return i < f.first_block; }));
  const uint64_t content_offset =
      frame->content_begin + ((index - frame->first_block) << frame->block_bytes_log2);
  const uint64_t content_bytes =
      std::min(frame->content_end - content_offset, uint64_t{1} << frame->block_bytes_log2);
  return {.stored_offset = offsets_[index],
          .stored_bytes = sizes_[index] & ~kUncompressed,
          .compressed = (sizes_[index] & kUncompressed) == 0,
          .has_checksum = frame->has_block_checksums,
          .content_offset = content_offset,
          .content_bytes = static_cast<uint32_t>(content_bytes)};
}

}  // namespace weightfs
