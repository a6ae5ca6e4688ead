// Sources that a family table fits: files of ranks, numbered saves, values and settings, derived
// configuration.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "convert/convert.h"
#include "tests/support/safetensors_writer.h"
#include "tests/support/temp_dir.h"
#include "tests/support/torch_writer.h"
#include "tests/unit/convert/tree_test_util.h"

namespace weightfs {
namespace {

namespace fs = std::filesystem;
using namespace weightfs::testing;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr std::string_view kToy = R"json({
  "family": "toy", "title": "a toy of the tests", "source": "whole.NN.pth and settings.json", "target": "hf",
  "weights": ["whole.{part}.pth", "save_{number}.pt"],
  "metadata": {"m": ["args", "settings.json/model", "settings_{number}.yaml"]},
  "detect": ["m.width != null", "has('emb.weight')"],
  "options": {"act": {"default": "gelu", "values": ["gelu", "relu"], "help": "the activation"}},
  "let": {"V": "m.rows", "D": "m.width"},
  "tensors": [
    {"to": "model.embed.weight", "from": "emb.weight", "do": "|V D"},
    {"to": "model.norm.weight", "from": "norm.weight", "do": "D"},
    {"drop": "mask", "why": "causal mask buffer"}
  ],
  "config": {"model_type": "toy", "vocab_size": "=V", "hidden": "=D", "act": "=options.act"},
  "generation_config": {"eos_token_id": "=V - 1"}
})json";

std::string Floats(const std::vector<float>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

PickledValue Matrix(std::string_view key, int64_t rows, int64_t columns) {
  return TorchTensor(TorchStorageId("FloatStorage", key, rows * columns), 0, {rows, columns}, {columns, 1});
}

/// A rank with `rows` of the embedding that count on from `first`, the norm, a mask, and `more`.
std::string Rank(int64_t rows, float first, const PickledPairs& more = {}) {
  std::vector<float> elements;
  for (int64_t i = 0; i < rows * 3; ++i) elements.push_back(first + static_cast<float>(i));
  PickledPairs pairs = {{PickleText("emb.weight"), Matrix("0", rows, 3)},
                        {PickleText("norm.weight"), TorchVector("1", 3)},
                        {PickleText("mask"), TorchVector("2", 1)}};
  pairs.insert(pairs.end(), more.begin(), more.end());
  return TorchZip(PickleDict(pairs), {{"0", Floats(elements)}, {"1", Floats({7, 8, 9})}, {"2", Floats({1})}});
}

/// A file that has its settings inside.
std::string Whole() {
  const PickledValue args =
      PickleDict({{PickleText("rows"), PickleInt(2)}, {PickleText("width"), PickleInt(3)}});
  const PickledValue state = PickleDict(
      {{PickleText("emb.weight"), Matrix("0", 2, 3)}, {PickleText("norm.weight"), TorchVector("1", 3)}});
  return TorchZip(PickleDict({{PickleText("model"), state}, {PickleText("args"), args}}),
                  {{"0", Floats({0, 1, 2, 3, 4, 5})}, {"1", Floats({7, 8, 9})}});
}

class OpenFamilyTest : public ::testing::Test {
 protected:
  OpenFamilyTest() {
    WriteFile(rules_ / "toy.json", kToy);
    options_.rules_path = rules_ / "toy.json";
  }

  void Write(const std::string& path, std::string_view text) {
    fs::create_directories(fs::path(dir_ / path).parent_path());
    WriteFile(dir_ / path, text);
  }
  void WriteTwoRanks(const std::string& folder = "") {
    Write(folder + "whole.00.pth", Rank(2, 0));
    Write(folder + "whole.01.pth", Rank(2, 6));
    Write(folder + "settings.json", R"({"model": {"rows": 4, "width": 3}})");
  }
  OpenedSource OpenAt(const std::string& path) {
    Result<OpenedSource> opened = Open(path, options_);
    EXPECT_TRUE(opened) << opened.error().message;
    return opened ? *std::move(opened) : OpenedSource{};
  }
  OpenedSource OpenDir() { return OpenAt(dir_.path().string()); }
  Error ErrorAt(const std::string& path) {
    const Result<OpenedSource> opened = Open(path, options_);
    EXPECT_FALSE(opened);
    return opened ? Error{} : opened.error();
  }
  Error DirError() { return ErrorAt(dir_.path().string()); }

  TempDir dir_;
  TempDir rules_;
  OpenOptions options_;
};

/// The bytes that are served for tensor `name`.
std::string TensorBytes(const OpenedSource& opened, std::string_view name) {
  for (const TensorReport& tensor : opened.report.tensors)
    if (tensor.name == name)
      return ReadWhole(opened.tree, tensor.file).substr(tensor.file_offset_bytes, tensor.view.size_bytes());
  return "(absent)";
}

std::vector<std::string> TensorNames(const OpenedSource& opened) {
  std::vector<std::string> names;
  for (const TensorReport& tensor : opened.report.tensors) names.push_back(tensor.name);
  std::ranges::sort(names);
  return names;
}

TEST_F(OpenFamilyTest, JoinsTheFilesOfRanks) {
  WriteTwoRanks();
  const OpenedSource opened = OpenDir();
  EXPECT_EQ(opened.report.family, "toy");
  EXPECT_THAT(TensorNames(opened), ElementsAre("model.embed.weight", "model.norm.weight"));
  EXPECT_EQ(TensorBytes(opened, "model.embed.weight"), Floats({0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}));
  EXPECT_EQ(TensorBytes(opened, "model.norm.weight"), Floats({7, 8, 9}));
  EXPECT_EQ(nlohmann::json::parse(ReadWhole(opened.tree, "config.json")).at("vocab_size"), 4);
  EXPECT_EQ(nlohmann::json::parse(ReadWhole(opened.tree, "generation_config.json")).at("eos_token_id"), 3);
  EXPECT_THAT(opened.report.notes, IsEmpty());
  EXPECT_THAT(opened.report.family_evidence, Not(IsEmpty()));
  // The settings of the original are beside it as they are.
  EXPECT_NE(opened.tree.FindPath("settings.json"), kNoNode);

  const WeightSetReport& set = opened.report.sets.at(0);
  EXPECT_EQ(set.family, "toy");
  EXPECT_EQ(set.rank_count, 2u);
  EXPECT_THAT(set.source_files, ElementsAre("whole.00.pth", "whole.01.pth"));
  ASSERT_EQ(opened.report.dropped.size(), 2u);
  EXPECT_EQ(opened.report.dropped[0].name, "mask");
  EXPECT_EQ(opened.report.dropped[0].rule, "causal mask buffer");
  for (const TensorReport& tensor : opened.report.tensors) {
    if (tensor.name != "model.embed.weight") continue;
    ASSERT_EQ(tensor.sources.size(), 2u);
    EXPECT_EQ(tensor.sources[1].name, "emb.weight");
    EXPECT_EQ(tensor.sources[1].file, "whole.01.pth");
    EXPECT_EQ(tensor.sources[1].view.shape(), (Shape{2, 3}));
    EXPECT_THAT(tensor.rule, HasSubstr("V D"));
  }
  const nlohmann::json manifest = nlohmann::json::parse(ReadWhole(opened.tree, ".weightfs/manifest.json"));
  EXPECT_EQ(manifest.at("family"), "toy");
  EXPECT_EQ(manifest.at("sets").at(0).at("rank_count"), 2);
  EXPECT_EQ(manifest.at("tensors").at(0).at("sources").size(), 2);
}

TEST_F(OpenFamilyTest, RanksNeedAFamily) {
  WriteTwoRanks();
  options_.family = "none";
  Error error = DirError();
  EXPECT_EQ(error.code, ErrorCode::kUnsupported);
  EXPECT_THAT(error.message, HasSubstr("the files of 2 ranks"));
  options_.family = "auto";
  fs::remove(dir_ / "settings.json");
  error = DirError();
  EXPECT_EQ(error.code, ErrorCode::kUnsupported);
  EXPECT_THAT(error.remedy, HasSubstr("weightfs families"));
}

TEST_F(OpenFamilyTest, APartThatARankLacksIsNamed) {
  WriteTwoRanks();
  for (const std::string& rank :
       {TorchZip(PickleDict({{PickleText("norm.weight"), TorchVector("1", 3)}}), {{"1", Floats({7, 8, 9})}}),
        TorchZip(PickleDict({}), {})}) {
    Write("whole.02.pth", rank);
    const Error error = DirError();
    EXPECT_EQ(error.code, ErrorCode::kNotFound);
    EXPECT_THAT(error.message,
                HasSubstr("whole.02.pth: no tensor 'emb.weight'; expected a part of it, as in whole.00.pth"));
  }
}

TEST_F(OpenFamilyTest, PartsHaveOneDtype) {
  WriteTwoRanks();
  Write("whole.01.pth",
        TorchZip(PickleDict({{PickleText("emb.weight"),
                              TorchTensor(TorchStorageId("HalfStorage", "0", 6), 0, {2, 3}, {3, 1})}}),
                 {{"0", std::string(12, '\0')}}));
  const Error error = DirError();
  EXPECT_EQ(error.code, ErrorCode::kCorrupt);
  EXPECT_THAT(
      error.message,
      HasSubstr("whole.01.pth: tensor 'emb.weight' is float16; expected float32, as in whole.00.pth"));
}

TEST_F(OpenFamilyTest, ATensorOfOneRankIsWhole) {
  WriteTwoRanks();
  Write("whole.01.pth", Rank(2, 6, {{PickleText("extra"), TorchVector("2", 1)}}));
  // The table knows no such tensor, so that it is refused; the message is about the tensor, not about ranks.
  EXPECT_THAT(DirError().message, HasSubstr("extra"));
}

TEST_F(OpenFamilyTest, SavesAreNumbered) {
  for (const char* number : {"000010", "000020"}) {
    Write(std::string("save_") + number + ".pt", Rank(2, 0));
    Write(std::string("settings_") + number + ".yaml",
          std::string("rows: 2\nwidth: 3\nstep: ") + number + "\n");
  }
  const Error error = DirError();
  EXPECT_EQ(error.code, ErrorCode::kAmbiguous);
  EXPECT_THAT(error.message, HasSubstr("the saves 000010, 000020"));
  options_.tag = "20";
  const OpenedSource opened = OpenDir();
  EXPECT_EQ(opened.report.family, "toy");
  EXPECT_THAT(opened.report.sets.at(0).source_files, ElementsAre("save_000020.pt"));
  EXPECT_EQ(TensorBytes(opened, "model.embed.weight"), Floats({0, 1, 2, 3, 4, 5}));
  // Only where saves are numbered.
  EXPECT_EQ(ErrorAt(dir_ / "save_000010.pt").code, ErrorCode::kInvalidArgument);
  TempDir other;
  WriteFile(other / "model.safetensors", WriteSafetensors({{"a", "F32", 1, Floats({1})}}));
  const Error no_saves = ErrorAt(other.path().string());
  EXPECT_EQ(no_saves.code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(no_saves.message, HasSubstr("--tag 20: does not apply"));
}

TEST_F(OpenFamilyTest, ABareFileHasOnlyWhatIsInIt) {
  Write("x.pt", Whole());
  OpenedSource opened = OpenAt(dir_ / "x.pt");
  EXPECT_EQ(opened.report.family, "toy");
  EXPECT_EQ(TensorBytes(opened, "model.embed.weight"), Floats({0, 1, 2, 3, 4, 5}));
  EXPECT_NE(opened.tree.FindPath("config.json"), kNoNode);
  // Settings beside a bare file are not looked at, those of an overlay are.
  WriteTwoRanks();
  Write("one/whole.00.pth", Rank(4, 0));
  Write("one/settings.json", R"({"model": {"rows": 4, "width": 3}})");
  opened = OpenAt(dir_ / "one/whole.00.pth");
  EXPECT_EQ(opened.report.family, "none");
  options_.overlays = {dir_ / "one"};
  EXPECT_EQ(OpenAt(dir_ / "one/whole.00.pth").report.family, "toy");
}

TEST_F(OpenFamilyTest, AFolderOfOneTorchFileIsThatFile) {
  Write("ckpt.pt", Whole());
  Write("config.yaml", "unrelated: true\n");
  const OpenedSource opened = OpenDir();
  EXPECT_EQ(opened.report.family, "toy");
  EXPECT_NE(opened.tree.FindPath("model.safetensors"), kNoNode);
  EXPECT_NE(opened.tree.FindPath("config.yaml"), kNoNode);
}

TEST_F(OpenFamilyTest, ConfigurationThatIsThereWins) {
  WriteTwoRanks();
  const std::string given = R"({"vocab_size": 5, "hidden": 3.0, "mine": true, "act": "gelu"})";
  Write("config.json", given);
  OpenedSource opened = OpenDir();
  EXPECT_EQ(ReadWhole(opened.tree, "config.json"), given);
  EXPECT_THAT(opened.report.notes,
              ElementsAre(AllOf(HasSubstr("config.json: of source, served as it is"),
                                HasSubstr("vocab_size (5, derived 4)"), Not(HasSubstr("hidden")))));
  Write("over/config.json", R"({"vocab_size": 4})");
  options_.overlays = {dir_ / "over"};
  opened = OpenDir();
  EXPECT_EQ(ReadWhole(opened.tree, "config.json"), R"({"vocab_size": 4})");
  EXPECT_THAT(opened.report.notes, IsEmpty());
  options_.config_path = dir_ / "config.json";
  EXPECT_EQ(ReadWhole(OpenDir().tree, "config.json"), given);
  Write("config.json", "{");
  EXPECT_THAT(OpenDir().report.notes, ElementsAre(HasSubstr("config.json")));
}

TEST_F(OpenFamilyTest, FiltersAndCastsActOnWhatIsServed) {
  WriteTwoRanks();
  options_.exclude = {"norm"};
  options_.dtype = DType::kF64;
  const OpenedSource opened = OpenDir();
  EXPECT_THAT(TensorNames(opened), ElementsAre("model.embed.weight"));
  EXPECT_THAT(opened.report.tensors.at(0).view.dtype(), DType::kF64);
  EXPECT_EQ(opened.report.dropped.back().name, "model.norm.weight");
  EXPECT_EQ(opened.report.dropped.back().file, "whole.00.pth");
  EXPECT_THAT(ReadWhole(opened.tree, "config.json"), HasSubstr("float64"));
}

TEST_F(OpenFamilyTest, OptionsChooseTheFamily) {
  Write("x.pt", Whole());
  options_.family = "toy";
  options_.family_options = {{"act", "relu"}};
  EXPECT_THAT(ReadWhole(OpenDir().tree, "config.json"), HasSubstr("relu"));
  options_.family = "auto";
  EXPECT_THAT(ReadWhole(OpenDir().tree, "config.json"), HasSubstr("relu"));
  options_.family_options = {{"act", "tanh"}};
  EXPECT_EQ(DirError().code, ErrorCode::kInvalidArgument);
  options_.family_options = {{"nothing", "1"}};
  EXPECT_EQ(DirError().code, ErrorCode::kInvalidArgument);
  options_.family = "none";
  EXPECT_THAT(DirError().message, HasSubstr("--family none:nothing=1: does not apply"));
  options_.family_options.clear();
  EXPECT_THAT(TensorNames(OpenDir()), ElementsAre("emb.weight", "norm.weight"));
  options_.trim_vocab = true;
  EXPECT_THAT(DirError().message, HasSubstr("--trim-vocab: does not apply"));
  options_.family = "unheard-of";
  const Error error = DirError();
  EXPECT_EQ(error.code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(error.message, AllOf(HasSubstr("unheard-of"), HasSubstr("auto, none"), HasSubstr("toy")));
}

TEST_F(OpenFamilyTest, RulesAreReadBeforeTheSource) {
  options_.rules_path = dir_ / "absent.json";
  Error error = ErrorAt(dir_ / "absent-source");
  EXPECT_EQ(error.code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(error.message, HasSubstr("--rules"));
  WriteFile(rules_ / "bad.json", "{\n  \"family\": 3\n}");
  options_.rules_path = rules_ / "bad.json";
  error = ErrorAt(dir_ / "absent-source");
  EXPECT_EQ(error.code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(error.message, HasSubstr("bad.json:2"));
}

TEST_F(OpenFamilyTest, StepsHaveTheirFamilies) {
  WriteTwoRanks("step1/");
  WriteTwoRanks("step2/");
  const OpenedSource opened = OpenDir();
  EXPECT_EQ(opened.report.sets.size(), 2u);
  EXPECT_NE(opened.tree.FindPath("step1/config.json"), kNoNode);
  EXPECT_NE(opened.tree.FindPath("step2/model.safetensors"), kNoNode);
  EXPECT_EQ(opened.report.family, "toy");
  for (const TensorReport& tensor : opened.report.tensors)
    for (const TensorOrigin& source : tensor.sources) EXPECT_THAT(source.file, HasSubstr("step"));
}

TEST_F(OpenFamilyTest, TreesAreMirrored) {
  WriteTwoRanks("a/");
  Write("b/model.safetensors", WriteSafetensors({{"w", "F32", 1, Floats({1})}}));
  const OpenedSource opened = OpenDir();
  EXPECT_EQ(opened.report.family, "toy");
  EXPECT_NE(opened.tree.FindPath("a/config.json"), kNoNode);
  EXPECT_EQ(opened.tree.FindPath("b/config.json"), kNoNode);
  EXPECT_EQ(opened.report.sets.at(0).family, "toy");
  EXPECT_EQ(opened.report.sets.at(1).family, "");
  EXPECT_TRUE(opened.report.sets.at(1).passed_through);
}

}  // namespace
}  // namespace weightfs
