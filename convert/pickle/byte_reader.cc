#include "convert/pickle/byte_reader.h"

#include <algorithm>
#include <cstring>

#include "convert/base/bytes.h"

namespace weightfs::pickle {
namespace {

constexpr uint64_t kFirstReadBytes = 16_KiB;
constexpr uint64_t kReadBytesMax = 1_MiB;
// Node offsets are 32 bits wide.
constexpr uint64_t kPickleBytesMax = UINT32_MAX;

}  // namespace

ByteReader::ByteReader(std::span<const std::byte> stream, uint64_t limit_bytes, MemoryBudget& budget,
                       Diagnostics& diagnostics)
    : budget_(budget),
      diagnostics_(diagnostics),
      stream_bytes_(stream.size()),
      limit_bytes_(std::min(limit_bytes, kPickleBytesMax)),
      window_(reinterpret_cast<const char*>(stream.data()), stream.size()) {
  SetFence();
}

ByteReader::ByteReader(const RandomAccessFile& file, uint64_t offset_bytes, uint64_t limit_bytes,
                       MemoryBudget& budget, Diagnostics& diagnostics)
    : file_(&file),
      file_offset_(offset_bytes),
      budget_(budget),
      diagnostics_(diagnostics),
      stream_bytes_(file.size_bytes() - offset_bytes),
      limit_bytes_(std::min(limit_bytes, kPickleBytesMax)) {
  SetFence();
}

void ByteReader::SetFence() {
  fence_ = std::min(stream_bytes_, limit_bytes_);
  if (frame_end_) fence_ = std::min(fence_, *frame_end_);
}

std::unexpected<Error> ByteReader::PastFence(uint64_t count) const {
  if (count > stream_bytes_ - position_)
    return diagnostics_.Corrupt(
        fmt::format("{} bytes are needed where {} are left; expected a pickle that ends with STOP", count,
                    stream_bytes_ - position_));
  if (frame_end_ && count > *frame_end_ - position_)
    return diagnostics_.Corrupt("an argument that crosses the end of its FRAME; expected it to end inside");
  return diagnostics_.Limit(
      fmt::format("a pickle of over {} bytes; expected at most that many", limit_bytes_));
}

Status ByteReader::Fill(uint64_t count) {
  if (window_.size() >= count) return {};
  const uint64_t unread = stream_bytes_ - position_;
  const uint64_t step = std::clamp<uint64_t>(2 * buffer_.size(), kFirstReadBytes, kReadBytesMax);
  const uint64_t size = std::min(unread, std::max(count, step));
  const size_t kept = window_.size();
  if (size > buffer_.size()) {
    if (!budget_.Charge(size - buffer_.size())) return diagnostics_.OutOfMemory();
    std::vector<std::byte> larger(size);
    if (kept != 0) std::memcpy(larger.data(), window_.data(), kept);
    buffer_ = std::move(larger);
  } else if (kept != 0) {
    std::memmove(buffer_.data(), window_.data(), kept);
  }
  WEIGHTFS_CHECK(
      file_->ReadAt(file_offset_ + position_ + kept, std::span(buffer_).subspan(kept, size - kept)));
  window_ = {reinterpret_cast<const char*>(buffer_.data()), size};
  return {};
}

Result<std::string_view> ByteReader::Take(uint64_t count) {
  if (count > fence_ - position_) [[unlikely]]
    return PastFence(count);
  // Earned first: a long argument may need the memory that it brings.
  budget_.Earn(count);
  if (window_.size() < count) WEIGHTFS_CHECK(Fill(count));
  const std::string_view taken = window_.substr(0, count);
  window_.remove_prefix(count);
  position_ += count;
  return taken;
}

Result<uint8_t> ByteReader::Opcode() {
  diagnostics_.opcode_offset_bytes = position_;
  if (frame_end_ == position_) {
    frame_end_.reset();
    SetFence();
  }
  if (position_ == fence_ || window_.empty()) [[unlikely]] {
    WEIGHTFS_TRY(const std::string_view byte, Take(1));
    return static_cast<uint8_t>(byte[0]);
  }
  budget_.Earn(1);
  const auto opcode = static_cast<uint8_t>(window_[0]);
  window_.remove_prefix(1);
  ++position_;
  return opcode;
}

Result<std::string_view> ByteReader::TakeLine() {
  size_t searched = 0;
  while (true) {
    const size_t readable = std::min<uint64_t>(window_.size(), fence_ - position_);
    const size_t end = window_.substr(0, readable).find('\n', searched);
    if (end != std::string_view::npos) {
      WEIGHTFS_TRY(const std::string_view line, Take(end + 1));
      return line.substr(0, end);
    }
    searched = readable;
    if (readable == fence_ - position_) return PastFence(readable + 1);
    WEIGHTFS_CHECK(Fill(std::min(fence_ - position_, 2 * uint64_t{readable} + 1)));
  }
}

Status ByteReader::OpenFrame(uint64_t size_bytes) {
  if (FrameRestBytes() != 0)
    return diagnostics_.Corrupt("a FRAME inside a FRAME; expected it after the end of the one before");
  if (size_bytes > stream_bytes_ - position_)
    return diagnostics_.Corrupt(
        fmt::format("a FRAME of {} bytes where {} bytes are left; expected it to end inside", size_bytes,
                    stream_bytes_ - position_));
  frame_end_ = position_ + size_bytes;
  SetFence();
  return {};
}

}  // namespace weightfs::pickle
