#include "convert/io/random_access_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <string_view>

#include "convert/io/local_file.h"
#include "tests/support/aligned_buffer.h"
#include "tests/support/temp_dir.h"

namespace weightfs {
namespace {

using testing::AlignedBuffer;
using testing::PatternBytes;
using testing::TempDir;
using testing::WriteFile;

constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();

std::string Read(const RandomAccessFile& file, uint64_t offset, uint64_t size) {
  std::string bytes(size, '\0');
  const Status status = file.ReadAt(offset, std::as_writable_bytes(std::span(bytes)));
  EXPECT_TRUE(status.has_value()) << status.error().message;
  return bytes;
}

TEST(RandomAccessFileTest, MemoryFile) {
  const FilePtr file = MakeMemoryFile("0123456789", "m");
  EXPECT_EQ(file->size_bytes(), 10u);
  EXPECT_EQ(file->name(), "m");
  EXPECT_EQ(file->location().file, nullptr);
  EXPECT_EQ(Read(*file, 0, 10), "0123456789");
  EXPECT_EQ(Read(*file, 10, 0), "");
  AlignedBuffer buffer(10);
  const auto within = file->ReadWithin({3, 7}, buffer.span());
  ASSERT_TRUE(within.has_value());
  EXPECT_EQ(std::string_view(reinterpret_cast<const char*>(within->data()), within->size()), "3456");
}

TEST(RandomAccessFileTest, RangesOutsideAreRefusedByName) {
  const FilePtr file = MakeMemoryFile("0123456789", "m");
  AlignedBuffer buffer(20);
  for (const auto& [offset, size] :
       {std::pair<uint64_t, uint64_t>{0, 11}, {10, 1}, {11, 0}, {kMax, 1}, {kMax, 0}}) {
    const Status status = file->ReadAt(offset, buffer.span().first(size));
    ASSERT_FALSE(status.has_value());
    EXPECT_EQ(status.error().code, ErrorCode::kInvalidArgument);
    EXPECT_THAT(status.error().message, ::testing::StartsWith("m: offset "));
    EXPECT_FALSE(MakeSubFile(file, offset, size, "s").has_value());
  }
  EXPECT_FALSE(file->ReadWithin({5, 11}, buffer.span()).has_value());
  EXPECT_FALSE(MakeSubFile(file, 5, kMax, "s").has_value());
}

TEST(RandomAccessFileTest, SubFilesOfSubFiles) {
  TempDir dir;
  const std::string bytes = PatternBytes(100'000);
  WriteFile(dir / "f", bytes);
  const FilePtr whole = *LocalFile::Open(dir / "f", "f", {.source_io = SourceIo::kDirect});
  const FilePtr outer = *MakeSubFile(whole, 1'000, 90'000, "f!outer");
  const FilePtr inner = *MakeSubFile(outer, 777, 80'000, "f!inner");
  EXPECT_EQ(inner->name(), "f!inner");
  EXPECT_EQ(inner->location().file, whole.get());
  EXPECT_EQ(inner->location().offset_bytes, 1'777u);
  EXPECT_EQ(Read(*inner, 5, 70'000), bytes.substr(1'782, 70'000));
  AlignedBuffer buffer(80'000);
  const auto within = inner->ReadWithin({0, 80'000}, buffer.span());
  ASSERT_TRUE(within.has_value());
  EXPECT_EQ(std::string_view(reinterpret_cast<const char*>(within->data()), within->size()),
            std::string_view(bytes).substr(1'777, 80'000));
  std::string one(1, '\0');
  const Status past = inner->ReadAt(80'000, std::as_writable_bytes(std::span(one)));
  ASSERT_FALSE(past.has_value());
  EXPECT_THAT(past.error().message, ::testing::HasSubstr("f!inner: offset 80000: 1 bytes"));
}

}  // namespace
}  // namespace weightfs
