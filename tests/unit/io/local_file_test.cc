#include "convert/io/local_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <random>
#include <string_view>
#include <thread>
#include <vector>

#include "convert/io/descriptor.h"
#include "convert/io/descriptor_limit.h"
#include "convert/io/residency.h"
#include "tests/support/aligned_buffer.h"
#include "tests/support/temp_dir.h"

namespace weightfs {
namespace {

using testing::AlignedBuffer;
using ::testing::HasSubstr;
using testing::PatternBytes;
using testing::TempDir;
using testing::WriteFile;

std::shared_ptr<const LocalFile> Open(const std::string& path, SourceIo source_io = SourceIo::kAuto,
                                      DescriptorPolicy descriptors = DescriptorPolicy::kHeld) {
  auto file = LocalFile::Open(path, "model.bin", {source_io, descriptors});
  EXPECT_TRUE(file.has_value()) << file.error().message;
  return file ? *file : nullptr;
}

std::string_view View(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

void DropFromPageCache(const std::string& path) {
  const Descriptor fd(::open(path.c_str(), O_RDWR));
  ASSERT_EQ(fsync(fd.get()), 0);
  ASSERT_EQ(posix_fadvise(fd.get(), 0, 0, POSIX_FADV_DONTNEED), 0);
}

uint64_t ResidentPages(const std::string& path, ByteRange range) {
  const Descriptor fd(::open(path.c_str(), O_RDONLY));
  const auto residency = ProbeResidency(ResidencyProbe::kMincore, fd.get(), range);
  EXPECT_TRUE(residency.has_value());
  return residency ? residency->resident_pages : 0;
}

TEST(LocalFileTest, DirectReadsGiveEveryByteAtEveryAlignmentAndOddTail) {
  TempDir dir;
  const std::string path = dir / "f";
  for (const uint64_t size :
       {1u, 511u, 512u, 4095u, 4096u, 4097u, 3 * 4096u, 3 * 4096u + 1, 5 * 4096u - 513}) {
    const std::string bytes = PatternBytes(size, size);
    WriteFile(path, bytes);
    const auto file = Open(path, SourceIo::kDirect);
    ASSERT_TRUE(file->direct_io_possible()) << file->source_io_report().obstacle;
    AlignedBuffer buffer(size);
    for (const uint64_t begin : {0u, 1u, 511u, 512u, 513u, 4095u, 4096u, 4097u, 8191u, 8192u})
      for (const uint64_t end_gap : {0u, 1u, 3u, 511u, 512u, 4095u, 4096u, 4097u}) {
        if (begin + end_gap > size) continue;
        const ByteRange range{begin, size - end_gap};
        if (range.begin > range.end) continue;
        const auto got = file->ReadWithin(range, buffer.span());
        ASSERT_TRUE(got.has_value()) << got.error().message;
        ASSERT_EQ(View(*got), bytes.substr(range.begin, range.size()))
            << size << " " << begin << " " << end_gap;
      }
    EXPECT_EQ(file->counters().buffered_reads, 0u);
    EXPECT_GT(file->counters().direct_reads, 0u);
  }
}

TEST(LocalFileTest, RandomRangesAreEqualHoweverTheyAreRead) {
  TempDir dir;
  const std::string path = dir / "f";
  const std::string bytes = PatternBytes(3'000'001);
  WriteFile(path, bytes);
  const uint32_t seed = std::random_device()();
  SCOPED_TRACE(seed);
  std::mt19937_64 random(seed);
  for (const SourceIo source_io : {SourceIo::kAuto, SourceIo::kDirect, SourceIo::kBuffered})
    for (const DescriptorPolicy policy : {DescriptorPolicy::kHeld, DescriptorPolicy::kPerRead}) {
      const auto file = Open(path, source_io, policy);
      AlignedBuffer buffer(bytes.size());
      std::string unaligned(bytes.size() + 1, '\0');
      for (int i = 0; i < 200; ++i) {
        const uint64_t begin = random() % bytes.size();
        const uint64_t size = random() % (bytes.size() - begin + 1);
        if (i % 50 == 0) DropFromPageCache(path);
        const auto got = file->ReadWithin({begin, begin + size}, buffer.span());
        ASSERT_TRUE(got.has_value()) << got.error().message;
        ASSERT_EQ(View(*got), std::string_view(bytes).substr(begin, size));
        const auto destination = std::as_writable_bytes(std::span(unaligned)).subspan(1, size);
        const Status status = file->ReadAt(begin, destination);
        ASSERT_TRUE(status.has_value()) << status.error().message;
        ASSERT_EQ(View(destination), std::string_view(bytes).substr(begin, size));
      }
    }
}

TEST(LocalFileTest, AlignedReadAtIsDirect) {
  TempDir dir;
  const std::string path = dir / "f";
  const std::string bytes = PatternBytes(3 * 65536);
  WriteFile(path, bytes);
  const auto file = Open(path, SourceIo::kDirect);
  AlignedBuffer buffer(bytes.size());
  const auto destination = buffer.span().first(65536);
  ASSERT_TRUE(file->ReadAt(65536, destination).has_value());
  EXPECT_EQ(View(destination), std::string_view(bytes).substr(65536, 65536));
  EXPECT_EQ(file->counters().direct_reads, 1u);
  ASSERT_TRUE(file->ReadAt(65537, destination).has_value());
  EXPECT_EQ(View(destination), std::string_view(bytes).substr(65537, 65536));
  EXPECT_EQ(file->counters().buffered_reads, 1u);
}

TEST(LocalFileTest, AutoReadsWhatIsNotCachedPastTheCacheAndWhatIsCachedThroughIt) {
  TempDir dir;
  const std::string path = dir / "f";
  constexpr uint64_t kMiB = 1 << 20;
  WriteFile(path, PatternBytes(8 * kMiB));
  const auto file = Open(path);
  ASSERT_TRUE(file->direct_io_possible()) << file->source_io_report().obstacle;
  AlignedBuffer buffer(kMiB);

  DropFromPageCache(path);
  for (uint64_t i = 0; i < 8; ++i)
    ASSERT_TRUE(file->ReadWithin({i * kMiB, (i + 1) * kMiB}, buffer.span()).has_value());
  EXPECT_EQ(file->counters().direct_reads, 8u);
  EXPECT_EQ(ResidentPages(path, {0, 8 * kMiB}), 0u) << "the source was to be read past the page cache";

  // Eight pages of a hundred and twenty-eight are missing: through the cache. Thirty-two of them: past it.
  std::string page(4096, '\0');
  const Descriptor other(::open(path.c_str(), O_RDONLY));
  posix_fadvise(other.get(), 0, 0, POSIX_FADV_RANDOM);
  const auto fill = [&](uint64_t begin_page, uint64_t end_page) {
    for (uint64_t i = begin_page; i < end_page; ++i)
      ASSERT_EQ(pread(other.get(), page.data(), page.size(), static_cast<off_t>(i * 4096)), 4096);
  };
  fill(0, 96);
  ASSERT_TRUE(file->ReadWithin({0, 128 * 4096}, buffer.span()).has_value());
  EXPECT_EQ(file->counters().direct_reads, 9u);
  fill(96, 120);
  ASSERT_TRUE(file->ReadWithin({0, 128 * 4096}, buffer.span()).has_value());
  EXPECT_EQ(file->counters().direct_reads, 9u);
  EXPECT_EQ(file->counters().buffered_reads, 1u);
  EXPECT_EQ(file->counters().bytes_read, 8 * kMiB + 2 * 128 * 4096);
}

TEST(LocalFileTest, SmallReadsGoThroughTheCacheWithoutReadAhead) {
  TempDir dir;
  const std::string path = dir / "f";
  WriteFile(path, PatternBytes(1 << 20));
  const auto file = Open(path);
  DropFromPageCache(path);
  AlignedBuffer buffer(65536);
  ASSERT_TRUE(file->ReadWithin({100, 200}, buffer.span()).has_value());
  EXPECT_EQ(file->counters().buffered_reads, 1u);
  EXPECT_EQ(ResidentPages(path, {0, 1 << 20}), 1u);
  ASSERT_TRUE(file->ReadWithin({16384, 32767}, buffer.span()).has_value());
  EXPECT_EQ(file->counters().buffered_reads, 2u);
  ASSERT_TRUE(file->ReadWithin({32768, 49152}, buffer.span()).has_value());
  EXPECT_EQ(file->counters().direct_reads, 1u);
}

TEST(LocalFileTest, DirectReadsSeeDirtyPages) {
  TempDir dir;
  const std::string path = dir / "f";
  WriteFile(path, std::string(65536, 'a'));
  const Descriptor writer(::open(path.c_str(), O_RDWR));
  ASSERT_EQ(pwrite(writer.get(), "fresh", 5, 40000), 5);
  const auto file = Open(path, SourceIo::kDirect);
  AlignedBuffer buffer(65536);
  const auto got = file->ReadWithin({0, 65536}, buffer.span());
  ASSERT_TRUE(got.has_value());
  EXPECT_EQ(View(*got).substr(40000, 5), "fresh");
}

TEST(LocalFileTest, BufferedNeverReadsDirectly) {
  TempDir dir;
  WriteFile(dir / "f", PatternBytes(1 << 20));
  DropFromPageCache(dir / "f");
  const auto file = Open(dir / "f", SourceIo::kBuffered);
  EXPECT_FALSE(file->direct_io_possible());
  AlignedBuffer buffer(1 << 20);
  ASSERT_TRUE(file->ReadWithin({0, 1 << 20}, buffer.span()).has_value());
  const SourceIoReport report = file->source_io_report();
  EXPECT_EQ(report.direct_reads, 0u);
  EXPECT_EQ(report.buffered_reads, 1u);
  EXPECT_EQ(report.bytes_read, 1u << 20);
  EXPECT_FALSE(report.drops_behind);
  EXPECT_THAT(report.obstacle, HasSubstr("buffered"));
}

TEST(LocalFileTest, TmpfsIsReadBufferedAndKept) {
  const std::string path = fmt::format("/dev/shm/weightfs-local-file-test-{}", getpid());
  WriteFile(path, PatternBytes(200'000));
  const auto file = Open(path);
  EXPECT_FALSE(file->direct_io_possible());
  EXPECT_FALSE(file->source_io_report().drops_behind);
  AlignedBuffer buffer(200'000);
  const auto got = file->ReadWithin({1, 199'999}, buffer.span());
  EXPECT_TRUE(got.has_value() && View(*got) == std::string_view(PatternBytes(200'000)).substr(1, 199'998));
  unlink(path.c_str());
}

TEST(LocalFileTest, ProbesAgree) {
  TempDir dir;
  const std::string path = dir / "f";
  WriteFile(path, PatternBytes(100 * 4096 + 5));
  DropFromPageCache(path);
  const Descriptor fd(::open(path.c_str(), O_RDONLY));
  posix_fadvise(fd.get(), 0, 0, POSIX_FADV_RANDOM);
  std::string bytes(10 * 4096, '\0');
  ASSERT_EQ(pread(fd.get(), bytes.data(), bytes.size(), 50 * 4096), static_cast<ssize_t>(bytes.size()));
  struct stat attributes{};
  ASSERT_EQ(fstat(fd.get(), &attributes), 0);
  const ResidencyProbe best = ChooseResidencyProbe(fd.get(), attributes);
  EXPECT_NE(best, ResidencyProbe::kNone);
  for (const ResidencyProbe probe : {best, ResidencyProbe::kMincore}) {
    const auto all = ProbeResidency(probe, fd.get(), {0, 100 * 4096 + 5});
    ASSERT_TRUE(all.has_value());
    EXPECT_EQ(all->total_pages, 101u);
    EXPECT_EQ(all->resident_pages, 10u);
    EXPECT_EQ(ProbeResidency(probe, fd.get(), {49 * 4096 + 1, 51 * 4096})->resident_pages, 1u);
    EXPECT_EQ(ProbeResidency(probe, fd.get(), {59 * 4096 + 4095, 60 * 4096 + 1})->resident_pages, 1u);
  }
  EXPECT_FALSE(ProbeResidency(ResidencyProbe::kNone, fd.get(), {0, 1}).has_value());
}

TEST(LocalFileTest, ConcurrentReadsOfOneFile) {
  TempDir dir;
  const std::string path = dir / "f";
  const std::string bytes = PatternBytes(4'000'003);
  WriteFile(path, bytes);
  DropFromPageCache(path);
  const auto file = Open(path);
  std::vector<std::jthread> threads;
  std::atomic<int> wrong{0};
  for (int t = 0; t < 8; ++t)
    threads.emplace_back([&, t] {
      std::mt19937_64 random(t);
      AlignedBuffer buffer(300'000);
      for (int i = 0; i < 60; ++i) {
        const uint64_t begin = random() % bytes.size();
        const uint64_t size = std::min<uint64_t>(random() % 300'000, bytes.size() - begin);
        const auto got = file->ReadWithin({begin, begin + size}, buffer.span());
        if (!got || View(*got) != std::string_view(bytes).substr(begin, size)) ++wrong;
      }
    });
  threads.clear();
  EXPECT_EQ(wrong, 0);
}

TEST(LocalFileTest, StridedReadsTakeEveryPieceAndNothingElse) {
  TempDir dir;
  const std::string path = dir / "f";
  const std::string bytes = PatternBytes(1'000'003);
  WriteFile(path, bytes);
  for (const SourceIo source_io : {SourceIo::kAuto, SourceIo::kDirect, SourceIo::kBuffered})
    for (const DescriptorPolicy policy : {DescriptorPolicy::kHeld, DescriptorPolicy::kPerRead}) {
      const auto whole = Open(path, source_io, policy);
      const FilePtr part = MakeSubFile(whole, 17, bytes.size() - 17, "part").value();
      const RandomAccessFile::Stride stride{5, 100, 3001, 333};
      const uint64_t bytes_before = whole->counters().bytes_read;
      std::string got(333 * 128, '#');
      ASSERT_TRUE(part->ReadStrided(stride, std::as_writable_bytes(std::span(got)), 128));
      EXPECT_EQ(whole->counters().bytes_read - bytes_before, 33'300u);
      for (uint64_t i = 0; i < stride.count; ++i) {
        ASSERT_EQ(got.substr(i * 128, 100), bytes.substr(22 + i * 3001, 100)) << i;
        ASSERT_EQ(got.substr(i * 128 + 100, 28), std::string(28, '#')) << "the pitch is not written to";
      }
      // The last piece ends where the file does; one byte more is refused.
      const RandomAccessFile::Stride to_end{bytes.size() - 2007, 7, 1000, 3};
      EXPECT_TRUE(whole->ReadStrided(to_end, std::as_writable_bytes(std::span(got)), 7));
      const RandomAccessFile::Stride past_end{bytes.size() - 2006, 7, 1000, 3};
      EXPECT_EQ(whole->ReadStrided(past_end, std::as_writable_bytes(std::span(got)), 7).error().code,
                ErrorCode::kInvalidArgument);
    }
  const auto file = Open(path);
  WriteFile(path, PatternBytes(1'000'003, 9));
  std::string got(300, '\0');
  const Status stale = file->ReadStrided({0, 100, 1000, 3}, std::as_writable_bytes(std::span(got)), 100);
  ASSERT_FALSE(stale.has_value());
  EXPECT_EQ(stale.error().code, ErrorCode::kStale);
}

// A gather of columns brings its rows into the page cache once; when the last is done they go again, but not from
// under somebody who had them cached before.
TEST(LocalFileTest, StridedReadsFillTheCacheOnceAndDropItBehind) {
  TempDir dir;
  const std::string path = dir / "f";
  constexpr uint64_t kMiB = 1 << 20;
  WriteFile(path, PatternBytes(8 * kMiB));
  std::string got(kMiB, '\0');
  const auto destination = std::as_writable_bytes(std::span(got));
  const RandomAccessFile::Stride columns{0, 512, 8192, 1024};
  for (const bool was_cached : {false, true}) {
    DropFromPageCache(path);
    AlignedBuffer buffer(kMiB);
    for (uint64_t i = 0; i < (was_cached ? 8 : 0); ++i) {
      ASSERT_TRUE(Open(path, SourceIo::kBuffered)->ReadWithin({i * kMiB, (i + 1) * kMiB}, buffer.span()));
    }
    const auto file = Open(path);
    file->WillRead({0, 8 * kMiB});
    ASSERT_TRUE(file->ReadStrided(columns, destination, 512));
    EXPECT_GE(ResidentPages(path, {0, 8 * kMiB}), 1024u);
    EXPECT_EQ(file->counters().bytes_read, 512u * 1024);
    file->DropBehind({0, 8 * kMiB});
    EXPECT_EQ(ResidentPages(path, {0, 8 * kMiB}), was_cached ? 2048u : 0u);
  }
}

TEST(LocalFileTest, OpenRefusesWhatIsNoRegularFile) {
  TempDir dir;
  const auto folder = LocalFile::Open(dir.path().string(), "D", {});
  ASSERT_FALSE(folder.has_value());
  EXPECT_EQ(folder.error().code, ErrorCode::kUnsupported);
  EXPECT_EQ(folder.error().message, "D: not a regular file; expected one");
  ASSERT_EQ(mkfifo((dir / "fifo").c_str(), 0600), 0);
  const auto fifo = LocalFile::Open(dir / "fifo", "F", {});
  ASSERT_FALSE(fifo.has_value());
  EXPECT_EQ(fifo.error().code, ErrorCode::kUnsupported);
  const auto absent = LocalFile::Open(dir / "absent", "A", {});
  ASSERT_FALSE(absent.has_value());
  EXPECT_EQ(absent.error().code, ErrorCode::kIo);
  EXPECT_EQ(absent.error().error_number, ENOENT);
  EXPECT_EQ(absent.error().message, "A: cannot be opened: No such file or directory");
}

TEST(LocalFileTest, SymbolicLinksAreResolvedAtOpen) {
  TempDir dir;
  std::filesystem::create_directory(dir.path() / "blobs");
  WriteFile(dir / "blobs/x", "content");
  std::filesystem::create_symlink("blobs/x", dir.path() / "link");
  const auto file = Open(dir / "link");
  EXPECT_EQ(file->resolved_path(), std::filesystem::canonical(dir.path() / "blobs/x").string());
  EXPECT_EQ(file->location().file, file.get());
  unlink((dir / "link").c_str());
  std::string got(7, '\0');
  EXPECT_TRUE(file->ReadAt(0, std::as_writable_bytes(std::span(got))).has_value());
  EXPECT_EQ(got, "content");
}

TEST(LocalFileTest, RangesOutsideAreRefusedAndEmptyOnesAreNot) {
  TempDir dir;
  WriteFile(dir / "f", "12345");
  const auto file = Open(dir / "f");
  AlignedBuffer buffer(10);
  EXPECT_EQ(file->size_bytes(), 5u);
  EXPECT_TRUE(file->ReadWithin({5, 5}, buffer.span()).has_value());
  EXPECT_EQ(file->ReadWithin({5, 6}, buffer.span()).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(file->ReadAt(~uint64_t{0}, buffer.span().first(2)).error().code, ErrorCode::kInvalidArgument);
  WriteFile(dir / "empty", "");
  const auto empty = Open(dir / "empty");
  EXPECT_EQ(empty->size_bytes(), 0u);
  EXPECT_TRUE(empty->ReadWithin({0, 0}, buffer.span()).has_value());
}

TEST(LocalFileTest, RunningOutOfDescriptorsNamesTheLimit) {
  TempDir dir;
  WriteFile(dir / "f", PatternBytes(100));
  const auto per_read = Open(dir / "f", SourceIo::kAuto, DescriptorPolicy::kPerRead);
  // The sanitizer looks at a class that it meets for the first time through a pipe, which needs descriptors.
  std::string got(10, '\0');
  ASSERT_EQ(FailIo(EMFILE, "before").error().error_number, EMFILE);
  ASSERT_TRUE(per_read->ReadAt(0, std::as_writable_bytes(std::span(got))).has_value());
  ASSERT_TRUE(LocalFile::Open(dir / "f", "F", {}).has_value());
  rlimit before{};
  getrlimit(RLIMIT_NOFILE, &before);
  const Descriptor next(::dup(0));
  const rlimit none{static_cast<rlim_t>(next.get()), before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  const auto file = LocalFile::Open(dir / "f", "F", {});
  const Status read = per_read->ReadAt(0, std::as_writable_bytes(std::span(got)));
  ASSERT_EQ(RaiseDescriptorLimit(), before.rlim_max);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  ASSERT_FALSE(file.has_value());
  EXPECT_EQ(file.error().error_number, EMFILE);
  EXPECT_THAT(file.error().message, HasSubstr("ulimit -n"));
  EXPECT_THAT(file.error().remedy, HasSubstr("ulimit -n"));
  ASSERT_FALSE(read.has_value());
  EXPECT_EQ(read.error().error_number, EMFILE);
  EXPECT_TRUE(per_read->ReadAt(0, std::as_writable_bytes(std::span(got))).has_value());
}

}  // namespace
}  // namespace weightfs
