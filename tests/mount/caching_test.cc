// What the kernel may keep, so that nothing is asked for twice; and how much it asks for at once.
#include <fmt/format.h>
#include <sys/stat.h>

#include "tests/mount/mount_test.h"

namespace weightfs::testing {
namespace {

TEST_F(MountTest, ASecondOpenReadsNothing) {
  constexpr uint64_t kSize = 3 * 1_MiB;
  const auto steering = AddSteeredFile("file", kSize);
  Mount();
  {
    const Descriptor first(Path("file"), O_RDONLY);
    EXPECT_EQ(PreadAll(first, 0, kSize).size(), kSize);
  }
  const uint64_t reads = steering->reads;
  EXPECT_GT(reads, 0u);
  EXPECT_EQ(steering->bytes.load(), kSize) << "each byte once";
  for (int i = 0; i < 3; ++i) {
    const Descriptor again(Path("file"), O_RDONLY);
    EXPECT_EQ(PreadAll(again, 0, kSize).size(), kSize);
  }
  EXPECT_EQ(steering->reads.load(), reads);
}

TEST_F(MountTest, NamesFoundAndAbsentAreAskedForOnce) {
  AddSteeredFile("file", 10);
  Mount();
  struct stat attributes;
  const auto probe = [&] {
    EXPECT_EQ(stat(Path("file").c_str(), &attributes), 0);
    for (int i = 0; i < 20; ++i) EXPECT_EQ(stat(Path(fmt::format("absent{}", i)).c_str(), &attributes), -1);
  };
  probe();
  const uint64_t lookups = CountOf("lookup");
  const uint64_t getattrs = CountOf("getattr");
  EXPECT_GE(lookups, 21u);
  for (int i = 0; i < 5; ++i) probe();
  EXPECT_EQ(CountOf("lookup"), lookups);
  // The status file's own attributes are never kept: the only ones that may be asked for again.
  EXPECT_LE(CountOf("getattr"), getattrs + 10);
}

TEST_F(MountTest, ListingsAreAskedForOnce) {
  for (int i = 0; i < 50; ++i)
    ASSERT_TRUE(source_.tree.AddFile(fmt::format("f{}", i), MakeTextFile("x"), kTime));
  Mount();
  const auto list = [&] { return std::distance(std::filesystem::directory_iterator(mountpoint_), {}); };
  EXPECT_EQ(list(), 50);
  EXPECT_EQ(list(), 50);
  const uint64_t listings = CountOf("readdir");
  for (int i = 0; i < 5; ++i) EXPECT_EQ(list(), 50);
  EXPECT_EQ(CountOf("readdir"), listings);
}

TEST_F(MountTest, LongReadsArriveAsFewRequests) {
  constexpr uint64_t kSize = 64 * 1_MiB;
  const auto steering = AddSteeredFile("file", kSize);
  Mount({.readahead_bytes = 4_MiB});
  const Descriptor file(Path("file"), O_RDONLY);
  for (uint64_t offset = 0; offset < kSize; offset += 1_MiB)
    ASSERT_EQ(PreadAll(file, offset, 1_MiB).size(), 1_MiB);
  EXPECT_EQ(steering->bytes.load(), kSize);
  if (ReadAheadCanBeSet()) {
    EXPECT_EQ(ReadStatusJson().at("readahead_bytes"), 4_MiB);
    EXPECT_GE(steering->bytes / steering->reads, 512_KiB);
  } else {
    EXPECT_TRUE(ReadStatusJson().at("readahead_bytes").is_null());
    EXPECT_GE(steering->bytes / steering->reads, 64_KiB);
  }
}

TEST_F(MountTest, TheStatusIsNewAtEachOpenAndWholeWithinOne) {
  AddSteeredFile("model.safetensors", 1_MiB);
  Mount();
  const std::string path = Path(".weightfs/status.json");
  const auto served = [&] {
    return nlohmann::json::parse(ReadFile(path)).at("served").at("weights").at("bytes");
  };
  EXPECT_EQ(served(), 0);
  const Descriptor before(path, O_RDONLY);
  {
    const Descriptor file(Path("model.safetensors"), O_RDONLY);
    EXPECT_EQ(PreadAll(file, 0, 1_MiB).size(), 1_MiB);
  }
  EXPECT_EQ(served(), 1_MiB);
  const std::string old = PreadAll(before, 0, 1_MiB);
  EXPECT_EQ(nlohmann::json::parse(old).at("served").at("weights").at("bytes"), 0);
  EXPECT_EQ(PreadAll(before, 10, 20), old.substr(10, 20));
  struct stat attributes;
  ASSERT_EQ(stat(path.c_str(), &attributes), 0);
  EXPECT_GT(attributes.st_size, 0);
  const nlohmann::json status = ReadStatusJson();
  EXPECT_EQ(status.at("pid"), process_->pid());
  EXPECT_EQ(status.at("mountpoint"), process_->mountpoint());
}

}  // namespace
}  // namespace weightfs::testing
