#include "convert/io/random_access_file.h"

#include <fmt/format.h>

#include <cstring>
#include <utility>

namespace weightfs {
namespace {

class SubFile final : public RandomAccessFile {
 public:
  SubFile(FilePtr file, uint64_t offset_bytes, uint64_t size_bytes, std::string name)
      : RandomAccessFile(std::move(name), size_bytes), file_(std::move(file)), offset_bytes_(offset_bytes) {}

  Location location() const override {
    Location whole = file_->location();
    if (whole.file != nullptr) whole.offset_bytes += offset_bytes_;
    return whole;
  }
  const void* wait_group() const override { return file_->wait_group(); }

 protected:
  Status DoReadAt(uint64_t offset_bytes, std::span<std::byte> destination) const override {
    return file_->ReadAt(offset_bytes_ + offset_bytes, destination);
  }
  Result<std::span<const std::byte>> DoReadWithin(ByteRange range,
                                                  std::span<std::byte> buffer) const override {
    return file_->ReadWithin({offset_bytes_ + range.begin, offset_bytes_ + range.end}, buffer);
  }
  Status DoReadStrided(const Stride& stride, std::span<std::byte> destination,
                       uint64_t pitch_bytes) const override {
    Stride in_file = stride;
    in_file.begin_bytes += offset_bytes_;
    return file_->ReadStrided(in_file, destination, pitch_bytes);
  }
  void WillRead(ByteRange range) const override {
    file_->WillRead({offset_bytes_ + range.begin, offset_bytes_ + range.end});
  }
  void DropBehind(ByteRange range) const override {
    file_->DropBehind({offset_bytes_ + range.begin, offset_bytes_ + range.end});
  }

 private:
  FilePtr file_;
  uint64_t offset_bytes_;
};

class MemoryFile final : public RandomAccessFile {
 public:
  MemoryFile(std::string bytes, std::string name)
      : RandomAccessFile(std::move(name), bytes.size()), bytes_(std::move(bytes)) {}

  const void* wait_group() const override { return nullptr; }

 protected:
  Status DoReadAt(uint64_t offset_bytes, std::span<std::byte> destination) const override {
    if (!destination.empty())
      std::memcpy(destination.data(), bytes_.data() + offset_bytes, destination.size());
    return {};
  }

 private:
  std::string bytes_;
};

Status CheckRange(const RandomAccessFile& file, uint64_t offset_bytes, uint64_t size_bytes) {
  if (CheckedRange(offset_bytes, size_bytes, file.size_bytes())) [[likely]]
    return {};
  return Fail(ErrorCode::kInvalidArgument,
              fmt::format("{}: offset {}: {} bytes do not lie within the file; it has {} bytes", file.name(),
                          offset_bytes, size_bytes, file.size_bytes()));
}

}  // namespace

Status RandomAccessFile::ReadAt(uint64_t offset_bytes, std::span<std::byte> destination) const {
  WEIGHTFS_CHECK(CheckRange(*this, offset_bytes, destination.size()));
  return DoReadAt(offset_bytes, destination);
}

Result<std::span<const std::byte>> RandomAccessFile::ReadWithin(ByteRange range,
                                                                std::span<std::byte> buffer) const {
  WEIGHTFS_CHECK(CheckRange(*this, range.begin, range.size()));
  return DoReadWithin(range, buffer);
}

Result<std::span<const std::byte>> RandomAccessFile::DoReadWithin(ByteRange range,
                                                                  std::span<std::byte> buffer) const {
  const std::span<std::byte> destination = buffer.first(range.size());
  WEIGHTFS_CHECK(DoReadAt(range.begin, destination));
  return destination;
}

Status RandomAccessFile::ReadStrided(const Stride& stride, std::span<std::byte> destination,
                                     uint64_t pitch_bytes) const {
  const uint64_t size_bytes = (stride.count - 1) * stride.distance_bytes + stride.piece_bytes;
  WEIGHTFS_CHECK(CheckRange(*this, stride.begin_bytes, size_bytes));
  return DoReadStrided(stride, destination, pitch_bytes);
}

Status RandomAccessFile::DoReadStrided(const Stride& stride, std::span<std::byte> destination,
                                       uint64_t pitch_bytes) const {
  for (uint64_t i = 0; i < stride.count; ++i)
    WEIGHTFS_CHECK(DoReadAt(stride.begin_bytes + i * stride.distance_bytes,
                            destination.subspan(i * pitch_bytes, stride.piece_bytes)));
  return {};
}

Result<FilePtr> MakeSubFile(FilePtr file, uint64_t offset_bytes, uint64_t size_bytes, std::string name) {
  WEIGHTFS_CHECK(CheckRange(*file, offset_bytes, size_bytes));
  return std::make_shared<SubFile>(std::move(file), offset_bytes, size_bytes, std::move(name));
}

FilePtr MakeMemoryFile(std::string bytes, std::string name) {
  return std::make_shared<MemoryFile>(std::move(bytes), std::move(name));
}

}  // namespace weightfs
