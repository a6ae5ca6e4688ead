#include "convert/io/lz4_file.h"

#include <fmt/format.h>
#include <lz4.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <span>
#include <string>
#include <utility>

#include "convert/io/lz4_frame.h"

namespace weightfs {
namespace {

constexpr uint64_t kChecksumBytes = 4;

/// How far the end of a block's data must lie beyond the end of its content when it is decoded in place: the
/// margin that lz4.h states for in-place decompression.
constexpr uint64_t InPlaceMargin(uint64_t stored_bytes) { return (stored_bytes >> 8) + 32; }

class Lz4File final : public RandomAccessFile {
 public:
  Lz4File(FilePtr file, std::shared_ptr<BlockCache> cache, Lz4Table table)
      : RandomAccessFile(file->name(), table.content_bytes()),
        file_(std::move(file)),
        cache_(std::move(cache)),
        cache_owner_(cache_->NewOwner()),
        table_(std::move(table)) {}

  /// Decodes the first and the last block: a frame whose blocks are not full shows there, cheaply.
  Status CheckEnds() const;

  const void* wait_group() const override { return file_->wait_group(); }

 protected:
  Status DoReadAt(uint64_t offset_bytes, std::span<std::byte> destination) const override;

 private:
  Status ReadBlock(uint64_t index, uint64_t skip_bytes, std::span<std::byte> destination) const;
  Status Decode(uint64_t index, const Lz4Block& block, std::span<std::byte> buffer) const;
  Status CheckChecksum(uint64_t index, const Lz4Block& block,
                       std::span<const std::byte> data_and_checksum) const;
  std::unexpected<Error> Corrupt(uint64_t index, const Lz4Block& block, std::string_view what) const;

  FilePtr file_;
  std::shared_ptr<BlockCache> cache_;
  uint64_t cache_owner_;
  Lz4Table table_;
};

std::unexpected<Error> Lz4File::Corrupt(uint64_t index, const Lz4Block& block, std::string_view what) const {
  return Fail(ErrorCode::kCorrupt,
              fmt::format("{}: lz4 block {} at offset {}: {}", name(), index, block.stored_offset, what));
}

Status Lz4File::CheckEnds() const {
  if (table_.block_count() == 0) return {};
  std::byte byte;
  WEIGHTFS_CHECK(ReadAt(0, {&byte, 1}));
  return ReadAt(size_bytes() - 1, {&byte, 1});
}

Status Lz4File::DoReadAt(uint64_t offset_bytes, std::span<std::byte> destination) const {
  if (destination.empty()) return {};
  for (uint64_t index = table_.BlockAt(offset_bytes); !destination.empty(); ++index) {
    const Lz4Block block = table_.Block(index);
    const uint64_t skip_bytes = offset_bytes - block.content_offset;
    const uint64_t take_bytes = std::min<uint64_t>(destination.size(), block.content_bytes - skip_bytes);
    WEIGHTFS_CHECK(ReadBlock(index, skip_bytes, destination.first(take_bytes)));
    destination = destination.subspan(take_bytes);
    offset_bytes += take_bytes;
  }
  return {};
}

Status Lz4File::ReadBlock(uint64_t index, uint64_t skip_bytes, std::span<std::byte> destination) const {
  const Lz4Block block = table_.Block(index);
  if (!block.compressed && !block.has_checksum)
    return file_->ReadAt(block.stored_offset + skip_bytes, destination);
  // The cached block has room for its stored form too, at its end: no second buffer is needed, which with
  // blocks of 4 MiB and many threads would be most of the memory.
  const uint64_t stored_bytes = block.stored_bytes + (block.has_checksum ? kChecksumBytes : 0);
  const uint64_t room_bytes = std::max<uint64_t>(block.content_bytes, block.stored_bytes) +
                              InPlaceMargin(block.stored_bytes) + kChecksumBytes + kReadSlackBytes +
                              kReadAlignmentBytes;
  static_assert(kReadAlignmentBytes >= kBlockAlignmentBytes);
  WEIGHTFS_TRY(const BlockPtr content,
               cache_->Get({cache_owner_, index}, std::max(room_bytes, stored_bytes),
                           [&](std::span<std::byte> buffer) { return Decode(index, block, buffer); }));
  std::memcpy(destination.data(), content.get() + skip_bytes, destination.size());
  return {};
}

Status Lz4File::Decode(uint64_t index, const Lz4Block& block, std::span<std::byte> buffer) const {
  const uint64_t stored_bytes = block.stored_bytes + (block.has_checksum ? kChecksumBytes : 0);
  // The lowest aligned place at which the data, wherever in its first page it starts, ends late enough.
  const uint64_t data_begin_min =
      std::max<uint64_t>(block.content_bytes + InPlaceMargin(block.stored_bytes), block.stored_bytes) -
      block.stored_bytes;
  const auto address = reinterpret_cast<uintptr_t>(buffer.data());
  const uint64_t read_begin = AlignUp(address + data_begin_min, kReadAlignmentBytes) - address;
  WEIGHTFS_TRY(const auto stored, file_->ReadWithin({block.stored_offset, block.stored_offset + stored_bytes},
                                                    buffer.subspan(read_begin)));
  if (block.has_checksum) WEIGHTFS_CHECK(CheckChecksum(index, block, stored));
  if (!block.compressed) {
    std::memmove(buffer.data(), stored.data(), block.content_bytes);
    return {};
  }
  const int decoded = LZ4_decompress_safe(
      reinterpret_cast<const char*>(stored.data()), reinterpret_cast<char*>(buffer.data()),
      static_cast<int>(block.stored_bytes), static_cast<int>(block.content_bytes));
  if (decoded < 0)
    return Corrupt(index, block, fmt::format("does not decode to {} bytes", block.content_bytes));
  if (static_cast<uint32_t>(decoded) != block.content_bytes)
    return Corrupt(index, block,
                   fmt::format("decodes to {} bytes; expected {}", decoded, block.content_bytes));
  return {};
}

Status Lz4File::CheckChecksum(uint64_t index, const Lz4Block& block,
                              std::span<const std::byte> data_and_checksum) const {
  const uint32_t expected = LoadLittleEndian<uint32_t>(data_and_checksum.data() + block.stored_bytes);
  const uint32_t found = XXH32(data_and_checksum.data(), block.stored_bytes, 0);
  if (found == expected) return {};
  return Corrupt(index, block, fmt::format("checksum {:08x}; expected {:08x}", found, expected));
}

}  // namespace

Result<bool> LooksLikeLz4(const RandomAccessFile& file) {
  if (file.size_bytes() < 4) return false;
  std::array<std::byte, 4> bytes;
  WEIGHTFS_CHECK(file.ReadAt(0, bytes));
  const auto magic = LoadLittleEndian<uint32_t>(bytes.data());
  return magic == kLz4FrameMagic || magic == kLz4LegacyMagic || (magic & ~0xfu) == kLz4SkippableMagic;
}

Result<FilePtr> OpenLz4(FilePtr file, std::shared_ptr<BlockCache> cache, const Limits& limits) {
  WEIGHTFS_TRY(Lz4Table table, Lz4Table::Build(*file, limits));
  auto opened = std::make_shared<const Lz4File>(std::move(file), std::move(cache), std::move(table));
  WEIGHTFS_CHECK(opened->CheckEnds());
  return opened;
}

}  // namespace weightfs
