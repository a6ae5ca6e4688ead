#include "convert/source/source_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "tests/support/temp_dir.h"

namespace weightfs {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::TempDir;
using testing::WriteFile;

std::shared_ptr<SourceFiles> Open(const std::string& path, std::vector<std::string> allowed = {}) {
  auto files = SourceFiles::Create(
      path, {.allowed_link_dirs = std::move(allowed), .cache = std::make_shared<BlockCache>(1 << 20)});
  EXPECT_TRUE(files.has_value()) << files.error().message;
  return files.value_or(nullptr);
}

std::vector<std::string> Names(SourceFiles& files, const std::string& folder) {
  const auto entries = files.List(folder);
  EXPECT_TRUE(entries.has_value()) << entries.error().message;
  std::vector<std::string> names;
  for (const SourceEntry& entry : *entries) names.push_back(entry.name + (entry.is_directory ? "/" : ""));
  return names;
}

std::string Read(SourceFiles& files, const std::string& path) {
  auto text = files.ReadSmall(path, 100);
  return text ? *text : text.error().message;
}

class SourceFilesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    fs::create_directories(dir_ / "source/sub");
    fs::create_directories(dir_ / "outside");
    WriteFile(dir_ / "source/a.txt", "a");
    WriteFile(dir_ / "source/sub/b.txt", "bb");
    WriteFile(dir_ / "outside/secret.txt", "secret");
  }
  void Link(const std::string& target, std::string_view name) { fs::create_symlink(target, dir_ / name); }

  TempDir dir_;
};

TEST_F(SourceFilesTest, ListsInOrderOfNameBytes) {
  WriteFile(dir_ / "source/Z", "zzz");
  WriteFile(dir_ / "source/\xC3\xA9", "");
  const auto files = Open(dir_ / "source");
  EXPECT_TRUE(files->is_directory());
  EXPECT_THAT(Names(*files, ""), ElementsAre("Z", "a.txt", "sub/", "\xC3\xA9"));
  EXPECT_THAT(Names(*files, "sub"), ElementsAre("b.txt"));
  EXPECT_EQ(files->List("")->at(0).size_bytes, 3);
  EXPECT_GT(files->List("")->at(0).mtime_nanoseconds, 0);
  EXPECT_THAT(files->bad_links(), IsEmpty());
}

TEST_F(SourceFilesTest, ReadsAndCountsFiles) {
  const auto files = Open(dir_ / "source/");
  EXPECT_EQ(files->name(), dir_ / "source");
  EXPECT_EQ(Read(*files, "sub/b.txt"), "bb");
  const auto weights = files->OpenWeights("a.txt");
  ASSERT_TRUE(weights.has_value());
  EXPECT_EQ((*weights)->name(), dir_ / "source/a.txt");
  ASSERT_TRUE(files->OpenPassThrough("a.txt").has_value());
  EXPECT_EQ(files->opened().size(), 2);  // a small file is read at once and is no file of the view
}

TEST_F(SourceFilesTest, SmallFileLimitIsExact) {
  const auto files = Open(dir_ / "source");
  EXPECT_FALSE(files->ReadSmall("sub/b.txt", 1).has_value());
  EXPECT_EQ(files->ReadSmall("sub/b.txt", 1).error().code, ErrorCode::kLimitExceeded);
  EXPECT_TRUE(files->ReadSmall("sub/b.txt", 2).has_value());
  EXPECT_TRUE(files->ReadSmall("sub/b.txt", 3).has_value());
}

TEST_F(SourceFilesTest, TheSourceItselfMayBeALink) {
  Link("source", "link");
  Link("source/a.txt", "file_link");
  EXPECT_EQ(Read(*Open(dir_ / "link"), "a.txt"), "a");
  EXPECT_EQ(Read(*Open(dir_ / "file_link"), ""), "a");
}

TEST_F(SourceFilesTest, ABareFileServesOnlyItself) {
  const auto files = Open(dir_ / "source/a.txt");
  EXPECT_FALSE(files->is_directory());
  EXPECT_EQ(Read(*files, ""), "a");
  for (const char* path : {"a.txt", "../a.txt", "sub/b.txt", "."})
    EXPECT_EQ(files->OpenWeights(path).error().code, ErrorCode::kUnsupported) << path;
}

TEST_F(SourceFilesTest, NoPathLeadsOut) {
  const auto files = Open(dir_ / "source");
  for (const std::string path : {"..", "../outside/secret.txt", "sub/../../outside/secret.txt", "/etc/passwd",
                                 "sub//b.txt", "./a.txt", "sub/"}) {
    const auto opened = files->OpenWeights(path);
    ASSERT_FALSE(opened.has_value()) << path;
    EXPECT_EQ(opened.error().code, ErrorCode::kUnsupported) << path;
    EXPECT_FALSE(files->OpenPassThrough(path).has_value());
    EXPECT_FALSE(files->ReadSmall(path, 100).has_value());
    EXPECT_FALSE(files->List(path).has_value());
  }
  EXPECT_THAT(files->opened(), IsEmpty());
}

TEST_F(SourceFilesTest, LinksInsideAreFollowed) {
  Link("../a.txt", "source/sub/up");
  Link("sub", "source/folder");
  const auto files = Open(dir_ / "source");
  EXPECT_EQ(Read(*files, "sub/up"), "a");
  EXPECT_EQ(Read(*files, "folder/b.txt"), "bb");
  EXPECT_THAT(Names(*files, ""), ElementsAre("a.txt", "folder/", "sub/"));
  EXPECT_EQ(files->List("")->at(1).link_target, fs::canonical(dir_ / "source/sub").string());
}

TEST_F(SourceFilesTest, LinksOutsideAreNot) {
  Link("../outside/secret.txt", "source/direct");
  Link("../outside", "source/folder");
  Link("sub/hop", "source/two_hops");
  Link("../../outside/secret.txt", "source/sub/hop");
  Link((dir_ / "outside/secret.txt"), "source/absolute");
  const auto files = Open(dir_ / "source");
  EXPECT_THAT(Names(*files, ""), ElementsAre("a.txt", "sub/"));
  EXPECT_EQ(files->bad_links().size(), 4);
  for (const std::string path : {"direct", "folder", "folder/secret.txt", "two_hops", "absolute"}) {
    const auto opened = files->OpenWeights(path);
    ASSERT_FALSE(opened.has_value()) << path;
    EXPECT_EQ(opened.error().code, ErrorCode::kUnsupported);
    EXPECT_THAT(opened.error().message, HasSubstr("--allow-links"));
    EXPECT_THAT(opened.error().remedy, HasSubstr(dir_ / "outside"));
  }
}

TEST_F(SourceFilesTest, AFolderWhoseNameBeginsLikeTheSourceIsOutside) {
  fs::create_directories(dir_ / "source2");
  WriteFile(dir_ / "source2/c.txt", "c");
  Link("../source2/c.txt", "source/c");
  EXPECT_FALSE(Open(dir_ / "source")->OpenWeights("c").has_value());
}

TEST_F(SourceFilesTest, AllowLinksAllows) {
  Link("../outside/secret.txt", "source/direct");
  Link("../outside", "source/folder");
  const auto files = Open(dir_ / "source", {dir_ / "outside"});
  EXPECT_EQ(Read(*files, "direct"), "secret");
  EXPECT_EQ(Read(*files, "folder/secret.txt"), "secret");
  EXPECT_EQ(SourceFiles::Create(dir_ / "source", {.allowed_link_dirs = {dir_ / "absent"}}).error().code,
            ErrorCode::kNotFound);
}

TEST_F(SourceFilesTest, CacheSnapshotsReachTheirBlobs) {
  fs::create_directories(dir_ / "models--x/blobs");
  fs::create_directories(dir_ / "models--x/snapshots/abc/unet");
  WriteFile(dir_ / "models--x/blobs/0123", "blob");
  Link("../../blobs/0123", "models--x/snapshots/abc/config.json");
  Link("../../../blobs/0123", "models--x/snapshots/abc/unet/config.json");
  Link("../../../outside/secret.txt", "models--x/snapshots/abc/leak");
  EXPECT_EQ(Read(*Open(dir_ / "models--x/snapshots/abc"), "config.json"), "blob");
  EXPECT_EQ(Read(*Open(dir_ / "models--x/snapshots/abc/unet"), "config.json"), "blob");
  EXPECT_FALSE(Open(dir_ / "models--x/snapshots/abc")->OpenWeights("leak").has_value());
}

TEST_F(SourceFilesTest, ABlobStoreThatIsALinkIsNotTrusted) {
  fs::create_directories(dir_ / "models--x/snapshots/abc");
  Link("../outside", "models--x/blobs");
  Link("../../blobs/secret.txt", "models--x/snapshots/abc/config.json");
  EXPECT_FALSE(Open(dir_ / "models--x/snapshots/abc")->OpenWeights("config.json").has_value());
}

TEST_F(SourceFilesTest, BrokenLinksLoopsAndDevicesAreBadLinks) {
  Link("nowhere", "source/broken");
  Link("loop", "source/loop");
  ASSERT_EQ(mkfifo((dir_ / "source/pipe").c_str(), 0600), 0);
  const auto files = Open(dir_ / "source");
  EXPECT_THAT(Names(*files, ""), ElementsAre("a.txt", "sub/"));
  EXPECT_THAT(files->bad_links().at("broken"), HasSubstr("does not exist"));
  EXPECT_THAT(files->bad_links().at("pipe"), HasSubstr("neither a file nor a folder"));
  EXPECT_TRUE(files->bad_links().contains("loop"));
}

TEST_F(SourceFilesTest, CreateSaysWhatIsWrong) {
  EXPECT_EQ(SourceFiles::Create(dir_ / "absent", {}).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(SourceFiles::Create("", {}).error().code, ErrorCode::kNotFound);
  ASSERT_EQ(mkfifo((dir_ / "pipe").c_str(), 0600), 0);
  EXPECT_EQ(SourceFiles::Create(dir_ / "pipe", {}).error().code, ErrorCode::kUnsupported);
  EXPECT_EQ(Open(dir_ / "source")->List("absent").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(Open(dir_ / "source")->List("a.txt").error().code, ErrorCode::kNotFound);
}

}  // namespace
}  // namespace weightfs
