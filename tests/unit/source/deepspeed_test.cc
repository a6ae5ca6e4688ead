#include "convert/source/deepspeed/deepspeed.h"

#include <filesystem>
#include <map>
#include <numeric>
#include <optional>

#include "convert/source/deepspeed/experts.h"
#include "convert/source/deepspeed/partitions.h"
#include "convert/source/deepspeed/tensor_parallel.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/source/torch_test_util.h"

namespace weightfs::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

PickledValue Size(const std::vector<int64_t>& shape) {
  return PickleCall(PickleGlobal("torch", "Size"), {PickleNumbers(shape)});
}

PickledValue Named(const std::vector<std::pair<std::string, PickledValue>>& pairs) {
  PickledPairs pickled;
  for (const auto& [name, value] : pairs) pickled.emplace_back(PickleText(name), value);
  return PickleDict(pickled);
}

PickledValue Stage(int64_t stage) {
  return PickleCall(PickleGlobal("deepspeed.runtime.zero.config", "ZeroStageEnum"), {PickleInt(stage)});
}

/// Tensors of one file: each gets a storage of its own.
class Storages {
 public:
  PickledValue Vector(const std::vector<float>& values) {
    return Tensor(values, {static_cast<int64_t>(values.size())});
  }
  PickledValue Tensor(const std::vector<float>& values, const std::vector<int64_t>& shape) {
    std::vector<int64_t> strides(shape.size(), 1);
    for (size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * shape[i];
    const std::string key = std::to_string(bytes_.size());
    bytes_.emplace_back(key, Floats(values));
    return TorchTensor(TorchStorageId("FloatStorage", key, static_cast<int64_t>(values.size())), 0, shape,
                       strides);
  }
  const NamedBytes& bytes() const { return bytes_; }

 private:
  NamedBytes bytes_;
};

/// Values that differ everywhere: `first`, `first` + 1, ...
std::vector<float> Count(size_t count, float first) {
  std::vector<float> values(count);
  std::iota(values.begin(), values.end(), first);
  return values;
}

class DeepSpeedTest : public ::testing::Test {
 protected:
  /// The parts of a model file; the test changes what it is about.
  struct Model {
    std::vector<std::pair<std::string, PickledValue>> module;
    PickledValue buffer_names = PickleList({});
    PickledValue param_shapes = PickleNone();
    PickledValue frozen_shapes = PickleNone();
    std::vector<std::pair<std::string, PickledValue>> frozen;
    PickledValue shared = PickleDict({});
    int64_t step = 10;
    std::vector<std::pair<std::string, PickledValue>> more;
  };
  struct Optimizer {
    std::vector<std::vector<float>> groups;
    PickledValue partition_count = PickleList({PickleInt(2)});
    PickledValue zero_stage = Stage(2);
    std::string key = "single_partition_of_fp32_groups";
    double step = 10;
    std::vector<std::pair<std::string, PickledValue>> more;
  };

  void Write(const std::string& path, std::string_view bytes) {
    fs::create_directories(fs::path(dir_ / path).parent_path());
    WriteFile(dir_ / path, bytes);
  }
  void WriteModel(const std::string& path, const Model& model, const Storages& storages) {
    std::vector<std::pair<std::string, PickledValue>> root = {
        {"module", Named(model.module)},         {"buffer_names", model.buffer_names},
        {"param_shapes", model.param_shapes},    {"frozen_param_shapes", model.frozen_shapes},
        {"shared_params", model.shared},         {"frozen_param_fragments", Named(model.frozen)},
        {"global_steps", PickleInt(model.step)}, {"dp_world_size", PickleInt(2)},
        {"mp_world_size", PickleInt(1)},         {"ds_version", PickleText("0.19.8")}};
    root.insert(root.end(), model.more.begin(), model.more.end());
    Write(path, TorchZip(Named(root), storages.bytes()));
  }
  void WriteOptimizer(const std::string& path, const Optimizer& optimizer) {
    Storages storages;
    std::vector<PickledValue> groups;
    for (const std::vector<float>& group : optimizer.groups) groups.push_back(storages.Vector(group));
    const PickledValue step = storages.Tensor({static_cast<float>(optimizer.step)}, {});
    const PickledValue adam =
        PickleDict({{PickleText("state"), PickleDict({{PickleInt(0), Named({{"step", step}})}})}});
    std::vector<std::pair<std::string, PickledValue>> state = {
        {optimizer.key, PickleList(groups)},
        {"base_optimizer_state", adam},
        {"partition_count", optimizer.partition_count}};
    if (!optimizer.zero_stage.empty()) state.emplace_back("zero_stage", optimizer.zero_stage);
    state.insert(state.end(), optimizer.more.begin(), optimizer.more.end());
    Write(path,
          TorchZip(Named({{"optimizer_state_dict", Named(state)}, {"ds_version", PickleText("0.19.8")}}),
                   storages.bytes()));
  }

  /// ZeRO-2 on two ranks: `a` of 2 x 3 and `b` of 5 lie in one vector that is cut after 6 elements.
  void WriteZero2(const std::string& tag, int64_t step = 10) {
    Storages storages;
    Model model;
    model.step = step;
    model.module = {{"a", storages.Tensor(Count(6, 100), {2, 3})}, {"b", storages.Vector(Count(5, 200))}};
    model.param_shapes = PickleList({Named({{"a", Size({2, 3})}, {"b", Size({5})}})});
    WriteModel(tag + "/mp_rank_00_model_states.pt", model, storages);
    WriteOptimizer(tag + "/zero_pp_rank_0_mp_rank_00_optim_states.pt",
                   {.groups = {Count(6, 1)}, .step = static_cast<double>(step)});
    WriteOptimizer(tag + "/zero_pp_rank_1_mp_rank_00_optim_states.pt",
                   {.groups = {Count(5, 7)}, .step = static_cast<double>(step)});
  }

  Result<DeepSpeedCheckpoint> Read(const DeepSpeedOptions& options = {}, std::string_view tag = {},
                                   const std::vector<std::string>& also = {}) {
    const SourceContext context = TestContext();
    WEIGHTFS_TRY(const auto source, SourceFiles::Create(dir_.path().string(), {.cache = context.cache}));
    WEIGHTFS_TRY(std::optional<DeepSpeedSave> save, FindDeepSpeedSave(source, "", tag));
    if (!save) return Fail(ErrorCode::kInternal, "no save");
    for (const std::string& folder : also) {
      WEIGHTFS_TRY(const auto files, SourceFiles::Create(folder, {.cache = context.cache}));
      WEIGHTFS_CHECK(AddDeepSpeedFolder(files, *save));
    }
    return ReadDeepSpeed(*save, options, context);
  }
  Error ReadSaveError(const DeepSpeedOptions& options = {}, std::string_view tag = {}) {
    const auto read = Read(options, tag);
    EXPECT_FALSE(read.has_value());
    return read ? Error{} : read.error();
  }
  /// The floats of every tensor of the only rank.
  std::map<std::string, std::vector<float>> Values(const DeepSpeedCheckpoint& read) {
    std::map<std::string, std::vector<float>> values;
    for (const SourceTensor& tensor : read.ranks.at(0).tensors) {
      const std::string bytes = ReadTensor(tensor).value();
      std::vector<float>& floats = values[tensor.name];
      floats.resize(bytes.size() / 4);
      if (!floats.empty()) std::memcpy(floats.data(), bytes.data(), floats.size() * 4);
    }
    return values;
  }

  TempDir dir_;
};

TEST_F(DeepSpeedTest, CutsTheVectorOfAGroup) {
  WriteZero2("global_step10");
  const auto read = Read();
  ASSERT_TRUE(read.has_value()) << read.error().message;
  EXPECT_TRUE(read->are_masters);
  ASSERT_THAT(read->ranks, SizeIs(1));
  const Checkpoint& checkpoint = read->ranks[0];
  EXPECT_EQ(checkpoint.format, "deepspeed");
  EXPECT_THAT(Names(checkpoint), ElementsAre("a", "b"));
  EXPECT_EQ(checkpoint.tensors[0].view.shape(), (Shape{2, 3}));
  EXPECT_EQ(checkpoint.tensors[0].file, "global_step10/zero_pp_rank_{0..1}_mp_rank_00_optim_states.pt");
  EXPECT_THAT(Values(*read), UnorderedElementsAre(std::pair("a", Count(6, 1)), std::pair("b", Count(5, 7))));
  ASSERT_THAT(checkpoint.candidates, SizeIs(2));
  EXPECT_EQ(checkpoint.candidates[0].path, "master");
  EXPECT_TRUE(checkpoint.candidates[0].chosen);
}

TEST_F(DeepSpeedTest, ServesTheModule) {
  WriteZero2("global_step10");
  const auto read = Read({.weights = DeepSpeedWeights::kModule});
  ASSERT_TRUE(read.has_value()) << read.error().message;
  EXPECT_FALSE(read->are_masters);
  EXPECT_THAT(Values(*read),
              UnorderedElementsAre(std::pair("a", Count(6, 100)), std::pair("b", Count(5, 200))));
}

TEST_F(DeepSpeedTest, ParametersCrossRanksAndHavePaddings) {
  Storages storages;
  Model model;
  // Three ranks of 4, 4 and 3 elements; one element of padding follows each of the first two parameters.
  model.param_shapes =
      PickleList({Named({{"a", Size({5})}, {"e", Size({0, 3})}, {"b", Size({1})}, {"c", Size({3})}})});
  WriteModel("t/mp_rank_00_model_states.pt", model, storages);
  const PickledValue paddings =
      PickleList({PickleList({PickleInt(1), PickleInt(0), PickleInt(1), PickleInt(0)})});
  const std::vector<std::vector<float>> pieces = {Count(4, 0), Count(4, 4), Count(3, 8)};
  for (size_t rank = 0; rank < 3; ++rank)
    WriteOptimizer("t/bf16_zero_pp_rank_" + std::to_string(rank) + "_mp_rank_00_optim_states.pt",
                   {.groups = {pieces[rank]},
                    .partition_count = PickleList({PickleInt(3)}),
                    .more = {{"param_alignment_paddings", paddings}}});
  const auto read = Read();
  ASSERT_TRUE(read.has_value()) << read.error().message;
  EXPECT_THAT(Values(*read), UnorderedElementsAre(std::pair("a", Count(5, 0)), std::pair("e", Count(0, 0)),
                                                  std::pair("b", Count(1, 6)), std::pair("c", Count(3, 8))));
}

/// ZeRO-3 on three ranks: pieces of every parameter, the last ones padded; two sub-groups; a frozen
/// parameter.
class Zero3Test : public DeepSpeedTest {
 protected:
  void WriteZero3(const std::string& tag, int ranks_written = 3) {
    // `a` of 7 in pieces of 3, `b` of 2 in pieces of 1, `f` (frozen) of 4 in pieces of 2.
    const std::vector<std::vector<float>> a = {{0, 1, 2}, {3, 4, 5}, {6, -1, -1}}, b = {{10}, {11}, {-1}};
    const std::vector<std::vector<float>> f = {{20, 21}, {22, 23}, {-1, -1}};
    for (int rank = 0; rank < ranks_written; ++rank) {
      Storages storages;
      Model model;
      model.module = {{"buffer", storages.Vector({0.5})},
                      {"a", storages.Vector({})},
                      {"tied", storages.Vector({})},
                      {"b", storages.Vector({})},
                      {"f", storages.Vector({})}};
      model.buffer_names = PickleList({PickleText("buffer")});
      model.param_shapes = PickleList({Named({{"a", Size({7})}}), Named({{"b", Size({2, 1})}})});
      model.frozen_shapes = Named({{"f", Size({2, 2})}});
      model.frozen = {{"f", storages.Vector(f[rank])}};
      if (rank == 0) model.shared = Named({{"tied", PickleText("a")}});
      const std::string number = std::to_string(rank);
      WriteModel(tag + "/zero_pp_rank_" + number + "_mp_rank_00_model_states.pt", model, storages);
      WriteOptimizer(tag + "/zero_pp_rank_" + number + "_mp_rank_00_optim_states.pt",
                     {.groups = {a[rank], b[rank]},
                      .partition_count = PickleInt(3),
                      .zero_stage = Stage(3),
                      .key = "fp32_flat_groups"});
    }
  }
};

TEST_F(Zero3Test, JoinsThePiecesOfEveryParameter) {
  WriteZero3("global_step10");
  Write("latest", "global_step10\n");
  const auto read = Read();
  ASSERT_TRUE(read.has_value()) << read.error().message;
  EXPECT_THAT(Names(read->ranks[0]), ElementsAre("buffer", "f", "a", "b", "tied"));
  EXPECT_THAT(Values(*read),
              UnorderedElementsAre(std::pair("a", Count(7, 0)), std::pair("b", Count(2, 10)),
                                   std::pair("buffer", Count(1, 0.5)), std::pair("f", Count(4, 20)),
                                   std::pair("tied", Count(7, 0))));
  EXPECT_TRUE(read->ranks[0].tensors[4].view.IsAliasOf(read->ranks[0].tensors[2].view));
}

TEST_F(Zero3Test, HasNoModuleToServe) {
  WriteZero3("global_step10");
  const Error error = ReadSaveError({.weights = DeepSpeedWeights::kModule});
  EXPECT_EQ(error.code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(error.message, HasSubstr("ZeRO-3 left placeholders in module"));
}

TEST_F(Zero3Test, MissingRanksAreListed) {
  WriteZero3("global_step10", 2);
  const Error error = ReadSaveError();
  EXPECT_EQ(error.code, ErrorCode::kNotFound);
  EXPECT_THAT(error.message, AllOf(HasSubstr("2 files missing: zero_pp_rank_2_mp_rank_00_model_states.pt, "
                                             "zero_pp_rank_2_mp_rank_00_optim_states.pt"),
                                   HasSubstr("expected the files of all 3 data ranks")));
  EXPECT_THAT(error.remedy, AllOf(HasSubstr("--also DIR"), HasSubstr("--partial"), Not(HasSubstr("module"))));
}

TEST_F(Zero3Test, PartialServesWhatIsWhole) {
  WriteZero3("global_step10", 2);
  const auto read = Read({.partial = true});
  ASSERT_TRUE(read.has_value()) << read.error().message;
  EXPECT_TRUE(read->is_partial);
  // `b` and `f` end before the last rank.
  EXPECT_THAT(Values(*read),
              UnorderedElementsAre(std::pair("b", Count(2, 10)), std::pair("buffer", Count(1, 0.5)),
                                   std::pair("f", Count(4, 20))));
  EXPECT_THAT(read->ranks[0].warnings, SizeIs(2));
  EXPECT_THAT(read->ranks[0].warnings,
              Contains(HasSubstr("1 parameters that the files do not hold whole: 'a'")));
}

TEST_F(Zero3Test, RanksOfOtherFoldersAreJoined) {
  WriteZero3("here/global_step10");
  fs::create_directories(dir_ / "there/global_step10");
  for (const char* name : {"model_states.pt", "optim_states.pt"})
    fs::rename(dir_ / ("here/global_step10/zero_pp_rank_2_mp_rank_00_" + std::string(name)),
               dir_ / ("there/global_step10/zero_pp_rank_2_mp_rank_00_" + std::string(name)));
  const SourceContext context = TestContext();
  const auto source = SourceFiles::Create(dir_ / "here", {.cache = context.cache}).value();
  std::optional<DeepSpeedSave> save = FindDeepSpeedSave(source, "", "").value();
  ASSERT_TRUE(save.has_value());
  EXPECT_FALSE(ReadDeepSpeed(*save, {}, context).has_value());
  const auto also = SourceFiles::Create(dir_ / "there", {.cache = context.cache}).value();
  ASSERT_TRUE(AddDeepSpeedFolder(also, *save).has_value());
  const auto read = ReadDeepSpeed(*save, {}, context);
  ASSERT_TRUE(read.has_value()) << read.error().message;
  EXPECT_THAT(Values(*read).at("a"), Count(7, 0));
}

TEST_F(Zero3Test, FilesOfOneNameMustBeEqual) {
  WriteZero3("here/global_step10");
  WriteZero3("there/global_step10");
  const SourceContext context = TestContext();
  const auto source = SourceFiles::Create(dir_ / "here", {.cache = context.cache}).value();
  const auto also = SourceFiles::Create(dir_ / "there", {.cache = context.cache}).value();
  DeepSpeedSave save = *FindDeepSpeedSave(source, "", "").value();
  EXPECT_TRUE(AddDeepSpeedFolder(also, save).has_value());
  WriteOptimizer("there/global_step10/zero_pp_rank_1_mp_rank_00_optim_states.pt",
                 {.groups = {{3, 4, 6}, {11}},
                  .partition_count = PickleInt(3),
                  .zero_stage = Stage(3),
                  .key = "fp32_flat_groups"});
  const Status added = AddDeepSpeedFolder(also, save);
  ASSERT_FALSE(added.has_value());
  EXPECT_EQ(added.error().code, ErrorCode::kCorrupt);
  EXPECT_THAT(added.error().message,
              HasSubstr("zero_pp_rank_1_mp_rank_00_optim_states.pt: other content than"));
}

TEST_F(DeepSpeedTest, LatestChoosesAndTagOverrides) {
  WriteZero2("global_step10");
  WriteZero2("global_step20", 20);
  EXPECT_EQ(ReadSaveError().code, ErrorCode::kAmbiguous);
  EXPECT_THAT(ReadSaveError().message, HasSubstr("global_step10, global_step20"));
  Write("latest", " global_step20 \n");
  EXPECT_THAT(Read()->ranks[0].tensors[0].file, HasSubstr("global_step20/"));
  EXPECT_THAT(Read({}, "global_step10")->ranks[0].tensors[0].file, HasSubstr("global_step10/"));
  EXPECT_EQ(ReadSaveError({}, "global_step30").code, ErrorCode::kInvalidArgument);
  Write("latest", "global_step30");
  EXPECT_EQ(ReadSaveError().code, ErrorCode::kNotFound);
  for (const char* name : {"../global_step10", "..", "", "a/b"}) {
    Write("latest", name);
    EXPECT_EQ(ReadSaveError().code, ErrorCode::kCorrupt) << name;
  }
}

TEST_F(DeepSpeedTest, OtherProgramsKeepALatestToo) {
  Write("latest", "step10");
  EXPECT_EQ(ReadSaveError().message, "no save");
  Write("zero_to_fp32.py", "");
  EXPECT_EQ(ReadSaveError().code, ErrorCode::kNotFound);
}

TEST_F(DeepSpeedTest, FilesOfDifferentSavesAreRefused) {
  WriteZero2("t");
  WriteOptimizer("t/zero_pp_rank_1_mp_rank_00_optim_states.pt", {.groups = {Count(5, 7)}, .step = 20});
  Error error = ReadSaveError();
  EXPECT_EQ(error.code, ErrorCode::kCorrupt);
  EXPECT_THAT(error.message, HasSubstr("step 20; expected 10"));
  WriteOptimizer("t/zero_pp_rank_1_mp_rank_00_optim_states.pt",
                 {.groups = {Count(5, 7)}, .partition_count = PickleInt(4)});
  EXPECT_THAT(ReadSaveError().message, HasSubstr("one of 4 ranks; expected 2"));
  WriteOptimizer("t/zero_pp_rank_1_mp_rank_00_optim_states.pt", {.groups = {Count(5, 7), Count(1, 1)}});
  EXPECT_THAT(ReadSaveError().message, HasSubstr("2 groups; expected 1"));
  WriteOptimizer("t/zero_pp_rank_1_mp_rank_00_optim_states.pt", {.groups = {Count(5, 7)}});
  EXPECT_TRUE(Read().has_value());
  WriteOptimizer("t/zero_pp_rank_2_mp_rank_00_optim_states.pt", {.groups = {Count(5, 7)}});
  EXPECT_THAT(ReadSaveError().message, HasSubstr("data rank 2; expected 0 to 1"));
}

TEST_F(DeepSpeedTest, VectorsMustFitTheirParameters) {
  WriteZero2("t");
  const std::string second = "t/zero_pp_rank_1_mp_rank_00_optim_states.pt";
  for (const size_t count : {4, 9, 10}) {
    WriteOptimizer(second, {.groups = {Count(count, 7)}});
    EXPECT_EQ(ReadSaveError().code, ErrorCode::kCorrupt) << count;
  }
  // Up to three elements of padding, as two ranks are aligned to four.
  WriteOptimizer("t/zero_pp_rank_0_mp_rank_00_optim_states.pt", {.groups = {Count(7, 1)}});
  WriteOptimizer(second, {.groups = {Count(7, 8)}});
  EXPECT_TRUE(Read().has_value());
  // A piece after a short one.
  WriteOptimizer("t/zero_pp_rank_0_mp_rank_00_optim_states.pt", {.groups = {Count(5, 1)}});
  WriteOptimizer(second, {.groups = {Count(6, 6)}});
  EXPECT_THAT(ReadSaveError().message, HasSubstr("expected none, as the rank before has 5 of 6"));
}

TEST_F(DeepSpeedTest, HostileNumbersAreRefused) {
  Storages storages;
  const auto write = [&](const PickledValue& shapes, const PickledValue& count) {
    Model model;
    model.param_shapes = shapes;
    WriteModel("t/mp_rank_00_model_states.pt", model, storages);
    WriteOptimizer("t/zero_pp_rank_0_mp_rank_00_optim_states.pt",
                   {.groups = {{1}}, .partition_count = count});
  };
  const PickledValue one = PickleList({Named({{"a", Size({1})}})});
  const std::pair<PickledValue, PickledValue> cases[] = {
      {one, PickleInt(0)},
      {one, PickleInt(INT64_MAX)},
      {one, PickleInt(-1)},
      {one, PickleText("2")},
      {one, PickleNone()},
      {one, PickleList({PickleInt(1), PickleInt(1)})},
      {PickleList({Named({{"a", Size({INT64_MAX, INT64_MAX})}})}), PickleInt(1)},
      {PickleList({Named({{"a", Size({INT64_MAX})}, {"b", Size({INT64_MAX})}, {"c", Size({2})}})}),
       PickleInt(1)},
      {PickleList({Named({{"a", Size({-1})}})}), PickleInt(1)},
      {PickleList({Named({{"a", PickleText("1")}})}), PickleInt(1)},
      {PickleList({PickleInt(1)}), PickleInt(1)},
      {PickleInt(1), PickleInt(1)},
      {PickleNone(), PickleInt(1)},
      {PickleList({}), PickleInt(1)},
      {PickleList({PickleDict({{PickleInt(1), Size({1})}})}), PickleInt(1)}};
  for (const auto& [shapes, count] : cases) {
    write(shapes, count);
    EXPECT_EQ(ReadSaveError().code, ErrorCode::kCorrupt) << ReadSaveError().message;
  }
  write(one, PickleInt(1));
  EXPECT_TRUE(Read().has_value());
  write(one, PickleInt(1 << 20));
  EXPECT_EQ(ReadSaveError().code, ErrorCode::kNotFound);
  EXPECT_THAT(ReadSaveError().message, HasSubstr("1048575 files missing"));
}

TEST_F(DeepSpeedTest, EnumeratorsByNameAndByValue) {
  WriteZero2("t");
  const PickledValue by_name =
      PickleCall(PickleGlobal("__builtin__", "getattr"),
                 {PickleGlobal("deepspeed.runtime.zero.config", "ZeroStageEnum"), PickleText("gradients")});
  for (const PickledValue& stage : {by_name, PickleInt(1), PickledValue()}) {
    WriteOptimizer("t/zero_pp_rank_0_mp_rank_00_optim_states.pt",
                   {.groups = {Count(6, 1)}, .zero_stage = stage});
    EXPECT_TRUE(Read().has_value());
  }
  for (const PickledValue& stage : {PickleInt(3), PickleInt(4), PickleText("2"), Stage(-1)}) {
    WriteOptimizer("t/zero_pp_rank_0_mp_rank_00_optim_states.pt",
                   {.groups = {Count(6, 1)}, .zero_stage = stage});
    EXPECT_EQ(ReadSaveError().code, ErrorCode::kCorrupt);
  }
}

TEST_F(DeepSpeedTest, WithoutOptimizerFilesTheModuleIsServedAloud) {
  WriteZero2("t");
  for (const char* rank : {"0", "1"})
    fs::remove(dir_ / ("t/zero_pp_rank_" + std::string(rank) + "_mp_rank_00_optim_states.pt"));
  const auto read = Read();
  ASSERT_TRUE(read.has_value()) << read.error().message;
  EXPECT_FALSE(read->are_masters);
  EXPECT_THAT(read->ranks[0].warnings, ElementsAre(HasSubstr("no optimizer files")));
  EXPECT_THAT(Values(*read).at("b"), Count(5, 200));
}

TEST_F(DeepSpeedTest, OldReleasesHaveShapesInOptimizerFilesAndNamesOfTiesNowhere) {
  Storages storages;
  const PickledValue a = storages.Tensor(Count(6, 100), {2, 3});
  Write("t/mp_rank_00_model_states.pt",
        TorchZip(Named({{"module", Named({{"a", a}, {"tied", a}, {"b", storages.Vector(Count(5, 200))}})},
                        {"dp_world_size", PickleInt(2)},
                        {"mp_world_size", PickleInt(1)}}),
                 storages.bytes()));
  for (int rank = 0; rank < 2; ++rank) {
    Storages pieces;
    const PickledValue groups = PickleList({pieces.Vector(rank == 0 ? Count(6, 1) : Count(5, 7))});
    Write("t/zero_pp_rank_" + std::to_string(rank) + "_mp_rank_00optim_states.pt",
          TorchZip(Named({{"optimizer_state_dict", Named({{"single_partition_of_fp32_groups", groups},
                                                          {"partition_count", PickleInt(2)},
                                                          {"zero_stage", PickleInt(2)}})},
                          {"param_shapes", Named({{"a", Size({2, 3})}, {"b", Size({5})}})}}),
                   pieces.bytes()));
  }
  const auto read = Read();
  ASSERT_TRUE(read.has_value()) << read.error().message;
  EXPECT_TRUE(read->are_masters);
  EXPECT_THAT(Values(*read), UnorderedElementsAre(std::pair("a", Count(6, 1)), std::pair("b", Count(5, 7)),
                                                  std::pair("tied", Count(6, 1))));
}

TEST_F(DeepSpeedTest, ExpertsWithoutShapesAreThoseOfTheModule) {
  Storages storages, expert;
  const std::string name = "deepspeed_moe.experts.deepspeed_experts.0.w";
  Write("t/mp_rank_00_model_states.pt", TorchZip(Named({{"module", Named({{"a", storages.Vector({1, 2})}})},
                                                        {"num_experts", PickleList({PickleInt(1)})},
                                                        {"dp_world_size", PickleInt(1)}}),
                                                 storages.bytes()));
  Write("t/layer_0_expert_0_mp_rank_00_model_states.pt",
        TorchZip(Named({{name, expert.Vector({3})}}), expert.bytes()));
  WriteOptimizer("t/zero_pp_rank_0_mp_rank_00_optim_states.pt",
                 {.groups = {{7, 8}, {9}}, .partition_count = PickleList({PickleInt(1), PickleInt(1)})});
  const auto read = Read();
  ASSERT_TRUE(read.has_value()) << read.error().message;
  EXPECT_FALSE(read->are_masters);
  EXPECT_THAT(read->ranks[0].warnings, ElementsAre(HasSubstr("no param_shapes")));
  EXPECT_THAT(Values(*read), UnorderedElementsAre(std::pair("a", std::vector<float>{1, 2}),
                                                  std::pair(name, std::vector<float>{3})));
}

TEST_F(DeepSpeedTest, LayoutsThatAreNotReadAreNamed) {
  const auto write = [&](const std::vector<std::pair<std::string, PickledValue>>& more) {
    WriteZero2("t");
    Storages storages;
    Model model;
    model.module = {{"a", storages.Vector({1})}};
    model.param_shapes = PickleList({Named({{"a", Size({2, 3})}, {"b", Size({5})}})});
    model.more = more;
    WriteModel("t/mp_rank_00_model_states.pt", model, storages);
    const Error error = ReadSaveError();
    EXPECT_EQ(error.code, ErrorCode::kUnsupported) << error.message;
    return error.message;
  };
  EXPECT_THAT(
      write({{"ds_config",
              Named({{"zero_optimization", Named({{"zenflow", Named({{"topk_ratio", PickleInt(1)}})}})}})}}),
      HasSubstr("ZenFlow"));
  EXPECT_THAT(write({{"ds_autoep_layers",
                      PickleList({Named({{"checkpoint_format", PickleText("zero3_partitioned")}})})}}),
              HasSubstr("AutoEP"));
  WriteZero2("t");
  WriteOptimizer("t/zero_pp_rank_0_mp_rank_00_optim_states.pt",
                 {.groups = {{1}}, .key = "local_sub_partitions_of_fp32_groups"});
  EXPECT_THAT(ReadSaveError().message, HasSubstr("before 0.5.9"));
}

/// Two tensor-parallel ranks of one data rank each.
class TensorParallelTest : public DeepSpeedTest {
 protected:
  void WriteRanks(const std::vector<std::pair<std::string, PickledValue>>& more) {
    for (int rank = 0; rank < 2; ++rank) {
      Storages storages;
      Model model;
      model.more = more;
      model.param_shapes = PickleList({Named({{"column", Size({2, 2})},
                                              {"row", Size({2, 2})},
                                              {"norm", Size({2})},
                                              {"halves", Size({2, 1})},
                                              {"words", Size({2, 1})}})});
      const std::string number = "0" + std::to_string(rank);
      WriteModel("t/mp_rank_" + number + "_model_states.pt", model, storages);
      std::vector<float> masters = Count(14, 100 * static_cast<float>(rank));
      masters[8] = 1, masters[9] = 2;
      WriteOptimizer("t/zero_pp_rank_0_mp_rank_" + number + "_optim_states.pt",
                     {.groups = {masters}, .partition_count = PickleInt(1)});
    }
  }
};

TEST_F(TensorParallelTest, PartsAreLeftToFamilies) {
  WriteRanks({});
  const auto read = Read();
  ASSERT_TRUE(read.has_value()) << read.error().message;
  ASSERT_THAT(read->ranks, SizeIs(2));
  EXPECT_EQ(ReadTensor(read->ranks[1].tensors[0]).value(), Floats(Count(4, 100)));
}

TEST_F(TensorParallelTest, PartsJoinAsTheRunSays) {
  const auto patterns = [](std::string_view text) { return PickleList({PickleText(text)}); };
  const PickledValue info = Named({{"tp_replicated_parameter_patterns", patterns("norm")},
                                   {"parameter_with_row_parallelism_patterns", patterns("ro.")},
                                   {"parameter_with_2_sub_params_cat_dim_0", patterns("halves")},
                                   {"vocabulary_parameter_patterns", patterns("words")},
                                   {"original_vocab_size", PickleInt(3)}});
  WriteRanks({{"universal_checkpoint_info", info}});
  const auto read = Read();
  ASSERT_TRUE(read.has_value()) << read.error().message;
  EXPECT_THAT(Values(*read),
              UnorderedElementsAre(std::pair("column", std::vector<float>{0, 1, 2, 3, 100, 101, 102, 103}),
                                   std::pair("row", std::vector<float>{4, 5, 104, 105, 6, 7, 106, 107}),
                                   std::pair("norm", std::vector<float>{1, 2}),
                                   std::pair("halves", std::vector<float>{10, 110, 11, 111}),
                                   std::pair("words", std::vector<float>{12, 13, 112})));
}

TEST_F(TensorParallelTest, BadPatternsAreRefused) {
  WriteRanks({{"universal_checkpoint_info",
               Named({{"tp_replicated_parameter_patterns", PickleList({PickleText("(")})}})}});
  EXPECT_EQ(ReadSaveError().code, ErrorCode::kCorrupt);
  WriteRanks({{"universal_checkpoint_info",
               Named({{"autotp_unsupported_parameter_patterns", PickleList({PickleText("row")})}})}});
  EXPECT_EQ(ReadSaveError().code, ErrorCode::kUnsupported);
}

TEST(DeepSpeedNamesTest, FileNames) {
  const auto text = [](std::string_view name) -> std::string {
    const auto parsed = ParseDeepSpeedFileName(name);
    return parsed ? DeepSpeedFileNameText(*parsed) : "";
  };
  EXPECT_EQ(text("mp_rank_07_model_states.pt"), "mp_rank_07_model_states.pt");
  EXPECT_EQ(text("mp_rank_123_model_states.pt.lz4"), "mp_rank_123_model_states.pt");
  EXPECT_EQ(text("zero_pp_rank_10_mp_rank_00_model_states.pt"), "zero_pp_rank_10_mp_rank_00_model_states.pt");
  EXPECT_EQ(text("bf16_zero_pp_rank_2_mp_rank_01_optim_states.pt"),
            "zero_pp_rank_2_mp_rank_01_optim_states.pt");
  EXPECT_EQ(text("zero_pp_rank_2_mp_rank_01optim_states.pt"), "zero_pp_rank_2_mp_rank_01_optim_states.pt");
  EXPECT_EQ(text("layer_3_expert_12_mp_rank_00_model_states.pt"),
            "layer_3_expert_12_mp_rank_00_model_states.pt");
  EXPECT_EQ(text("expert_2_mp_rank_00_model_states.pt"), "layer_0_expert_2_mp_rank_00_model_states.pt");
  EXPECT_EQ(text("layer_03-model_states.pt"), "layer_03-model_00-model_states.pt");
  EXPECT_EQ(text("layer_03-model_01-model_states.pt"), "layer_03-model_01-model_states.pt");
  for (const char* other :
       {"mp_rank_00_model_states.bin", "mp_rank__model_states.pt", "mp_rank_1234567890_model_states.pt",
        "xmp_rank_00_model_states.pt", "zero_pp_rank_-1_mp_rank_00_optim_states.pt",
        "layer_1-x-model_states.pt", "model_states.pt", ""})
    EXPECT_EQ(text(other), "") << other;
}

TEST(DeepSpeedNamesTest, Experts) {
  const auto name = ParseExpertName("m.0.deepspeed_moe.experts.deepspeed_experts.12.up.weight");
  ASSERT_TRUE(name.has_value());
  EXPECT_EQ(name->expert, 12);
  EXPECT_EQ(name->after, ".up.weight");
  EXPECT_FALSE(ParseExpertName("m.deepspeed_moe.experts.deepspeed_experts.x.weight"));
  EXPECT_FALSE(ParseExpertName("m.deepspeed_moe.experts.deepspeed_experts.99999999999999999999.w"));
  EXPECT_FALSE(ParseExpertName("m.weight"));
}

TEST(DeepSpeedNamesTest, RangesOfFiles) {
  EXPECT_EQ(NameRange("a_1_b", "a_1_b"), "a_1_b");
  EXPECT_EQ(NameRange("a_0_b", "a_12_b"), "a_{0..12}_b");
  EXPECT_EQ(NameRange("a_10_b", "a_15_b"), "a_{10..15}_b");
  EXPECT_EQ(NameRange("x/a_0", "y/a_1"), "x/a_0, ..., y/a_1");
}

}  // namespace
}  // namespace weightfs::testing
