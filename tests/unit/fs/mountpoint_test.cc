#include "fs/mountpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "fs/session.h"
#include "tests/support/temp_dir.h"

namespace weightfs {
namespace {

using ::testing::HasSubstr;
using testing::TempDir;
using testing::WriteFile;

TEST(MountInfo, FindsPathAndTypeWhateverStandsBetween) {
  const auto entries = ParseMountInfo(
      "36 35 98:0 / /mnt/plain rw,noatime - ext4 /dev/root rw,errors=continue\n"
      "37 35 0:50 / /mnt/with\\040blank rw master:1 shared:2 - fuse.weightfs /src ro\n"
      "38 35 0:51 / /mnt/back\\134slash rw master:1 - tmpfs none rw");
  ASSERT_EQ(entries.size(), 3u);
  EXPECT_EQ(entries[0].mountpoint, "/mnt/plain");
  EXPECT_EQ(entries[0].type, "ext4");
  EXPECT_EQ(entries[1].mountpoint, "/mnt/with blank");
  EXPECT_EQ(entries[1].type, "fuse.weightfs");
  EXPECT_EQ(entries[2].mountpoint, "/mnt/back\\slash");
}

TEST(MountInfo, LeavesOutLinesThatAreNotWellFormed) {
  EXPECT_TRUE(ParseMountInfo("").empty());
  EXPECT_TRUE(
      ParseMountInfo("\n\n1 2 3\n36 35 98:0 / /mnt rw noatime ext4 x y\n36 35 98:0 / /mnt rw -").empty());
}

TEST(MountInfo, KnowsTheTypeOfProc) {
  EXPECT_EQ(MountTypeAt("/proc").value(), "proc");
  EXPECT_EQ(MountTypeAt("/nothing is mounted here").value(), "");
}

TEST(Mountpoint, ThePathIsMadeAbsolute) {
  TempDir dir;
  const std::string folder = dir / "folder";
  std::filesystem::create_directory(folder);
  std::filesystem::create_symlink("folder", dir / "link");
  EXPECT_EQ(AbsoluteMountpoint(folder).value(), folder);
  EXPECT_EQ(AbsoluteMountpoint(folder + "/").value(), folder);
  EXPECT_EQ(AbsoluteMountpoint(dir / "link").value(), folder);
  EXPECT_EQ(AbsoluteMountpoint(dir / "folder/../folder/.").value(), folder);
  EXPECT_FALSE(AbsoluteMountpoint(dir / "absent/below"));
}

TEST(Mountpoint, RefusalsSayWhatWasExpected) {
  TempDir dir;
  WriteFile(dir / "file", "x");
  std::filesystem::create_directory(dir / "full");
  WriteFile(dir / "full/file", "x");
  std::filesystem::create_directory(dir / "empty");
  EXPECT_TRUE(CheckMountpoint(dir / "empty"));
  const auto expect_refusal = [](const std::string& path, const char* what) {
    const Status refused = CheckMountpoint(path);
    ASSERT_FALSE(refused) << path;
    EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
    EXPECT_THAT(refused.error().message, HasSubstr(path + ": " + what));
  };
  expect_refusal(dir / "absent", "does not exist; expected an empty folder");
  expect_refusal(dir / "file", "is not a folder; expected an empty folder");
  expect_refusal(dir / "full", "is not empty; expected an empty folder");
}

TEST(Umount, RefusesWhatIsNoMountOfOurs) {
  TempDir dir;
  const Status no_mount = Umount(dir.path());
  ASSERT_FALSE(no_mount);
  EXPECT_EQ(no_mount.error().code, ErrorCode::kIo);
  EXPECT_THAT(no_mount.error().message, HasSubstr("is not a mountpoint"));
  const Status proc = Umount("/proc");
  ASSERT_FALSE(proc);
  EXPECT_THAT(proc.error().message, HasSubstr("is a mount of type proc; expected a mount of weightfs"));
  EXPECT_FALSE(ReadStatus("/proc"));
  EXPECT_FALSE(Umount(dir / "absent"));
}

}  // namespace
}  // namespace weightfs
