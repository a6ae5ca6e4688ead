#include "convert/convert.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/safetensors_writer.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/convert/tree_test_util.h"

namespace weightfs {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using testing::ReadWhole;
using testing::TempDir;
using testing::WriteFile;
using testing::WriteSafetensors;

// 1.0, 2.0 and -2.0 as f16, and the last two as f32.
const std::string kHalves("\x00\x3c\x00\x40\x00\xc0", 6);
const std::string kFloats("\x00\x00\x00\x40\x00\x00\x00\xc0", 8);

std::string TwoTensors() {
  return WriteSafetensors({{"b", "F16", 3, kHalves}, {"a", "F32", 2, kFloats}}, "{\"by\":\"test\"}");
}

TEST(Open, PassesAnUnchangedSafetensorsFileThrough) {
  TempDir dir;
  WriteFile(dir / "odd name.bin", TwoTensors());
  const Result<OpenedSource> opened = Open(dir / "odd name.bin", {});
  ASSERT_TRUE(opened) << opened.error().message;
  EXPECT_EQ(ReadWhole(opened->tree, "model.safetensors"), TwoTensors());
  EXPECT_TRUE(opened->report.sets.at(0).passed_through);
  for (const TensorReport& tensor : opened->report.tensors) {
    const std::string bytes = tensor.name == "a" ? kFloats : kHalves;
    EXPECT_EQ(TwoTensors().substr(tensor.file_offset_bytes, bytes.size()), bytes) << tensor.name;
  }
}

TEST(Open, CastsAndWritesTheHeaderOfTheReference) {
  TempDir dir;
  WriteFile(dir / "x.pt", TwoTensors());
  OpenOptions options;
  options.dtype = DType::kF32;
  const Result<OpenedSource> opened = Open(dir / "x.pt", options);
  ASSERT_TRUE(opened) << opened.error().message;
  const std::string served = ReadWhole(opened->tree, "model.safetensors");
  const std::string header =
      R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
      R"("b":{"dtype":"F32","shape":[3],"data_offsets":[8,20]}})";
  EXPECT_EQ(served.substr(8, header.size()), header);
  EXPECT_EQ(served.substr(served.size() - 20, 8), kFloats);
  EXPECT_EQ(served.substr(served.size() - 12), std::string("\x00\x00\x80\x3f", 4) + kFloats);
}

TEST(Open, ListsWhatTheFiltersDrop) {
  TempDir dir;
  WriteFile(dir / "x.pt", TwoTensors());
  OpenOptions options;
  options.exclude = {"^a$"};
  const Result<OpenedSource> opened = Open(dir / "x.pt", options);
  ASSERT_TRUE(opened) << opened.error().message;
  ASSERT_EQ(opened->report.dropped.size(), 1u);
  EXPECT_EQ(opened->report.dropped[0].name, "a");
  EXPECT_EQ(opened->report.dropped[0].rule, "--exclude ^a$");
  EXPECT_THAT(ReadWhole(opened->tree, ".weightfs/manifest.json"), HasSubstr("--exclude ^a$"));
  options.exclude = {"."};
  EXPECT_EQ(Open(dir / "x.pt", options).error().code, ErrorCode::kInvalidArgument);
}

TEST(Open, ServesEachTensorAsNpy) {
  TempDir dir;
  WriteFile(dir / "x.pt", TwoTensors());
  const Result<OpenedSource> opened = Open(dir / "x.pt", {});
  ASSERT_TRUE(opened) << opened.error().message;
  const std::string npy = ReadWhole(opened->tree, ".weightfs/tensors/a.npy");
  EXPECT_EQ(npy.substr(0, 6), "\x93NUMPY");
  EXPECT_EQ(npy.substr(npy.size() - kFloats.size()), kFloats);
  EXPECT_EQ((npy.size() - kFloats.size()) % 64, 0u);
  const NodeId folder = opened->tree.FindPath(".weightfs");
  EXPECT_TRUE(opened->tree.node(folder).hidden);
}

TEST(Open, ConfigIsEditedOnlyWhenTheDtypeChanges) {
  TempDir dir;
  const std::string config = "{\n \"model_type\": \"llama\",\"dtype\" : \"float16\"}\n";
  WriteFile(dir / "model.safetensors", TwoTensors());
  WriteFile(dir / "config.json", config);
  WriteFile(dir / "tokenizer.json", "not json at all");
  WriteFile(dir / "optimizer.pt", "hidden");
  Result<OpenedSource> opened = Open(dir.path(), {});
  ASSERT_TRUE(opened) << opened.error().message;
  EXPECT_EQ(ReadWhole(opened->tree, "config.json"), config);
  EXPECT_EQ(ReadWhole(opened->tree, "tokenizer.json"), "not json at all");
  EXPECT_EQ(opened->tree.FindPath("optimizer.pt"), kNoNode);
  EXPECT_EQ(opened->report.family, "identity");
  OpenOptions options;
  options.dtype = DType::kBF16;
  opened = Open(dir.path(), options);
  ASSERT_TRUE(opened) << opened.error().message;
  EXPECT_EQ(ReadWhole(opened->tree, "config.json"),
            "{\n \"model_type\": \"llama\",\"dtype\" : \"bfloat16\"}\n");
}

TEST(Open, OverlaysAndConfigWinOverTheSource) {
  TempDir dir, first, second;
  WriteFile(dir / "model.safetensors", TwoTensors());
  WriteFile(dir / "config.json", "{}");
  WriteFile(first / "tokenizer.json", "1");
  WriteFile(first / "config.json", "{\"from\":1}");
  WriteFile(first / "model.safetensors", "never served");
  WriteFile(second / "tokenizer.json", "2");
  WriteFile(second / "c.json", "{\"from\":2}");
  OpenOptions options;
  options.overlays = {first.path(), second.path()};
  options.config_path = second / "c.json";
  const Result<OpenedSource> opened = Open(dir.path(), options);
  ASSERT_TRUE(opened) << opened.error().message;
  EXPECT_EQ(ReadWhole(opened->tree, "tokenizer.json"), "2");
  EXPECT_EQ(ReadWhole(opened->tree, "config.json"), "{\"from\":2}");
  EXPECT_EQ(ReadWhole(opened->tree, "model.safetensors"), TwoTensors());
  options.overlays = {dir / "absent"};
  EXPECT_EQ(Open(dir.path(), options).error().code, ErrorCode::kInvalidArgument);
}

TEST(Open, PartialLeavesOutADamagedModelByName) {
  TempDir dir;
  std::filesystem::create_directories(dir.path() / "good");
  std::filesystem::create_directories(dir.path() / "bad");
  WriteFile(dir / "good/model.safetensors", TwoTensors());
  WriteFile(dir / "bad/model.safetensors", TwoTensors().substr(0, 40));
  Result<OpenedSource> opened = Open(dir.path(), {});
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, ErrorCode::kCorrupt);
  EXPECT_THAT(opened.error().message, HasSubstr("bad/model.safetensors"));
  OpenOptions options;
  options.partial = true;
  opened = Open(dir.path(), options);
  ASSERT_TRUE(opened) << opened.error().message;
  EXPECT_NE(opened->tree.FindPath("good/model.safetensors"), kNoNode);
  EXPECT_EQ(opened->tree.FindPath("bad/model.safetensors"), kNoNode);
  EXPECT_THAT(opened->report.notes, Contains(HasSubstr("bad/model: left out (--partial)")));
}

TEST(Open, MergesShardsAndSplitsThemAgain) {
  TempDir dir;
  WriteFile(dir / "model-00001-of-00002.safetensors", WriteSafetensors({{"b", "F16", 3, kHalves}}));
  WriteFile(dir / "model-00002-of-00002.safetensors", WriteSafetensors({{"a", "F32", 2, kFloats}}));
  WriteFile(dir / "model.safetensors.index.json",
            R"({"metadata":{"total_size":14},"weight_map":{"b":"model-00001-of-00002.safetensors",)"
            R"("a":"model-00002-of-00002.safetensors"}})");
  Result<OpenedSource> opened = Open(dir.path(), {});
  ASSERT_TRUE(opened) << opened.error().message;
  EXPECT_NE(opened->tree.FindPath("model.safetensors"), kNoNode);
  EXPECT_EQ(opened->tree.FindPath("model.safetensors.index.json"), kNoNode);
  OpenOptions options;
  options.max_shard_size_bytes = 8;
  opened = Open(dir.path(), options);
  ASSERT_TRUE(opened) << opened.error().message;
  EXPECT_EQ(opened->tree.FindPath("model.safetensors"), kNoNode);
  EXPECT_THAT(ReadWhole(opened->tree, "model.safetensors.index.json"),
              HasSubstr("model-00002-of-00002.safetensors"));
  std::filesystem::remove(dir / "model-00002-of-00002.safetensors");
  opened = Open(dir.path(), {});
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(opened.error().message, HasSubstr("model-00002-of-00002.safetensors"));
}

TEST(Open, JoinsNumberedShardsWithoutAnIndex) {
  TempDir dir;
  WriteFile(dir / "model-00001-of-00002.safetensors", WriteSafetensors({{"b", "F16", 3, kHalves}}));
  WriteFile(dir / "model-00002-of-00002.safetensors", WriteSafetensors({{"a", "F32", 2, kFloats}}));
  const Result<OpenedSource> opened = Open(dir.path(), {});
  ASSERT_TRUE(opened) << opened.error().message;
  EXPECT_EQ(opened->report.tensors.size(), 2u);
  EXPECT_FALSE(opened->report.sets.at(0).passed_through);
  EXPECT_NE(opened->tree.FindPath("model.safetensors"), kNoNode);
}

}  // namespace
}  // namespace weightfs
