// What counts as a change of a source file, and what does not: under both descriptor policies.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <string_view>
#include <thread>

#include "convert/io/local_file.h"
#include "tests/support/aligned_buffer.h"
#include "tests/support/temp_dir.h"

namespace weightfs {
namespace {

using testing::AlignedBuffer;
using ::testing::HasSubstr;
using testing::PatternBytes;
using testing::TempDir;
using testing::WriteFile;

class StaleTest : public ::testing::TestWithParam<DescriptorPolicy> {
 protected:
  StaleTest() {
    WriteFile(path_, bytes_);
    const auto opened = LocalFile::Open(path_, "model.bin", {SourceIo::kAuto, GetParam()});
    EXPECT_TRUE(opened.has_value());
    file_ = *opened;
    EXPECT_TRUE(Read().has_value());
    // A clock tick: until Linux 6.13 two changes within one have the same time stamp.
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  Status Read() const {
    AlignedBuffer buffer(bytes_.size());
    const auto got = file_->ReadWithin({10, bytes_.size()}, buffer.span());
    if (!got) return std::unexpected(got.error());
    EXPECT_EQ(std::string_view(reinterpret_cast<const char*>(got->data()), got->size()),
              std::string_view(bytes_).substr(10));
    return {};
  }
  void ExpectStale(std::string_view what) const {
    const Status first = Read();
    ASSERT_FALSE(first.has_value());
    EXPECT_EQ(first.error().code, ErrorCode::kStale) << first.error().message;
    EXPECT_EQ(first.error().error_number, ESTALE);
    EXPECT_THAT(first.error().message, HasSubstr("model.bin: changed after it was mounted"));
    EXPECT_THAT(first.error().message, HasSubstr(std::string(what)));
    EXPECT_EQ(first.error().remedy, "unmount and mount again");
  }
  timespec SavedMtime() const {
    struct stat attributes{};
    EXPECT_EQ(stat(path_.c_str(), &attributes), 0);
    return attributes.st_mtim;
  }

  TempDir dir_;
  std::string path_ = dir_ / "f";
  const std::string bytes_ = PatternBytes(50'000);
  std::shared_ptr<const LocalFile> file_;
};

TEST_P(StaleTest, Append) {
  std::ofstream(path_, std::ios::app) << "x";
  ExpectStale("size 50000 to 50001");
}

TEST_P(StaleTest, Truncate) {
  ASSERT_EQ(truncate(path_.c_str(), 4096), 0);
  ExpectStale("size 50000 to 4096");
}

TEST_P(StaleTest, TruncateToNothing) {
  ASSERT_EQ(truncate(path_.c_str(), 0), 0);
  ExpectStale("size 50000 to 0");
}

TEST_P(StaleTest, RewriteOfTheSameSize) {
  WriteFile(path_, PatternBytes(50'000, 2));
  ExpectStale("written to");
}

TEST_P(StaleTest, WriteOfOneByteElsewhere) {
  const int fd = ::open(path_.c_str(), O_WRONLY);
  ASSERT_EQ(pwrite(fd, "x", 1, 0), 1);
  close(fd);
  ExpectStale("written to");
}

TEST_P(StaleTest, RewriteWithItsTimesPutBack) {
  const timespec mtime = SavedMtime();
  WriteFile(path_, PatternBytes(50'000, 2));
  const timespec times[2] = {mtime, mtime};
  ASSERT_EQ(utimensat(AT_FDCWD, path_.c_str(), times, 0), 0);
  ExpectStale("ctime");
}

TEST_P(StaleTest, RenameOver) {
  WriteFile(dir_ / "g", bytes_);
  std::filesystem::rename(dir_ / "g", path_);
  ExpectStale("another file has its name");
}

TEST_P(StaleTest, Unlink) {
  unlink(path_.c_str());
  ExpectStale("removed or renamed");
}

TEST_P(StaleTest, RenameAway) {
  std::filesystem::rename(path_, dir_ / "g");
  ExpectStale("removed or renamed");
}

TEST_P(StaleTest, NameBecomesASymbolicLinkToTheSameFile) {
  std::filesystem::rename(path_, dir_ / "g");
  std::filesystem::create_symlink("g", path_);
  ExpectStale("another file has its name");
}

TEST_P(StaleTest, NameBecomesAFifo) {
  unlink(path_.c_str());
  ASSERT_EQ(mkfifo(path_.c_str(), 0600), 0);
  ExpectStale("another file has its name");
}

TEST_P(StaleTest, StaysStaleWhenEverythingIsPutBack) {
  std::filesystem::rename(path_, dir_ / "g");
  ExpectStale("removed or renamed");
  std::filesystem::rename(dir_ / "g", path_);
  ExpectStale("removed or renamed");
}

TEST_P(StaleTest, ChmodIsNoChange) {
  ASSERT_EQ(chmod(path_.c_str(), 0400), 0);
  EXPECT_TRUE(Read().has_value());
}

TEST_P(StaleTest, AHardLinkIsNoChange) {
  std::filesystem::create_hard_link(path_, dir_ / "g");
  EXPECT_TRUE(Read().has_value());
}

TEST_P(StaleTest, ReadingAndTouchingAtimeIsNoChange) {
  EXPECT_EQ(testing::ReadFile(path_), bytes_);
  EXPECT_TRUE(Read().has_value());
}

TEST_P(StaleTest, MovingAParentFolderIsNoChange) {
  TempDir outer;
  const auto folder = outer.path() / "a";
  std::filesystem::create_directory(folder);
  WriteFile(folder / "f", bytes_);
  file_ = *LocalFile::Open(folder / "f", "model.bin", {SourceIo::kAuto, GetParam()});
  std::filesystem::rename(folder, outer.path() / "b");
  EXPECT_TRUE(Read().has_value());
  std::filesystem::create_directory(folder);
  WriteFile(folder / "f", "another model under the old name");
  EXPECT_TRUE(Read().has_value());
}

TEST_P(StaleTest, OneChangedFileLeavesItsNeighbourReadable) {
  WriteFile(dir_ / "neighbour", "hello");
  const auto neighbour = *LocalFile::Open(dir_ / "neighbour", "n", {SourceIo::kAuto, GetParam()});
  unlink(path_.c_str());
  ExpectStale("removed");
  std::string got(5, '\0');
  EXPECT_TRUE(neighbour->ReadAt(0, std::as_writable_bytes(std::span(got))).has_value());
  EXPECT_EQ(got, "hello");
}

INSTANTIATE_TEST_SUITE_P(Policies, StaleTest,
                         ::testing::Values(DescriptorPolicy::kHeld, DescriptorPolicy::kPerRead),
                         [](const auto& policy) {
                           return policy.param == DescriptorPolicy::kHeld ? "Held" : "PerRead";
                         });

}  // namespace
}  // namespace weightfs
