#include "convert/target/hf/safetensors_layout.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "convert/base/bytes.h"
#include "tests/unit/target/target_test_util.h"

namespace weightfs {
namespace {

using testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::Tensor;

/// A string literal that holds NUL bytes.
template <size_t kSize>
std::string Bytes(const char (&literal)[kSize]) {
  return std::string(literal, kSize - 1);
}

std::vector<ServedTensor> MixedTensors() {
  return {Tensor("b.weight", DType::kF16, {2, 3}),
          Tensor("a", DType::kI64, {}),
          Tensor("\xC3\xA9\"\\\n\x7F\xF0\x9F\x98\x80", DType::kF32, {2, 0}),
          Tensor("Z", DType::kBool, {1}),
          Tensor("f8", DType::kF8E4M3, {3}),
          Tensor("bf", DType::kBF16, {2}),
          Tensor("c", DType::kC64, {1}),
          Tensor("d", DType::kF64, {1})};
}

// The expected bytes are those of safetensors 0.8.0: save(tensors, metadata={"format": "pt"}).
TEST(SafetensorsLayoutTest, HeaderIsThatOfTheReferenceWriter) {
  const auto tensors = MixedTensors();
  const auto layout = PlanSafetensors(tensors, AllOf(tensors), "model.safetensors", Limits{});
  ASSERT_TRUE(layout.has_value()) << layout.error().message;
  EXPECT_EQ(
      layout->header,
      Bytes(
          "\370\001\000\000\000\000\000\000{\042__metadata__\042:{\042format\042:\042pt\042},\042a\042:{"
          "\042dtype\042:\042I64\042,\042shape\042:[],\042data_offsets\042:[0,8]},\042d\042:{\042dtype\042:"
          "\042F64\042,\042shape\042:[1],\042data_offsets\042:[8,16]},\042c\042:{\042dtype\042:\042C64\042,"
          "\042shape\042:[1],\042data_offsets\042:[16,24]},\042\303\251\134\042\134\134\134n\177\360\237\230"
          "\200\042:{\042dtype\042:\042F32\042,\042shape\042:[2,0],\042data_offsets\042:[24,24]},\042bf\042:{"
          "\042dtype\042:\042BF16\042,\042shape\042:[2],\042data_offsets\042:[24,28]},\042b.weight\042:{"
          "\042dtype\042:\042F16\042,\042shape\042:[2,3],\042data_offsets\042:[28,40]},\042f8\042:{\042dtype"
          "\042:\042F8_E4M3\042,\042shape\042:[3],\042data_offsets\042:[40,43]},\042Z\042:{\042dtype\042:"
          "\042BOOL\042,\042shape\042:[1],\042data_offsets\042:[43,44]}}     "));
  EXPECT_EQ(layout->size_bytes, 556);
  EXPECT_THAT(layout->order, ElementsAre(1, 7, 6, 2, 5, 0, 4, 3));
  EXPECT_THAT(layout->offsets_bytes, ElementsAre(512, 520, 528, 536, 536, 540, 552, 555));
  EXPECT_THAT(layout->warnings, IsEmpty());
}

TEST(SafetensorsLayoutTest, NoTensorsGiveAnEmptyFile) {
  const auto layout = PlanSafetensors({}, {}, "model.safetensors", Limits{});
  ASSERT_TRUE(layout.has_value());
  EXPECT_EQ(layout->header,
            Bytes(" \000\000\000\000\000\000\000{\042__metadata__\042:{\042format\042:\042pt\042}}"));
  EXPECT_EQ(layout->size_bytes, 40);
}

TEST(SafetensorsLayoutTest, OnlyChosenTensorsAreLaidOut) {
  const auto tensors = MixedTensors();
  const auto layout = PlanSafetensors(tensors, std::vector<size_t>{3, 1}, "f", Limits{});
  ASSERT_TRUE(layout.has_value());
  EXPECT_THAT(layout->order, ElementsAre(1, 3));
  EXPECT_EQ(layout->size_bytes, layout->header.size() + 9);
}

TEST(SafetensorsLayoutTest, HeaderLimitIsExact) {
  const auto tensors = MixedTensors();
  const uint64_t json_bytes = 504;
  for (const uint64_t limit : {json_bytes - 1, json_bytes, json_bytes + 1}) {
    const auto layout = PlanSafetensors(tensors, AllOf(tensors), "f", {.emitted_header_bytes_max = limit});
    ASSERT_EQ(layout.has_value(), limit >= json_bytes) << limit;
    if (layout) continue;
    EXPECT_EQ(layout.error().code, ErrorCode::kLimitExceeded);
    EXPECT_EQ(layout.error().message,
              "f: a header of more than 503 bytes for 8 tensors; expected at most that many");
    EXPECT_THAT(layout.error().remedy, HasSubstr("--max-shard-size"));
  }
}

TEST(SafetensorsLayoutTest, WarnsOfAHeaderThatHubToolsRefuse) {
  std::vector<ServedTensor> tensors = {Tensor(std::string(kHubHeaderBytesMax - 120, 'n'), DType::kU8, {1})};
  auto layout = PlanSafetensors(tensors, AllOf(tensors), "f", Limits{});
  ASSERT_TRUE(layout.has_value());
  EXPECT_THAT(layout->warnings, IsEmpty());
  tensors[0].name += std::string(120, 'n');
  layout = PlanSafetensors(tensors, AllOf(tensors), "f", Limits{});
  ASSERT_TRUE(layout.has_value());
  EXPECT_THAT(layout->warnings, ElementsAre(HasSubstr("at most 25000000")));
}

TEST(FindAliasesTest, FindsTensorsOfTheSameElements) {
  const FilePtr storage = MakeMemoryFile(std::string(64, 'x'), "memory");
  const std::vector<ServedTensor> tensors = {
      {.name = "a", .view = testing::ViewOf(storage, DType::kF32, {4, 2})},
      {.name = "tied", .view = testing::ViewOf(storage, DType::kF32, {4, 2})},
      {.name = "other half", .view = testing::ViewOf(storage, DType::kF32, {4, 2}, 32)},
      {.name = "part", .view = testing::ViewOf(storage, DType::kF32, {2, 2})},
      {.name = "tied again", .view = testing::ViewOf(storage, DType::kF32, {4, 2})},
      {.name = "empty", .view = testing::ViewOf(storage, DType::kF32, {0})},
      {.name = "empty too", .view = testing::ViewOf(storage, DType::kF32, {0})}};
  const AliasReport report = FindAliases(tensors);
  EXPECT_THAT(report.first, ElementsAre(0, 0, 2, 3, 0, 5, 6));
  EXPECT_EQ(report.alias_count, 2);
  EXPECT_EQ(report.alias_bytes, 64);
  EXPECT_EQ(report.distinct_elements, 20);
}

}  // namespace
}  // namespace weightfs
