// Names, attributes and listings of a mount, and that nothing of it can be changed.
#include <dirent.h>
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>

#include <algorithm>
#include <fstream>
#include <set>

#include "tests/mount/mount_test.h"

namespace weightfs::testing {
namespace {

using ::testing::ElementsAre;

constexpr long kFuseMagic = 0x65735546;

std::vector<std::string> Names(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    names.push_back(entry.path().filename());
  std::ranges::sort(names);
  return names;
}

TEST_F(MountTest, AttributesAreThoseOfAReadOnlyTreeOfTheMountingUser) {
  AddSteeredFile("vae/model.safetensors", 1025);
  Mount();
  struct stat file;
  ASSERT_EQ(stat(Path("vae/model.safetensors").c_str(), &file), 0);
  EXPECT_EQ(file.st_mode, S_IFREG | 0444u);
  EXPECT_EQ(file.st_size, 1025);
  EXPECT_EQ(file.st_blocks, 3);
  EXPECT_EQ(file.st_nlink, 1u);
  EXPECT_EQ(file.st_uid, geteuid());
  EXPECT_EQ(file.st_gid, getegid());
  EXPECT_EQ(file.st_mtime, kTime / 1'000'000'000);
  struct stat folder;
  ASSERT_EQ(stat(Path("vae").c_str(), &folder), 0);
  EXPECT_EQ(folder.st_mode, S_IFDIR | 0555u);
  EXPECT_EQ(stat(Path("absent").c_str(), &file), -1);
  EXPECT_EQ(errno, ENOENT);
}

TEST_F(MountTest, InodeNumbersAreTheSameInListingsAndAttributes) {
  for (const char* name : {"a", "b", "folder/c"}) AddSteeredFile(name, 10);
  Mount();
  std::set<ino_t> inodes;
  DIR* folder = opendir(mountpoint_.c_str());
  ASSERT_NE(folder, nullptr);
  while (const dirent* entry = readdir(folder)) {
    struct stat attributes;
    ASSERT_EQ(stat(Path(entry->d_name).c_str(), &attributes), 0);
    if (std::string_view(entry->d_name) != "..") {
      EXPECT_EQ(attributes.st_ino, entry->d_ino) << entry->d_name;
    }
    EXPECT_EQ(S_ISDIR(attributes.st_mode), entry->d_type == DT_DIR) << entry->d_name;
    inodes.insert(attributes.st_ino);
  }
  closedir(folder);
  EXPECT_EQ(inodes.size(), 5u);
}

TEST_F(MountTest, ListsFoldersOfAnySizeAndHidesItsOwn) {
  std::vector<std::string> expected;
  for (int i = 0; i < 3000; ++i) {
    expected.push_back("a-rather-long-name-of-a-tensor-that-fills-pages-" + std::to_string(i));
    ASSERT_TRUE(source_.tree.AddFile("many/" + expected.back(), MakeTextFile("x"), kTime));
  }
  std::ranges::sort(expected);
  Mount();
  EXPECT_THAT(Names(mountpoint_), ElementsAre("many"));
  EXPECT_EQ(Names(Path("many")), expected);
  EXPECT_EQ(Names(Path("many")), expected) << "from the kernel's cache";
  EXPECT_THAT(Names(Path(".weightfs")), ElementsAre("status.json"));
}

TEST_F(MountTest, NothingCanBeChanged) {
  AddSteeredFile("file", 100);
  Mount();
  const std::string file = Path("file");
  const auto expect_read_only = [](int result, const char* what) {
    EXPECT_EQ(result, -1) << what;
    EXPECT_EQ(errno, EROFS) << what;
  };
  expect_read_only(open(file.c_str(), O_WRONLY), "open for writing");
  expect_read_only(open(file.c_str(), O_RDWR), "open for both");
  expect_read_only(open(file.c_str(), O_RDONLY | O_TRUNC), "truncate at open");
  expect_read_only(open(Path("new").c_str(), O_CREAT | O_WRONLY, 0644), "create");
  expect_read_only(truncate(file.c_str(), 0), "truncate");
  expect_read_only(unlink(file.c_str()), "unlink");
  expect_read_only(rename(file.c_str(), Path("other").c_str()), "rename");
  expect_read_only(mkdir(Path("folder").c_str(), 0755), "mkdir");
  expect_read_only(chmod(file.c_str(), 0777), "chmod");
  expect_read_only(symlink("file", Path("link").c_str()), "symlink");
  expect_read_only(link(file.c_str(), Path("link").c_str()), "link");
  expect_read_only(setxattr(file.c_str(), "user.x", "1", 1, 0), "setxattr");
}

TEST_F(MountTest, ExtendedAttributesAreNotSupported) {
  AddSteeredFile("file", 100);
  Mount();
  char value[16];
  EXPECT_EQ(getxattr(Path("file").c_str(), "user.x", value, sizeof value), -1);
  EXPECT_EQ(errno, EOPNOTSUPP);
  EXPECT_LE(listxattr(Path("file").c_str(), value, sizeof value), 0);
}

TEST_F(MountTest, SaysHowMuchItHolds) {
  AddSteeredFile("a", 10'000);
  AddSteeredFile("b", 90'000);
  Mount();
  struct statvfs statistics;
  ASSERT_EQ(statvfs(Path("a").c_str(), &statistics), 0);
  EXPECT_EQ(statistics.f_blocks * statistics.f_frsize, AlignUp(100'000, statistics.f_frsize));
  EXPECT_EQ(statistics.f_bfree, 0u);
  EXPECT_EQ(statistics.f_namemax, 255u);
  EXPECT_TRUE(statistics.f_flag & ST_RDONLY);
  EXPECT_TRUE(statistics.f_flag & ST_NOSUID);
  EXPECT_TRUE(statistics.f_flag & ST_NODEV);
  struct statfs kernel;
  ASSERT_EQ(statfs(mountpoint_.c_str(), &kernel), 0);
  EXPECT_EQ(kernel.f_type, kFuseMagic);
}

TEST_F(MountTest, TheMountTableShowsTheSourceAndItsNameCannotAddOptions) {
  AddSteeredFile("file", 1);
  MountOptions options;
  options.mountpoint = mountpoint_;
  source_.report.source = "/data/a,allow_other\\,suid model.bin";
  Result<MountProcess> started =
      MountProcess::Start(std::move(source_), options, MountProcess::Lifetime::kWithParent);
  ASSERT_TRUE(started) << started.error().message;
  process_ = *std::move(started);
  std::ifstream table("/proc/self/mountinfo");
  std::string found;
  for (std::string line; std::getline(table, line);)
    if (line.find(mountpoint_ + " ") != std::string::npos) found = line;
  EXPECT_NE(found.find(" - fuse.weightfs /data/a_allow_other__suid\\040model.bin ro"), std::string::npos)
      << found;
  EXPECT_EQ(found.find("allow_other,"), std::string::npos) << found;
}

}  // namespace
}  // namespace weightfs::testing
