// A source that stalls delays the files that need it and nothing else, however many readers wait for it.
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>

#include <algorithm>
#include <csignal>

#include "tests/mount/mount_test.h"

namespace weightfs::testing {
namespace {

using std::chrono::steady_clock;

constexpr uint64_t kSize = 96 * 1_MiB;
// Generous: what is measured either takes milliseconds or never ends.
constexpr auto kSoon = std::chrono::seconds(30);

/// Threads that wait for a stalled file: half of them in page faults far apart, half in reads.
class Waiters {
 public:
  Waiters(const std::string& path, int count) : file_(path, O_RDONLY) {
    mapping_ = static_cast<const char*>(mmap(nullptr, kSize, PROT_READ, MAP_SHARED, file_, 0));
    for (int i = 0; i < count; ++i) {
      const uint64_t offset = kSize / static_cast<uint64_t>(count) * static_cast<uint64_t>(i);
      threads_.emplace_back([this, i, offset] {
        if (i % 2 == 0) {
          right_ += MatchesPattern(mapping_ + offset, 100, offset);
        } else {
          const std::string bytes = PreadAll(file_, offset, 100);
          right_ += bytes.size() == 100 && MatchesPattern(bytes.data(), 100, offset);
        }
      });
    }
  }
  ~Waiters() {
    threads_.clear();
    munmap(const_cast<char*>(mapping_), kSize);
  }
  Waiters(const Waiters&) = delete;
  Waiters& operator=(const Waiters&) = delete;

  int Join() {
    threads_.clear();
    return right_;
  }

 private:
  Descriptor file_;
  const char* mapping_;
  std::atomic<int> right_ = 0;
  std::vector<std::jthread> threads_;
};

class StallingTest : public MountTest {
 protected:
  /// Metadata, memory and files of other sources answer while others stall.
  void ExpectAllElseAnswers(const std::string& fresh_file) {
    const auto start = steady_clock::now();
    struct stat attributes;
    for (int i = 0; i < 50; ++i) {
      EXPECT_EQ(stat(Path("absent" + fresh_file + std::to_string(i)).c_str(), &attributes), -1);
    }
    struct statvfs statistics;
    EXPECT_EQ(statvfs(mountpoint_.c_str(), &statistics), 0);
    EXPECT_GT(std::distance(std::filesystem::directory_iterator(mountpoint_), {}), 0);
    EXPECT_EQ(ReadFile(Path("config.json")), "{}");
    EXPECT_FALSE(ReadStatusJson().empty());
    const Descriptor file(Path(fresh_file), O_RDONLY);
    const std::string bytes = PreadAll(file, 0, kSize);
    EXPECT_EQ(bytes.size(), kSize);
    EXPECT_TRUE(MatchesPattern(bytes.data(), bytes.size(), 0));
    EXPECT_LT(steady_clock::now() - start, kSoon);
  }
};

TEST_F(StallingTest, OneStalledFileWithManyReadersDelaysNothingElse) {
  constexpr int kReaders = 128;
  const auto stalled = AddSteeredFile("stalled", kSize);
  AddSteeredFile("fine", kSize);
  ASSERT_TRUE(source_.tree.AddFile("config.json", MakeTextFile("{}"), kTime));
  Mount({.threads = 4});
  stalled->is_stalled = true;
  Waiters waiters(Path("stalled"), kReaders);
  ASSERT_TRUE(Eventually([&] { return stalled->running == 4; }));
  ExpectAllElseAnswers("fine");
  EXPECT_EQ(stalled->running.load(), 4);
  stalled->is_stalled = false;
  EXPECT_EQ(waiters.Join(), kReaders) << "every reader got its bytes";
  EXPECT_LE(stalled->running_max.load(), 4);
  EXPECT_GT(ReadStatusJson().at("queued_reads"), 0);
}

TEST_F(StallingTest, ManyStalledFilesLeaveOneThreadForEachOther) {
  constexpr int kStalledFiles = 20;
  std::vector<SharedMemory<Steering>> stalled;
  for (int i = 0; i < kStalledFiles; ++i)
    stalled.push_back(AddSteeredFile(fmt::format("stalled{}", i), kSize));
  AddSteeredFile("fine", kSize);
  ASSERT_TRUE(source_.tree.AddFile("config.json", MakeTextFile("{}"), kTime));
  Mount({.threads = 2});
  for (auto& one : stalled) one->is_stalled = true;
  std::vector<std::unique_ptr<Waiters>> waiters;
  for (int i = 0; i < kStalledFiles; ++i)
    waiters.push_back(std::make_unique<Waiters>(Path(fmt::format("stalled{}", i)), 6));
  ASSERT_TRUE(
      Eventually([&] { return std::ranges::all_of(stalled, [](auto& one) { return one->running >= 1; }); }));
  ExpectAllElseAnswers("fine");
  for (auto& one : stalled) one->is_stalled = false;
  for (auto& one : waiters) EXPECT_EQ(one->Join(), 6);
}

TEST_F(StallingTest, ReadersOfAStalledFileCanBeKilled) {
  const auto stalled = AddSteeredFile("stalled", kSize);
  Mount();
  stalled->is_stalled = true;
  const pid_t reader = fork();
  if (reader == 0) {
    const Descriptor file(Path("stalled"), O_RDONLY);
    char byte;
    _exit(pread(file, &byte, 1, 0) == 1);
  }
  ASSERT_TRUE(Eventually([&] { return stalled->running >= 1; }));
  kill(reader, SIGKILL);
  int status = 0;
  EXPECT_TRUE(Eventually([&] { return waitpid(reader, &status, WNOHANG) == reader; }));
}

TEST_F(StallingTest, TheMountEndsOnRequestThoughASourceStalls) {
  const auto stalled = AddSteeredFile("stalled", kSize);
  Mount();
  stalled->is_stalled = true;
  std::atomic<bool> has_failed = false;
  std::jthread reader([&] {
    const Descriptor file(Path("stalled"), O_RDONLY);
    char byte;
    has_failed = pread(file, &byte, 1, 0) < 0;
  });
  ASSERT_TRUE(Eventually([&] { return stalled->running >= 1; }));
  const auto start = steady_clock::now();
  EXPECT_TRUE(process_->Stop());
  EXPECT_LT(steady_clock::now() - start, kSoon);
  process_.reset();
  reader.join();
  EXPECT_TRUE(has_failed.load()) << "its reader got an error, not bytes";
}

}  // namespace
}  // namespace weightfs::testing
