#include "convert/source/metadata_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/support/temp_dir.h"

namespace weightfs {
namespace {

using ::testing::HasSubstr;
using testing::TempDir;
using testing::WriteFile;

std::shared_ptr<SourceFiles> Files(const std::string& path) {
  return *SourceFiles::Create(path, {.cache = std::make_shared<BlockCache>(1 << 20)});
}

std::string Read(MetadataFiles& files, const std::string& name) {
  const Result<const nlohmann::json*> read = files.Read(name);
  if (!read) return read.error().message;
  return *read == nullptr ? "absent" : (*read)->dump();
}

TEST(MetadataFiles, ReadsJsonAndYamlBesideTheWeights) {
  TempDir dir;
  WriteFile(dir / "params.json", R"({"dim": 64, "dim": 128, "eps": NaN})");
  WriteFile(dir / "model_config.yaml", "n_layer: 2\n");
  WriteFile(dir / "other.yml", "- 1\n");
  MetadataFiles files({}, "");
  files.AddFolder(Files(dir.path().string()), "");
  EXPECT_EQ(Read(files, "params.json"), R"({"dim":128,"eps":null})");
  EXPECT_EQ(Read(files, "model_config.yaml"), R"({"n_layer":2})");
  EXPECT_EQ(Read(files, "other.yml"), "[1]");
  EXPECT_EQ(Read(files, "absent.json"), "absent");
  EXPECT_TRUE(files.Has("params.json"));
  EXPECT_FALSE(files.Has("absent.json"));
  EXPECT_EQ(files.metadata_bytes(), 50u);
  // Parsed once.
  EXPECT_EQ(*files.Read("params.json"), *files.Read("params.json"));
  EXPECT_EQ(files.metadata_bytes(), 50u);
}

TEST(MetadataFiles, ReadsTheOnlyTomlFile) {
  TempDir dir, above;
  WriteFile(above / "llama3_8b.toml", "[model]\nname = \"llama3\"\n");
  MetadataFiles files({}, "");
  files.AddFolder(Files(above.path().string()), "");
  files.AddFolder(Files(dir.path().string()), "");
  EXPECT_EQ(Read(files, "*.toml"), R"({"model":{"name":"llama3"}})");
  WriteFile(dir / "a.toml", "a = 1");
  MetadataFiles nearest({}, "");
  nearest.AddFolder(Files(above.path().string()), "");
  nearest.AddFolder(Files(dir.path().string()), "");
  EXPECT_EQ(Read(nearest, "*.toml"), R"({"a":1})");
  WriteFile(above / "other.toml", "a = 1");
  MetadataFiles several({}, "");
  several.AddFolder(Files(above.path().string()), "");
  EXPECT_EQ(Read(several, "*.toml"), "absent");
  EXPECT_EQ(Read(several, "other.toml"), R"({"a":1})");
}

TEST(MetadataFiles, LaterFoldersWin) {
  TempDir dir, over;
  std::filesystem::create_directories(dir.path() / "sub");
  WriteFile(dir / "sub/a.json", "1");
  WriteFile(dir / "sub/b.json", "1");
  WriteFile(over / "b.json", "2");
  WriteFile(over / "x.json", "3");
  MetadataFiles files({}, "");
  files.AddFolder(Files(dir.path().string()), "sub");
  files.AddFolder(Files(over.path().string()), "");
  EXPECT_EQ(Read(files, "a.json"), "1");
  EXPECT_EQ(Read(files, "b.json"), "2");
  files.AddFile("a.json", Files(over / "x.json"));
  MetadataFiles again({}, "");
  again.AddFolder(Files(dir.path().string()), "sub");
  again.AddFile("a.json", Files(over / "x.json"));
  EXPECT_EQ(Read(again, "a.json"), "3");
}

TEST(MetadataFiles, KnowTheNumberOfTheWeightFile) {
  TempDir dir;
  WriteFile(dir / "meta_000650.json", "1");
  WriteFile(dir / "meta_.json", "2");
  MetadataFiles files({}, "000650");
  files.AddFolder(Files(dir.path().string()), "");
  EXPECT_EQ(Read(files, "meta_{number}.json"), "1");
  MetadataFiles without({}, "");
  without.AddFolder(Files(dir.path().string()), "");
  EXPECT_EQ(Read(without, "meta_{number}.json"), "absent");
}

TEST(MetadataFiles, NeverLeaveTheFolder) {
  TempDir dir, secret;
  WriteFile(secret / "s.json", "1");
  std::filesystem::create_symlink(secret / "s.json", dir.path() / "link.json");
  std::filesystem::create_directories(dir.path() / "folder.json");
  MetadataFiles files({}, "");
  files.AddFolder(Files(dir.path().string()), "");
  EXPECT_EQ(Read(files, "link.json"), "absent");
  EXPECT_EQ(Read(files, "folder.json"), "absent");
  EXPECT_EQ(Read(files, "../" + secret.path().filename().string() + "/s.json"), "absent");
  EXPECT_EQ(Read(files, (secret / "s.json")), "absent");
  EXPECT_EQ(Read(files, ""), "absent");
}

TEST(MetadataFiles, SayWhichFileIsDamaged) {
  TempDir dir;
  WriteFile(dir / "bad.json", "{");
  WriteFile(dir / "bad.yaml", "a: b: c");
  Limits limits;
  limits.yaml_bytes_max = 8;
  limits.json_bytes_max = 8;
  WriteFile(dir / "big.yaml", "# too big");
  WriteFile(dir / "big.json", "[1, 2, 3]");
  MetadataFiles files(limits, "");
  files.AddFolder(Files(dir.path().string()), "");
  EXPECT_THAT(Read(files, "bad.json"), HasSubstr("/bad.json"));
  EXPECT_THAT(Read(files, "bad.yaml"), HasSubstr("/bad.yaml: line 1, column 5"));
  EXPECT_THAT(Read(files, "big.yaml"), HasSubstr("9 bytes; expected at most 8"));
  EXPECT_THAT(Read(files, "big.json"), HasSubstr("9 bytes; expected at most 8"));
  EXPECT_EQ(files.Read("bad.json").error().code, ErrorCode::kCorrupt);
}

}  // namespace
}  // namespace weightfs
