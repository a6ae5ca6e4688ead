#include "convert/target/hf/shard_plan.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "convert/target/hf/weight_names.h"
#include "tests/unit/target/target_test_util.h"

namespace weightfs {
namespace {

using testing::Tensor;

std::vector<ServedTensor> TensorsOfBytes(const std::vector<uint64_t>& sizes) {
  std::vector<ServedTensor> tensors;
  for (const uint64_t size : sizes)
    tensors.push_back(Tensor(fmt::format("t{}", tensors.size()), DType::kU8, {size}));
  return tensors;
}

using Groups = std::vector<std::vector<size_t>>;

struct SplitCase {
  std::vector<uint64_t> sizes;
  uint64_t limit = 0;
  Groups groups;
};

class SplitTest : public ::testing::TestWithParam<SplitCase> {};

TEST_P(SplitTest, MatchesTheReferenceSplitter) {
  const auto plan = PlanShards(TensorsOfBytes(GetParam().sizes), "model", "", GetParam().limit);
  ASSERT_TRUE(plan.has_value()) << plan.error().message;
  Groups groups;
  for (const Shard& shard : plan->shards) {
    groups.push_back(shard.tensors);
    uint64_t size_bytes = 0;
    for (const size_t index : shard.tensors) size_bytes += GetParam().sizes[index];
    EXPECT_EQ(shard.size_bytes, size_bytes);
  }
  EXPECT_EQ(groups, GetParam().groups);
  EXPECT_EQ(plan->index_name.empty(), groups.size() == 1);
}

// From huggingface_hub 2.4.0: split_torch_state_dict_into_shards(state_dict, max_shard_size=limit).
INSTANTIATE_TEST_SUITE_P(HuggingFaceHub, SplitTest,
                         ::testing::Values(SplitCase{{60, 60, 20, 60, 20, 20}, 100, {{0}, {1, 2}, {3, 4, 5}}},
                                           SplitCase{{10, 200, 10, 90, 10}, 100, {{1}, {0, 2}, {3, 4}}},
                                           SplitCase{{100, 1}, 100, {{0}, {1}}},
                                           SplitCase{{0, 50, 60, 0, 0}, 100, {{0, 1, 3, 4}, {2}}},
                                           SplitCase{{101, 0}, 100, {{0}, {1}}},
                                           SplitCase{{0, 0}, 1, {{0, 1}}}, SplitCase{{200}, 100, {{0}}},
                                           // The reference writes no file at all here; loaders need one.
                                           SplitCase{{}, 100, {{}}}));

TEST(ShardPlanTest, WithoutALimitThereIsOneFile) {
  const auto plan = PlanShards(TensorsOfBytes({10, 20, 30}), "model", "", std::nullopt);
  ASSERT_TRUE(plan.has_value());
  ASSERT_EQ(plan->shards.size(), 1);
  EXPECT_EQ(plan->shards[0].file_name, "model.safetensors");
  EXPECT_EQ(plan->index_json, "");
}

// From json.dumps(index, indent=2, sort_keys=True) + "\n", as transformers 5.23.0 writes an index.
TEST(ShardPlanTest, IndexIsThatOfTransformers) {
  const std::vector<ServedTensor> tensors = {Tensor("w.\xC3\xA9", DType::kF32, {10}),
                                             Tensor("a\x7F\xF0\x9F\x98\x80", DType::kF32, {4, 5}),
                                             Tensor("z", DType::kI8, {3})};
  const auto plan = PlanShards(tensors, "model", "", 60);
  ASSERT_TRUE(plan.has_value());
  EXPECT_EQ(plan->index_name, "model.safetensors.index.json");
  EXPECT_EQ(plan->index_json, R"({
  "metadata": {
    "total_parameters": 33,
    "total_size": 123
  },
  "weight_map": {
    "a\u007f\ud83d\ude00": "model-00001-of-00002.safetensors",
    "w.\u00e9": "model-00002-of-00002.safetensors",
    "z": "model-00002-of-00002.safetensors"
  }
}
)");
}

TEST(ShardPlanTest, DiffusersIndexHasNoParameterCount) {
  const auto plan = PlanShards(TensorsOfBytes({10, 20}), "diffusion_pytorch_model", "fp16", 20);
  ASSERT_TRUE(plan.has_value());
  EXPECT_EQ(plan->index_name, "diffusion_pytorch_model.safetensors.index.fp16.json");
  EXPECT_EQ(plan->shards[1].file_name, "diffusion_pytorch_model.fp16-00002-of-00002.safetensors");
  EXPECT_EQ(plan->index_json, R"({
  "metadata": {
    "total_size": 30
  },
  "weight_map": {
    "t0": "diffusion_pytorch_model.fp16-00001-of-00002.safetensors",
    "t1": "diffusion_pytorch_model.fp16-00002-of-00002.safetensors"
  }
}
)");
}

TEST(ShardPlanTest, ShardCountLimitIsExact) {
  for (const size_t count : {99'999, 100'000}) {
    const ServedTensor one = Tensor("t", DType::kU8, {1});
    const auto plan = PlanShards(std::vector<ServedTensor>(count, one), "model", "", 1);
    ASSERT_EQ(plan.has_value(), count == 99'999);
    if (plan) continue;
    EXPECT_EQ(plan.error().code, ErrorCode::kLimitExceeded);
  }
}

TEST(WeightNamesTest, AreThoseOfLoaders) {
  EXPECT_EQ(WeightFileName("model", ""), "model.safetensors");
  EXPECT_EQ(WeightFileName("model", "fp16"), "model.fp16.safetensors");
  EXPECT_EQ(ShardFileName("model", "", 3, 12), "model-00003-of-00012.safetensors");
  EXPECT_EQ(ShardFileName("model", "fp16", 1, 2), "model.fp16-00001-of-00002.safetensors");
  EXPECT_EQ(IndexFileName("model", "fp16"), "model.safetensors.index.fp16.json");
}

TEST(ParseSizeTest, ReadsUnits) {
  const std::pair<std::string_view, uint64_t> cases[] = {{"5GB", 5'000'000'000},
                                                         {"5gb", 5'000'000'000},
                                                         {" 5 GB ", 5'000'000'000},
                                                         {"1.5MB", 1'500'000},
                                                         {"10KB", 10'000},
                                                         {"2TB", 2'000'000'000'000},
                                                         {"5GiB", 5ull << 30},
                                                         {"0.5KiB", 512},
                                                         {"123", 123},
                                                         {"123B", 123},
                                                         {"9223372036854775807", INT64_MAX}};
  for (const auto& [text, bytes] : cases) {
    const auto parsed = ParseSize(text);
    ASSERT_TRUE(parsed.has_value()) << text;
    EXPECT_EQ(*parsed, bytes) << text;
  }
}

TEST(ParseSizeTest, RefusesWhatIsNoSize) {
  for (const std::string_view text :
       {"", " ", "GB", "-5GB", "5XB", "5 G B", "1e3", "0", "0GB", "1.5", "1..5GB", "nan", "inf", "0x10",
        "9223372036854775808", "9223372036854775807TB", "99999999TB"}) {
    const auto parsed = ParseSize(text);
    ASSERT_FALSE(parsed.has_value()) << text;
    EXPECT_EQ(parsed.error().code, ErrorCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace weightfs
