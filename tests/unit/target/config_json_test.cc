#include "convert/target/hf/config_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/malformed_corpus.h"

namespace weightfs {
namespace {

using ::testing::HasSubstr;

std::string Edited(std::string_view text, DType dtype = DType::kBF16) {
  const auto edited = SetConfigDtype(text, dtype, "config.json", Limits{});
  EXPECT_TRUE(edited.has_value()) << edited.error().message;
  return edited.value_or("");
}

TEST(SetConfigDtypeTest, ReplacesTheValueAndNothingElse) {
  EXPECT_EQ(Edited("{ \"a\" : 1.0e5,\n\t\"torch_dtype\"  :\"float16\" , \"z\":\"\\u00e9\" }\n\n"),
            "{ \"a\" : 1.0e5,\n\t\"torch_dtype\"  :\"bfloat16\" , \"z\":\"\\u00e9\" }\n\n");
}

TEST(SetConfigDtypeTest, ReplacesBothKeysAtAnyDepth) {
  EXPECT_EQ(Edited(R"({"dtype":"float32","text_config":{"torch_dtype":"float16","l":[{"dtype":"half"}]}})",
                   DType::kF64),
            R"({"dtype":"float64","text_config":{"torch_dtype":"float64","l":[{"dtype":"float64"}]}})");
}

TEST(SetConfigDtypeTest, KeepsTheFormOfTheValue) {
  EXPECT_EQ(Edited(R"({"torch_dtype": "torch.float16"})"), R"({"torch_dtype": "torch.bfloat16"})");
}

TEST(SetConfigDtypeTest, KeepsValuesThatNameNoDtype) {
  for (const std::string_view text : {R"({"torch_dtype": "auto"})", R"({"dtype": null})", R"({"dtype": 16})",
                                      R"({"dtype": {"float16": "float16"}})", R"({"dtype": ["float16"]})",
                                      R"({"dtype": "torch.nonsense"})"})
    EXPECT_EQ(Edited(text), text);
}

TEST(SetConfigDtypeTest, FindsEscapedKeys) {
  EXPECT_EQ(Edited(R"({"torch\u005fdtype": "float\u00316"})"), R"({"torch\u005fdtype": "bfloat16"})");
}

TEST(SetConfigDtypeTest, ReplacesEveryOneOfEqualKeys) {
  EXPECT_EQ(Edited(R"({"dtype": "float16", "dtype": "float32"})"),
            R"({"dtype": "bfloat16", "dtype": "bfloat16"})");
}

TEST(SetConfigDtypeTest, AddsTheKeyAsTheLastMember) {
  EXPECT_EQ(Edited("{\n  \"a\": 1,\n  \"b\": {\n    \"c\": []\n  }\n}\n"),
            "{\n  \"a\": 1,\n  \"b\": {\n    \"c\": []\n  },\n  \"torch_dtype\": \"bfloat16\"\n}\n");
  EXPECT_EQ(Edited(R"({"a":1})"), R"({"a":1,"torch_dtype":"bfloat16"})");
  EXPECT_EQ(Edited("{}"), R"({"torch_dtype": "bfloat16"})");
  EXPECT_EQ(Edited(" {\n}\n"), " {\"torch_dtype\": \"bfloat16\"\n}\n");
  EXPECT_EQ(Edited(R"({"a": "x"})"), R"({"a": "x", "torch_dtype": "bfloat16"})");
}

TEST(SetConfigDtypeTest, AcceptsWhatPythonWrites) {
  EXPECT_EQ(Edited(R"({"a": NaN, "b": -Infinity, "dtype": "float16"})"),
            R"({"a": NaN, "b": -Infinity, "dtype": "bfloat16"})");
}

TEST(SetConfigDtypeTest, RefusesATypeThatTorchLacks) {
  const auto edited = SetConfigDtype("{}", DType::kF6E2M3, "config.json", Limits{});
  ASSERT_FALSE(edited.has_value());
  EXPECT_EQ(edited.error().code, ErrorCode::kInvalidArgument);
}

TEST(ReadConfigFactsTest, ReadsTheRoot) {
  const auto facts = ReadConfigFacts(
      R"({"model_type": "gpt2", "_class_name": "UNet", "torch_dtype": "float16", "x": {"model_type": "no", "dtype": "no"}})",
      "config.json", Limits{});
  ASSERT_TRUE(facts.has_value());
  EXPECT_EQ(facts->model_type, "gpt2");
  EXPECT_EQ(facts->class_name, "UNet");
  EXPECT_EQ(facts->dtype, "float16");
}

TEST(ReadConfigFactsTest, TheLastOfEqualKeysCountsAndDtypeBeforeTorchDtype) {
  const auto facts = ReadConfigFacts(
      R"({"dtype": "float32", "model_type": "a", "model_type": "b", "torch_dtype": "float16"})", "f",
      Limits{});
  ASSERT_TRUE(facts.has_value());
  EXPECT_EQ(facts->model_type, "b");
  EXPECT_EQ(facts->dtype, "float32");
  EXPECT_EQ(ReadConfigFacts(R"({"model_type": "a", "model_type": 1})", "f", Limits{})->model_type,
            std::nullopt);
}

TEST(ReadConfigFactsTest, RefusesWhatIsNoObject) {
  for (const std::string_view text : {"[]", "1", "\"x\"", "null", "true", "[{}]"}) {
    const auto facts = ReadConfigFacts(text, "config.json", Limits{});
    ASSERT_FALSE(facts.has_value()) << text;
    EXPECT_EQ(facts.error().code, ErrorCode::kCorrupt);
    EXPECT_THAT(facts.error().message, HasSubstr("config.json: byte 0: the root is no object"));
  }
}

TEST(ReadConfigFactsTest, RefusesMalformedFiles) {
  for (const testing::MalformedCase& malformed :
       testing::LoadMalformedCases(WEIGHTFS_MALFORMED_DIR "/config_json")) {
    const auto facts = ReadConfigFacts(testing::ReadFile(malformed.path), "bad.json", Limits{});
    ASSERT_FALSE(facts.has_value()) << malformed.path;
    EXPECT_EQ(ErrorCodeName(facts.error().code), malformed.code)
        << malformed.path << ": " << facts.error().message;
    EXPECT_THAT(facts.error().message, ::testing::StartsWith("bad.json: ")) << malformed.path;
    EXPECT_THAT(facts.error().message, HasSubstr(malformed.message_contains)) << malformed.path;
    EXPECT_FALSE(
        SetConfigDtype(testing::ReadFile(malformed.path), DType::kF32, "bad.json", Limits{}).has_value());
  }
}

TEST(ReadConfigFactsTest, LimitsAreExact) {
  const std::string text = R"({"a": {"b": [1]}})";
  for (const uint32_t depth : {2u, 3u, 4u})
    EXPECT_EQ(ReadConfigFacts(text, "f", {.json_depth_max = depth}).has_value(), depth >= 3) << depth;
  for (const uint64_t size : {text.size() - 1, text.size(), text.size() + 1})
    EXPECT_EQ(ReadConfigFacts(text, "f", {.json_bytes_max = size}).has_value(), size >= text.size()) << size;
}

}  // namespace
}  // namespace weightfs
