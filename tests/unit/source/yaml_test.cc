#include "convert/source/yaml.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/support/malformed_corpus.h"

namespace weightfs {
namespace {

using ::testing::HasSubstr;

std::string JsonOf(std::string_view text, const Limits& limits = {}) {
  const Result<nlohmann::json> read = ParseYaml(text, "file.yaml", limits);
  return read ? read->dump() : read.error().message;
}

Error ErrorOf(std::string_view text, const Limits& limits = {}) {
  const Result<nlohmann::json> read = ParseYaml(text, "file.yaml", limits);
  EXPECT_FALSE(read.has_value()) << text;
  return read ? Error{} : read.error();
}

TEST(Yaml, ReadsWhatConfigurationsLookLike) {
  EXPECT_EQ(
      JsonOf("# comment\nname: pythia-14m\nn_layer: 6\nbias: true\nnorm_eps: 1.0e-05\n"
             "hf_config:\n  org: EleutherAI\n  name: pythia\nrope: {base: 10000, scaling: null}\n"
             "list:\n- 1\n- [a, 'b']\ntext: |\n  two\n  lines\n"),
      R"({"bias":true,"hf_config":{"name":"pythia","org":"EleutherAI"},"list":[1,["a","b"]],"n_layer":6,)"
      R"("name":"pythia-14m","norm_eps":1e-05,"rope":{"base":10000,"scaling":null},"text":"two\nlines\n"})");
}

TEST(Yaml, ResolvesScalarsAsPyYamlDoes) {
  EXPECT_EQ(JsonOf("[~, null, Null, NULL, '', \"null\", nULL]"), R"([null,null,null,null,"","null","nULL"])");
  EXPECT_EQ(JsonOf("[yes, No, on, OFF, true, False, tRUE, y, n]"),
            R"([true,false,true,false,true,false,"tRUE","y","n"])");
  EXPECT_EQ(JsonOf("[0, -1, +2, 1_000, 010, -010, 0x1F, 0b101, 1:30, 09, 0x, -0]"),
            R"([0,-1,2,1000,8,-8,31,5,90,"09","0x",0])");
  EXPECT_EQ(JsonOf("[9223372036854775807, -9223372036854775808, 18446744073709551615, 18446744073709551616]"),
            "[9223372036854775807,-9223372036854775808,18446744073709551615,1.8446744073709552e+19]");
  EXPECT_EQ(JsonOf("[1e-5, 1.0e-5, 1., .5, -2.5, 1.5e5, 1.5e+5, 1_0.5, 1:30.5]"),
            R"(["1e-5",1e-05,1.0,0.5,-2.5,"1.5e5",150000.0,10.5,90.5])");
  EXPECT_EQ(JsonOf("[1.0e+999, -1.0e+999, 1.0e-999, .inf, .nan]"), "[null,null,0.0,null,null]");
  EXPECT_EQ(JsonOf("[2001-12-14, 12:30:45, =]"), R"(["2001-12-14",45045,"="])");
}

TEST(Yaml, PassesOverTags) {
  EXPECT_EQ(
      JsonOf(
          "a: !!python/object:my.Config {n: 1}\nb: !!python/tuple [1, 2]\nc: !!python/name:torch.float32 ''\n"
          "d: !!str 12\ne: !!int '12'\nf: !!float '1.5'\ng: !custom 3\n"),
      R"({"a":{"n":1},"b":[1,2],"c":"","d":"12","e":12,"f":1.5,"g":"3"})");
}

TEST(Yaml, KeysAreTexts) {
  EXPECT_EQ(JsonOf("{1: a, true: b, x: d}"), R"({"1":"a","true":"b","x":"d"})");
  EXPECT_EQ(JsonOf("a: 1\na: 2\n"), R"({"a":2})");
  EXPECT_THAT(ErrorOf("? [1, 2]\n: x\n").message,
              HasSubstr("file.yaml: line 1, column 3: a key that is a list or a mapping"));
}

TEST(Yaml, AliasesAreCopiesAndMergesMerge) {
  EXPECT_EQ(JsonOf("a: &x {n: 1}\nb: *x\nc: &s text\n*s : 2\nd: &k key\n"),
            R"({"a":{"n":1},"b":{"n":1},"c":"text","d":"key","text":2})");
  EXPECT_EQ(JsonOf("base: &b {n: 1, m: 2}\nc:\n  <<: *b\n  n: 3\n"),
            R"({"base":{"m":2,"n":1},"c":{"m":2,"n":3}})");
  EXPECT_EQ(JsonOf("c:\n  n: 3\n  <<: [{n: 1, m: 2}, {m: 5, o: 6}]\n"), R"({"c":{"m":2,"n":3,"o":6}})");
  EXPECT_EQ(JsonOf("{<<: 3, '<<': 4}"), R"({"<<":4})");
  EXPECT_THAT(ErrorOf("a: &x [1, *x]").message, HasSubstr("an alias within the value that it stands for"));
  EXPECT_THAT(ErrorOf("a: *nothing").message, HasSubstr("file.yaml: line 1"));
}

TEST(Yaml, EmptyIsNull) {
  EXPECT_EQ(JsonOf(""), "null");
  EXPECT_EQ(JsonOf("# nothing\n"), "null");
  EXPECT_EQ(JsonOf("---\n...\n"), "null");
}

TEST(Yaml, RefusesMoreThanOneDocument) {
  EXPECT_THAT(ErrorOf("a: 1\n---\nb: 2\n").message, HasSubstr("more than one YAML document"));
  EXPECT_THAT(ErrorOf("a: 1\n---\n[1, [2, [3, 4], 5], 6]\n").message,
              HasSubstr("more than one YAML document"));
}

TEST(Yaml, IsBoundedInSizeDepthAndValues) {
  Limits limits;
  limits.yaml_bytes_max = 4;
  EXPECT_EQ(JsonOf("a: 1", limits), R"({"a":1})");
  EXPECT_EQ(JsonOf("a:1", limits), R"("a:1")");
  EXPECT_EQ(ErrorOf("a: 12", limits).code, ErrorCode::kLimitExceeded);

  limits = {};
  limits.json_depth_max = 3;
  EXPECT_EQ(JsonOf("[[1]]", limits), "[[1]]");
  EXPECT_EQ(JsonOf("[[[1]]]", limits), "[[[1]]]");
  EXPECT_EQ(ErrorOf("[[[[1]]]]", limits).code, ErrorCode::kLimitExceeded);
  // Depth that aliases pile up counts too.
  EXPECT_EQ(JsonOf("{a: &a [1], b: [*a]}", limits), R"({"a":[1],"b":[[1]]})");
  EXPECT_EQ(ErrorOf("{a: &a [[1]], b: [*a]}", limits).code, ErrorCode::kLimitExceeded);

  limits = {};
  limits.metadata_values_max = 7;
  EXPECT_EQ(JsonOf("[1, 2]", limits), "[1,2]");
  EXPECT_EQ(JsonOf("[1, 2, 3, 4, 5, 6]", limits), "[1,2,3,4,5,6]");
  EXPECT_EQ(ErrorOf("[1, 2, 3, 4, 5, 6, 7]", limits).code, ErrorCode::kLimitExceeded);
}

TEST(Yaml, RefusesBillionLaughs) {
  std::string text = "a0: &a0 lol\n";
  for (int i = 1; i < 40; ++i) {
    const std::string before = "*a" + std::to_string(i - 1);
    text += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + before + "," + before + "," +
            before + "]\n";
  }
  EXPECT_EQ(ErrorOf(text).code, ErrorCode::kLimitExceeded);
  // Few values, but much text.
  text = "a: &a " + std::string(900'000, 'x') + "\nb:\n";
  for (int i = 0; i < 1000; ++i) text += "- *a\n";
  EXPECT_EQ(ErrorOf(text).code, ErrorCode::kLimitExceeded);
}

TEST(Yaml, RefusesDamagedFilesWithTheirPlace) {
  for (const testing::MalformedCase& bad : testing::LoadMalformedCases(WEIGHTFS_MALFORMED_DIR "/yaml")) {
    const Result<nlohmann::json> read = ParseYaml(testing::ReadFile(bad.path), "file.yaml", {});
    ASSERT_FALSE(read.has_value()) << bad.path;
    EXPECT_EQ(ErrorCodeName(read.error().code), bad.code) << bad.path << read.error().message;
    EXPECT_THAT(read.error().message, HasSubstr(bad.message_contains)) << bad.path;
  }
}

}  // namespace
}  // namespace weightfs
