// Bytes through every way of reading: read, mmap, O_DIRECT, with and without the kernel's cache.
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <random>

#include "tests/mount/mount_test.h"

namespace weightfs::testing {
namespace {

constexpr uint64_t kOddSize = 5 * 1_MiB + 12'345;

class Mapping {
 public:
  Mapping(int descriptor, size_t size, int protection, int flags)
      : size_(size), address_(mmap(nullptr, size, protection, flags, descriptor, 0)) {}
  ~Mapping() {
    if (is_valid()) munmap(address_, size_);
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  bool is_valid() const { return address_ != MAP_FAILED; }
  char* bytes() const { return static_cast<char*>(address_); }

 private:
  size_t size_;
  void* address_;
};

void ExpectWholeFile(int descriptor, uint64_t size) {
  ASSERT_GE(descriptor, 0);
  const std::string bytes = PreadAll(descriptor, 0, size + 100'000);
  ASSERT_EQ(bytes.size(), size) << "neither short nor beyond the end";
  EXPECT_TRUE(MatchesPattern(bytes.data(), bytes.size(), 0));
}

TEST_F(MountTest, ServesEveryByte) {
  for (uint64_t size : {uint64_t{0}, uint64_t{1}, uint64_t{4095}, uint64_t{4096}, uint64_t{4097}, 1_MiB - 1,
                        1_MiB, 1_MiB + 1, kOddSize})
    AddSteeredFile(fmt::format("size{}", size), size);
  Mount();
  for (const auto& entry : std::filesystem::directory_iterator(mountpoint_)) {
    const Descriptor file(entry.path(), O_RDONLY);
    ExpectWholeFile(file, entry.file_size());
  }
}

TEST_F(MountTest, ServesRandomRanges) {
  AddSteeredFile("file", kOddSize);
  Mount();
  const Descriptor file(Path("file"), O_RDONLY);
  const unsigned seed = std::random_device()();
  SCOPED_TRACE(fmt::format("seed {}", seed));
  std::mt19937_64 random(seed);
  for (int i = 0; i < 300; ++i) {
    const uint64_t offset = random() % (kOddSize + 1000);
    const size_t size = random() % (i % 10 == 0 ? 3 * 1_MiB : 20'000);
    const std::string bytes = PreadAll(file, offset, size);
    ASSERT_EQ(bytes.size(), offset >= kOddSize ? 0 : std::min<uint64_t>(size, kOddSize - offset));
    ASSERT_TRUE(MatchesPattern(bytes.data(), bytes.size(), offset));
  }
}

TEST_F(MountTest, MapsSharedAndPrivate) {
  AddSteeredFile("file", kOddSize);
  Mount();
  const Descriptor file(Path("file"), O_RDONLY);
  const Mapping shared(file, kOddSize, PROT_READ, MAP_SHARED);
  ASSERT_TRUE(shared.is_valid()) << errno;
  EXPECT_TRUE(MatchesPattern(shared.bytes(), kOddSize, 0));
  const Mapping copied(file, kOddSize, PROT_READ | PROT_WRITE, MAP_PRIVATE);
  ASSERT_TRUE(copied.is_valid()) << errno;
  EXPECT_TRUE(MatchesPattern(copied.bytes(), kOddSize, 0));
  copied.bytes()[kOddSize / 2] ^= 1;
  EXPECT_TRUE(MatchesPattern(shared.bytes(), kOddSize, 0)) << "a private write stays private";
}

TEST_F(MountTest, BytesPastTheEndOfAMappingsLastPageAreZero) {
  AddSteeredFile("file", 5000);
  Mount();
  const Descriptor file(Path("file"), O_RDONLY);
  const Mapping mapping(file, 5000, PROT_READ, MAP_SHARED);
  ASSERT_TRUE(mapping.is_valid());
  EXPECT_TRUE(MatchesPattern(mapping.bytes(), 5000, 0));
  EXPECT_TRUE(std::all_of(mapping.bytes() + 5000, mapping.bytes() + 8192, [](char c) { return c == 0; }));
}

TEST_F(MountTest, OpensWithODirectAndReadsOddTails) {
  AddSteeredFile("file", kOddSize);
  Mount();
  const Descriptor file(Path("file"), O_RDONLY | O_DIRECT);
  ASSERT_GE(static_cast<int>(file), 0) << errno;
  struct Free {
    void operator()(void* p) const { std::free(p); }
  };
  constexpr size_t kBufferBytes = 8 * 1_MiB;
  const std::unique_ptr<void, Free> buffer(std::aligned_alloc(4096, kBufferBytes));
  // In one call: everything, the tail after an aligned offset, odd offsets and sizes, past the end.
  EXPECT_EQ(pread(file, buffer.get(), kBufferBytes, 0), static_cast<ssize_t>(kOddSize));
  EXPECT_TRUE(MatchesPattern(buffer.get(), kOddSize, 0));
  const uint64_t tail = AlignDown(kOddSize, 4096);
  EXPECT_EQ(pread(file, buffer.get(), 4096, static_cast<off_t>(tail)), static_cast<ssize_t>(kOddSize - tail));
  EXPECT_TRUE(MatchesPattern(buffer.get(), kOddSize - tail, tail));
  EXPECT_EQ(pread(file, buffer.get(), 3 * 1_MiB + 7, 1234567), static_cast<ssize_t>(3 * 1_MiB + 7));
  EXPECT_TRUE(MatchesPattern(buffer.get(), 3 * 1_MiB + 7, 1234567));
  EXPECT_EQ(pread(file, buffer.get(), 4096, static_cast<off_t>(AlignUp(kOddSize, 4096))), 0);
}

TEST_F(MountTest, DirectIoServesTheSameAndMapsPrivately) {
  AddSteeredFile("file", kOddSize);
  Mount({.direct_io = true});
  const Descriptor file(Path("file"), O_RDONLY);
  ExpectWholeFile(file, kOddSize);
  const Mapping mapping(file, kOddSize, PROT_READ | PROT_WRITE, MAP_PRIVATE);
  ASSERT_TRUE(mapping.is_valid()) << errno;
  EXPECT_TRUE(MatchesPattern(mapping.bytes(), kOddSize, 0));
}

TEST_F(MountTest, ManyThreadsFaultAndReadWhileAnotherLists) {
  constexpr int kThreads = 64;
  constexpr uint64_t kSize = 24 * 1_MiB + 77;
  AddSteeredFile("file", kSize);
  for (int i = 0; i < 200; ++i)
    ASSERT_TRUE(source_.tree.AddFile(fmt::format("folder/{}", i), MakeTextFile("x"), kTime));
  Mount();
  const Descriptor file(Path("file"), O_RDONLY);
  const Mapping mapping(file, kSize, PROT_READ, MAP_SHARED);
  ASSERT_TRUE(mapping.is_valid());
  std::atomic<bool> is_done = false;
  std::atomic<int> wrong = 0;
  std::atomic<int> listings = 0;
  {
    std::jthread lister([&] {
      while (!is_done) {
        listings.fetch_add(1);
        if (std::distance(std::filesystem::directory_iterator(Path("folder")), {}) != 200) wrong.fetch_add(1);
      }
    });
    std::vector<std::jthread> readers;
    for (int t = 0; t < kThreads; ++t) {
      readers.emplace_back([&, t] {
        std::mt19937_64 random(static_cast<unsigned>(t));
        for (int i = 0; i < 100; ++i) {
          const uint64_t offset = random() % (kSize - 4096);
          if (t % 2 == 0) {
            wrong += !MatchesPattern(mapping.bytes() + offset, 4096, offset);
          } else {
            const std::string bytes = PreadAll(file, offset, 4096);
            wrong += bytes.size() != 4096 || !MatchesPattern(bytes.data(), 4096, offset);
          }
        }
      });
    }
    readers.clear();
    is_done = true;
  }
  EXPECT_EQ(wrong.load(), 0);
  EXPECT_GT(listings.load(), 0);
}

}  // namespace
}  // namespace weightfs::testing
