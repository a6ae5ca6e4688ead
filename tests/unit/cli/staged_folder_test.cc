#include "cli/staged_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <optional>

#include "tests/support/temp_dir.h"

namespace weightfs::cli {
namespace {

using ::testing::HasSubstr;
using weightfs::testing::ReadFile;
using weightfs::testing::TempDir;
using weightfs::testing::WriteFile;
namespace fs = std::filesystem;

size_t EntryCount(const fs::path& folder) {
  return static_cast<size_t>(std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

void Fill(const StagedFolder& staged) {
  fs::create_directory(staged.path() + "/sub");
  WriteFile(staged.path() + "/config.json", "{}");
  WriteFile(staged.path() + "/sub/data", "bytes");
}

TEST(StagedFolderTest, AppearsWholeWhereNothingWas) {
  const TempDir dir;
  Result<StagedFolder> staged = StagedFolder::Create(dir / "out/");
  ASSERT_TRUE(staged) << staged.error().message;
  Fill(*staged);
  EXPECT_FALSE(fs::exists(dir / "out"));
  ASSERT_TRUE(staged->Commit());
  EXPECT_EQ(ReadFile(dir / "out/sub/data"), "bytes");
  EXPECT_EQ(EntryCount(dir.path()), 1u);
}

TEST(StagedFolderTest, ReplacesAnEmptyFolderAndKeepsItsMode) {
  const TempDir dir;
  fs::create_directory(dir / "out");
  fs::permissions(dir / "out", fs::perms(0750));
  Result<StagedFolder> staged = StagedFolder::Create(dir / "out");
  ASSERT_TRUE(staged);
  Fill(*staged);
  ASSERT_TRUE(staged->Commit());
  EXPECT_EQ(ReadFile(dir / "out/config.json"), "{}");
  EXPECT_EQ(fs::status(dir / "out").permissions(), fs::perms(0750));
}

TEST(StagedFolderTest, ThroughALinkTheFolderItselfIsFilled) {
  const TempDir dir;
  fs::create_directory(dir / "real");
  fs::create_symlink("real", dir / "link");
  Result<StagedFolder> staged = StagedFolder::Create(dir / "link");
  ASSERT_TRUE(staged);
  Fill(*staged);
  ASSERT_TRUE(staged->Commit());
  EXPECT_TRUE(fs::is_symlink(dir / "link"));
  EXPECT_EQ(ReadFile(dir / "real/config.json"), "{}");
}

TEST(StagedFolderTest, LeavesNothingUnlessCommitted) {
  const TempDir dir;
  {
    Result<StagedFolder> staged = StagedFolder::Create(dir / "out");
    ASSERT_TRUE(staged);
    Fill(*staged);
    EXPECT_EQ(EntryCount(dir.path()), 1u);
    const StagedFolder moved = *std::move(staged);
  }
  EXPECT_EQ(EntryCount(dir.path()), 0u);
}

TEST(StagedFolderTest, RefusesWhatIsNotEmptyOrNoFolder) {
  const TempDir dir;
  fs::create_directory(dir / "full");
  WriteFile(dir / "full/.hidden", "");
  WriteFile(dir / "file", "");
  fs::create_symlink("nowhere", dir / "dangling");
  for (const std::string& path : {dir / "full", dir / "file", dir / "absent/out", dir / "file/out",
                                  dir / "absent/../out", dir / "dangling"}) {
    const Result<StagedFolder> staged = StagedFolder::Create(path);
    ASSERT_FALSE(staged) << path;
    EXPECT_EQ(staged.error().code, ErrorCode::kInvalidArgument) << staged.error().message;
    EXPECT_THAT(staged.error().message, HasSubstr(path));
  }
}

TEST(StagedFolderTest, NeverReplacesWhatCameMeanwhile) {
  const TempDir dir;
  {
    Result<StagedFolder> staged = StagedFolder::Create(dir / "out");
    ASSERT_TRUE(staged);
    Fill(*staged);
    fs::create_directory(dir / "out");
    WriteFile(dir / "out/mine", "precious");
    EXPECT_FALSE(staged->Commit());
  }
  EXPECT_EQ(ReadFile(dir / "out/mine"), "precious");
  EXPECT_EQ(EntryCount(dir.path()), 1u);
}

}  // namespace
}  // namespace weightfs::cli
