#include "convert/io/lz4_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <lz4frame.h>

#include <atomic>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "convert/io/local_file.h"
#include "convert/io/lz4_frame.h"
#include "tests/support/aligned_buffer.h"
#include "tests/support/faulty_file.h"
#include "tests/support/malformed_corpus.h"
#include "tests/support/temp_dir.h"

namespace weightfs {
namespace {

using testing::AlignedBuffer;
using testing::FaultyFile;
using ::testing::HasSubstr;
using testing::PatternBytes;
using testing::ReadFile;
using testing::TempDir;
using testing::WriteFile;

struct FrameOptions {
  LZ4F_blockSizeID_t block_size = LZ4F_max64KB;
  LZ4F_blockMode_t block_mode = LZ4F_blockIndependent;
  bool block_checksums = false;
  bool content_checksum = false;
  bool content_size = true;
};

std::string Compress(const std::string& content, FrameOptions options = {}) {
  LZ4F_preferences_t preferences{};
  preferences.frameInfo.blockSizeID = options.block_size;
  preferences.frameInfo.blockMode = options.block_mode;
  preferences.frameInfo.blockChecksumFlag =
      options.block_checksums ? LZ4F_blockChecksumEnabled : LZ4F_noBlockChecksum;
  preferences.frameInfo.contentChecksumFlag =
      options.content_checksum ? LZ4F_contentChecksumEnabled : LZ4F_noContentChecksum;
  preferences.frameInfo.contentSize = options.content_size ? content.size() : 0;
  std::string compressed(LZ4F_compressBound(content.size(), &preferences) + LZ4F_HEADER_SIZE_MAX, '\0');
  // By hand: LZ4F_compressFrame chooses the block size and mode anew for small contents.
  LZ4F_cctx* context = nullptr;
  EXPECT_FALSE(LZ4F_isError(LZ4F_createCompressionContext(&context, LZ4F_VERSION)));
  size_t size = LZ4F_compressBegin(context, compressed.data(), compressed.size(), &preferences);
  EXPECT_FALSE(LZ4F_isError(size));
  size += LZ4F_compressUpdate(context, compressed.data() + size, compressed.size() - size, content.data(),
                              content.size(), nullptr);
  const size_t end = LZ4F_compressEnd(context, compressed.data() + size, compressed.size() - size, nullptr);
  EXPECT_FALSE(LZ4F_isError(end)) << LZ4F_getErrorName(end);
  LZ4F_freeCompressionContext(context);
  compressed.resize(size + end);
  return compressed;
}

/// Content of which some blocks compress and some do not, and one compresses as far as lz4 can.
std::string MixedContent(size_t size) {
  std::string content = PatternBytes(size);
  for (size_t i = 0; i < size; ++i)
    if (i / 50'000 % 3 == 0) content[i] = static_cast<char>('a' + i % 7);
  for (size_t i = 65536; i < std::min<size_t>(size, 3 * 65536); ++i) content[i] = 'z';
  return content;
}

Result<FilePtr> OpenBytes(std::string bytes, uint64_t cache_bytes = 1 << 20, const Limits& limits = {}) {
  return OpenLz4(MakeMemoryFile(std::move(bytes), "m.bin.lz4"), std::make_shared<BlockCache>(cache_bytes),
                 limits);
}

std::string ReadAll(const RandomAccessFile& file) {
  std::string bytes(file.size_bytes(), '\0');
  const Status status = file.ReadAt(0, std::as_writable_bytes(std::span(bytes)));
  EXPECT_TRUE(status.has_value()) << status.error().message;
  return bytes;
}

TEST(Lz4FileTest, EveryKindOfSeekableFrameGivesItsContent) {
  for (const size_t size : {1u, 65535u, 65536u, 65537u, 700'000u})
    for (const LZ4F_blockSizeID_t block_size : {LZ4F_max64KB, LZ4F_max256KB, LZ4F_max4MB})
      for (const bool block_checksums : {false, true})
        for (const bool content_checksum : {false, true}) {
          const std::string content = MixedContent(size);
          const auto file = OpenBytes(Compress(content, {.block_size = block_size,
                                                         .block_checksums = block_checksums,
                                                         .content_checksum = content_checksum}));
          ASSERT_TRUE(file.has_value()) << file.error().message;
          EXPECT_EQ((*file)->size_bytes(), size);
          EXPECT_TRUE(ReadAll(**file) == content);
          EXPECT_EQ((*file)->location().file, nullptr);
        }
}

TEST(Lz4FileTest, RandomRangesThroughDirectReadsAndACacheOfAnySize) {
  TempDir dir;
  const std::string content = MixedContent(3'000'001);
  WriteFile(dir / "f.lz4", Compress(content, {.block_checksums = true}));
  const uint32_t seed = std::random_device()();
  SCOPED_TRACE(seed);
  std::mt19937_64 random(seed);
  for (const uint64_t cache_bytes : {0u, 300'000u, 64u << 20}) {
    const auto source = LocalFile::Open(dir / "f.lz4", "f.lz4", {.source_io = SourceIo::kDirect});
    ASSERT_TRUE(source.has_value());
    const auto file = OpenLz4(*source, std::make_shared<BlockCache>(cache_bytes), {});
    ASSERT_TRUE(file.has_value()) << file.error().message;
    AlignedBuffer buffer(content.size());
    for (int i = 0; i < 60; ++i) {
      const uint64_t begin = random() % content.size();
      const uint64_t size = random() % std::min<uint64_t>(400'000, content.size() - begin + 1);
      const auto got = (*file)->ReadWithin({begin, begin + size}, buffer.span());
      ASSERT_TRUE(got.has_value()) << got.error().message;
      ASSERT_EQ(std::string_view(reinterpret_cast<const char*>(got->data()), got->size()),
                std::string_view(content).substr(begin, size));
    }
    EXPECT_GT((*source)->counters().direct_reads, 0u);
  }
}

TEST(Lz4FileTest, BlocksAreDecodedOnceWhileTheCacheHoldsThem) {
  const std::string content = MixedContent(700'000);
  auto cache = std::make_shared<BlockCache>(uint64_t{64} << 20);
  const auto file = OpenLz4(MakeMemoryFile(Compress(content, {.block_checksums = true}), "f"), cache, {});
  ASSERT_TRUE(file.has_value());
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(ReadAll(**file) == content);
  EXPECT_EQ(cache->stats().misses, 11u);
}

TEST(Lz4FileTest, FramesAndSkippableFramesFollowOneAnother) {
  const std::string a = MixedContent(200'000);
  const std::string b = PatternBytes(70'000, 5);
  const std::string skippable("\x5f\x2a\x4d\x18\x05\x00\x00\x00hello", 13);
  const std::string empty = Compress("");  // a content size of zero cannot be told from none
  const std::string large = Compress(b, {.block_size = LZ4F_max1MB, .block_checksums = true});
  const auto file = OpenBytes(skippable + Compress(a) + empty + skippable + large + empty + skippable);
  ASSERT_TRUE(file.has_value()) << file.error().message;
  EXPECT_TRUE(ReadAll(**file) == a + b);
  std::string across(1000, '\0');
  ASSERT_TRUE((*file)->ReadAt(199'500, std::as_writable_bytes(std::span(across))).has_value());
  EXPECT_EQ(across, (a + b).substr(199'500, 1000));
  for (const std::string& nothing : {empty, skippable, empty + skippable}) {
    const auto none = OpenBytes(nothing);
    ASSERT_TRUE(none.has_value()) << none.error().message;
    EXPECT_EQ((*none)->size_bytes(), 0u);
  }
}

TEST(Lz4FileTest, ALinkedFrameOfOneBlockIsSeekable) {
  const std::string content = MixedContent(65536);
  const auto one = OpenBytes(Compress(content, {.block_mode = LZ4F_blockLinked}));
  ASSERT_TRUE(one.has_value()) << one.error().message;
  EXPECT_TRUE(ReadAll(**one) == content);
  const auto two = OpenBytes(Compress(content + "x", {.block_mode = LZ4F_blockLinked}));
  ASSERT_FALSE(two.has_value());
  EXPECT_EQ(two.error().code, ErrorCode::kUnsupported);
  EXPECT_THAT(two.error().message, HasSubstr("m.bin.lz4: lz4 frame at offset 0: linked blocks; expected"));
  EXPECT_THAT(two.error().remedy, HasSubstr("lz4 -BI --content-size"));
}

TEST(Lz4FileTest, LooksLikeLz4) {
  const auto looks = [](std::string bytes) { return *LooksLikeLz4(*MakeMemoryFile(std::move(bytes), "f")); };
  EXPECT_TRUE(looks(Compress("hello")));
  EXPECT_TRUE(looks("\x50\x2a\x4d\x18"));
  EXPECT_TRUE(looks("\x5f\x2a\x4d\x18"));
  EXPECT_TRUE(looks("\x02\x21\x4c\x18"));
  EXPECT_FALSE(looks("\x04\x22\x4d"));
  EXPECT_FALSE(looks("PK\x03\x04"));
  EXPECT_FALSE(looks(""));
}

TEST(Lz4FileTest, TheTableHasALimit) {
  const std::string compressed = Compress(MixedContent(10 * 65536));
  const uint64_t frame_bytes = 32;
  const uint64_t needed = 10 * 12 + frame_bytes;
  Limits limits;
  for (const uint64_t maximum : {needed - 1, needed, needed + 1}) {
    limits.lz4_table_bytes_max = maximum;
    const auto file = OpenBytes(compressed, 1 << 20, limits);
    EXPECT_EQ(file.has_value(), maximum >= needed);
    if (file) continue;
    EXPECT_EQ(file.error().code, ErrorCode::kLimitExceeded);
    EXPECT_THAT(file.error().message, HasSubstr("10 blocks take a table of 152 bytes; expected at most 151"));
    EXPECT_THAT(file.error().remedy, HasSubstr("-B7"));
  }
}

TEST(Lz4FileTest, OpeningReadsHeadersAndTwoBlocksOnly) {
  const auto source = std::make_shared<FaultyFile>(
      MakeMemoryFile(Compress(PatternBytes(40 << 20), {.block_size = LZ4F_max4MB}), "f"),
      FaultyFile::Faults{});
  ASSERT_TRUE(OpenLz4(source, std::make_shared<BlockCache>(64 << 20), {}).has_value());
  EXPECT_LT(source->bytes_read(), 10'000u)
      << "these blocks are stored as they are: one byte of each end is enough";
}

TEST(Lz4FileTest, FailingReadsOfTheSourceFailTheReadAndAreNotKept) {
  const std::string content = MixedContent(700'000);
  const FilePtr bytes = MakeMemoryFile(Compress(content), "f");
  for (uint64_t nth = 0; nth < 40; ++nth) {
    const auto source =
        std::make_shared<FaultyFile>(bytes, FaultyFile::Faults{.fail_begin = nth, .fail_end = nth + 1});
    const auto file = OpenLz4(source, std::make_shared<BlockCache>(64 << 20), {});
    if (!file) {
      EXPECT_EQ(file.error().error_number, EIO);
      continue;
    }
    std::string got(content.size(), '\0');
    const Status status = (*file)->ReadAt(0, std::as_writable_bytes(std::span(got)));
    if (status) {
      EXPECT_TRUE(got == content);
    } else {
      EXPECT_EQ(status.error().error_number, EIO);
      EXPECT_TRUE(ReadAll(**file) == content) << "a failure must not be remembered";
    }
  }
}

TEST(Lz4FileTest, ManyThreads) {
  const std::string content = MixedContent(2'000'000);
  const auto file = OpenBytes(Compress(content, {.block_checksums = true}), 200'000);
  ASSERT_TRUE(file.has_value());
  std::atomic<int> wrong{0};
  std::vector<std::jthread> threads;
  for (int t = 0; t < 8; ++t)
    threads.emplace_back([&, t] {
      std::mt19937_64 random(t);
      std::string got;
      for (int i = 0; i < 40; ++i) {
        const uint64_t begin = random() % content.size();
        got.resize(std::min<uint64_t>(random() % 200'000, content.size() - begin));
        if (!(*file)->ReadAt(begin, std::as_writable_bytes(std::span(got))) ||
            got != std::string_view(content).substr(begin, got.size()))
          ++wrong;
      }
    });
  threads.clear();
  EXPECT_EQ(wrong, 0);
}

TEST(Lz4FileTest, MalformedFilesAreRefusedByName) {
  for (const auto& malformed : testing::LoadMalformedCases(WEIGHTFS_MALFORMED_DIR "/lz4")) {
    SCOPED_TRACE(malformed.path);
    Status status;
    const auto file = OpenBytes(ReadFile(malformed.path));
    if (file) {
      std::string bytes((*file)->size_bytes(), '\0');
      status = (*file)->ReadAt(0, std::as_writable_bytes(std::span(bytes)));
    } else {
      status = std::unexpected(file.error());
    }
    ASSERT_FALSE(status.has_value());
    EXPECT_EQ(ErrorCodeName(status.error().code), malformed.code) << status.error().message;
    EXPECT_THAT(status.error().message, HasSubstr(malformed.message_contains));
    EXPECT_THAT(status.error().message, HasSubstr("m.bin.lz4: "));
    EXPECT_EQ(status.error().remedy.empty(),
              malformed.code != "unsupported" || malformed.path.find("version") != std::string::npos);
  }
}

}  // namespace
}  // namespace weightfs
