// What expressions see of a source: functions, metadata, options; config.json; detection.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/family/source_for_test.h"

namespace weightfs {
namespace {

using ::testing::AllOf;
using testing::ApplyTable;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::Rules;
using testing::TableOf;
using testing::TestSource;
using testing::View;

/// config.json of a table with the one entry `x`, or the message of the error.
std::string Config(const std::string& value, const TestSource& source, const std::string& members = {}) {
  const auto result = ApplyTable(
      R"("config": {"torch_dtype": 0, "x": )" + value + "}" + (members.empty() ? "" : ", ") + members,
      source);
  if (!result) return "error: " + result.error().message;
  const std::string& text = result->config_json;
  const std::string begin = "{\n  \"torch_dtype\": 0,\n  \"x\": ";
  if (!text.starts_with(begin) || !text.ends_with("\n}\n")) return text;
  return text.substr(begin.size(), text.size() - begin.size() - 3);
}
std::string ValueOf(const std::string& expression, const TestSource& source,
                    const std::string& members = {}) {
  return Config(nlohmann::json("=" + expression).dump(), source, members);
}

TEST(FactsTest, OfTensors) {
  TestSource source;
  source.Add("l.0.w", {2, 3}, 1, DType::kF32)
      .Add("l.1.w", {2, 3}, 1, DType::kF32)
      .AddParts("i", {View({1}, {1}), View({1}, {1})});
  EXPECT_EQ(ValueOf("has('l.0.w')", source), "true");
  EXPECT_EQ(ValueOf("has('l.2.w')", source), "false");
  EXPECT_EQ(ValueOf("any('l\\.\\d\\.w')", source), "true");
  EXPECT_EQ(ValueOf("any('l')", source), "false");
  EXPECT_EQ(ValueOf("count('l.{#}.w')", source), "2");
  EXPECT_EQ(ValueOf("count('m.{#}.w')", source), "0");
  EXPECT_EQ(ValueOf("[dim('l.0.w', 0), dim('l.0.w', -1), ndim('l.0.w'), parts('i')]", source),
            "[\n    2,\n    3,\n    2,\n    2\n  ]");
  EXPECT_EQ(ValueOf("dtype('l.0.w')", source), "\"float32\"");
  EXPECT_THAT(ValueOf("dim('l.0.w', 2)", source),
              HasSubstr("config.x: `dim('l.0.w', 2)`: dimension 2 of l.0.w, which has 2"));
  EXPECT_THAT(ValueOf("dim('l.0.w', -3)", source), HasSubstr("dimension -3"));
  EXPECT_THAT(ValueOf("dim('absent', 0)", source), HasSubstr("no source tensor absent"));
  source.input.options.dtype = DType::kBF16;
  EXPECT_EQ(ValueOf("served_dtype('l.0.w')", source), "\"bfloat16\"");
  EXPECT_EQ(ValueOf("served_dtype('i')", source), "\"int32\"");
  EXPECT_EQ(ValueOf("dtype('l.0.w')", source), "\"float32\"");
  source.Add("l.3.w", {1});
  EXPECT_THAT(ValueOf("count('l.{#}.w')", source),
              HasSubstr("there is l.3.w but no l.2.w; expected numbers without a hole"));
}

TEST(FactsTest, Same) {
  TestSource source;
  const TensorView shared = source.Numbered({2});
  source.AddParts("a", {shared})
      .AddParts("b", {shared})
      .AddParts("c", {View({1, 2}, {2})})
      .AddParts("d", {View({1, 3}, {2})})
      .AddParts("e", {View({1, 2}, {2, 1})});
  source.AddParts("f", {View({1, 2}, {2}, DType::kF32)});
  EXPECT_EQ(ValueOf("same('a', 'b')", source), "true");
  EXPECT_EQ(ValueOf("same('a', 'c')", source), "true");
  EXPECT_EQ(ValueOf("same('a', 'd')", source), "false");
  EXPECT_EQ(ValueOf("same('a', 'e')", source), "false");
  EXPECT_EQ(ValueOf("same('a', 'f')", source), "false");
  source.input.limits.family_compared_bytes_max = 16;
  EXPECT_EQ(ValueOf("same('a', 'c')", source), "true");
  source.input.limits.family_compared_bytes_max = 15;
  EXPECT_THAT(ValueOf("same('a', 'c')", source),
              HasSubstr("a and c: comparing tensors of 8 bytes would read more than 15"));
  EXPECT_EQ(ValueOf("same('a', 'b')", source), "true");  // nothing is read
}

TEST(FactsTest, StoredNames) {
  TestSource source;
  source.Add("module.net.a", {1}).Add("module.net.b", {1});
  const std::string names = R"("names": [["^module\\.", ""]])";
  EXPECT_EQ(ValueOf("stored_all('module\\..*')", source, names), "true");
  EXPECT_EQ(ValueOf("any('module\\..*')", source, names), "false");
  EXPECT_EQ(ValueOf("stored_any('.*b')", source, names), "true");
  EXPECT_EQ(ValueOf("stored_all('.*b')", source, names), "false");
  EXPECT_EQ(ValueOf("wrapper()", source, names), "\"net\"");
  source.Add("module.other.c", {1});
  EXPECT_EQ(ValueOf("wrapper()", source, names), "null");
}

TEST(FactsTest, Metadata) {
  TestSource source;
  source.Add("w", {1});
  source.metadata.values = {{"config", {{"model", {{"n", 3}}}}}, {"none", nullptr}};
  source.metadata.files["params.json"] = {{"dim", 8}};
  source.metadata.files["c.yaml"] = {{"a", nlohmann::json::array({1, 2})}};
  const auto value = [&](const std::string& places, const std::string& expression) {
    return ValueOf(expression, source, R"("metadata": {"m": )" + places + "}");
  };
  EXPECT_EQ(value(R"(["config/model"])", "m.n"), "3");
  EXPECT_EQ(value(R"(["."])", "m.config.model.n"), "3");
  EXPECT_EQ(value(R"(["absent/model", "params.json"])", "m.dim"), "8");
  EXPECT_EQ(value(R"(["none", "params.json"])", "m.dim"), "8");
  EXPECT_EQ(value(R"(["params.json/model", "params.json"])", "m.dim"), "8");
  EXPECT_EQ(value(R"(["config/model/n/deeper"])", "m == null"), "true");
  EXPECT_EQ(value(R"(["other.json"])", "m.x ?? 'none'"), "\"none\"");
  EXPECT_EQ(value(R"(["c.yaml"])", "m.a[1]"), "2");
  EXPECT_EQ(ValueOf("file('params.json')", source), "true");
  EXPECT_EQ(ValueOf("file('x.json')", source), "false");
  EXPECT_EQ(ValueOf("source_name()", source), "\"model.pt\"");
  source.metadata.values = nullptr;
  EXPECT_EQ(value(R"(["."])", "m"), "null");
}

TEST(FactsTest, Options) {
  TestSource source;
  source.Add("w", {1});
  const std::string members =
      R"("options": {"act": {"default": "gelu", "values": ["gelu", "gelu_new"]}, "n": {"default": 3},
      "flag": {"default": false}, "any": {"default": null}, "rate": {"default": 0.5}})";
  const auto value = [&](const char* expression) { return ValueOf(expression, source, members); };
  EXPECT_EQ(value("options.act"), "\"gelu\"");
  EXPECT_EQ(value("options.any"), "null");
  source.input.options.values = {
      {"act", "gelu_new"}, {"n", "7"}, {"flag", "true"}, {"any", "8"}, {"rate", "2"}};
  EXPECT_EQ(value("options.act"), "\"gelu_new\"");
  EXPECT_EQ(value("options.n + 1"), "8");
  EXPECT_EQ(value("options.flag"), "true");
  EXPECT_EQ(value("options.any"), "8");
  EXPECT_EQ(value("options.rate"), "2");
  source.input.options.values = {{"any", "word"}};
  EXPECT_EQ(value("options.any"), "\"word\"");
  const auto refused = [&](const std::string& key, const std::string& text) {
    source.input.options.values = {{key, text}};
    const auto result = ApplyTable(members, source);
    EXPECT_EQ(result.error().code, ErrorCode::kInvalidArgument);
    return result.error().message;
  };
  EXPECT_EQ(refused("act", "relu"), "--family mine:act=relu: expected one of gelu, gelu_new");
  EXPECT_EQ(
      refused("acts", "x"),
      "--family mine:acts: the family mine has no such option; expected one of act, n, flag, any, rate");
  EXPECT_EQ(refused("n", "x"), "--family mine:n=x: expected a number");
  EXPECT_EQ(refused("flag", "1"), "--family mine:flag=1: expected true or false");
  EXPECT_THAT(ApplyTable("", source).error().message, HasSubstr("none, as it has no options"));
}

TEST(FactsTest, VocabularyOptionsMustApply) {
  TestSource source;
  source.Add("w", {1});
  EXPECT_EQ(ValueOf("options.vocab_size", source), "null");
  EXPECT_EQ(ValueOf("options.trim_vocab", source), "false");
  source.input.options.vocab_size = 7;
  EXPECT_EQ(ValueOf("options.vocab_size ?? 3", source), "7");
  EXPECT_EQ(ValueOf("1", source), "error: --vocab-size does not apply to the family mine");
  source.input.options.vocab_size.reset();
  source.input.options.trim_vocab = true;
  EXPECT_EQ(ValueOf("1", source, R"("let": {"V": "options.trim_vocab ? 1 : 2"})"), "1");
  EXPECT_EQ(ValueOf("1", source), "error: --trim-vocab does not apply to the family mine");
}

TEST(FactsTest, LetsAreEvaluatedOnceAndDoNotSeeIndices) {
  TestSource source;
  source.Add("w", {1});
  source.metadata.files["p.json"] = {{"a", 1}};
  EXPECT_EQ(ValueOf("a + a + b", source, R"("metadata": {"m": ["p.json"]}, "let": {"a": "m.a", "b": "a"})"),
            "3");
  EXPECT_EQ(source.metadata.files_asked, 1);
  const auto result = ApplyTable(
      R"("let": {"i": "5", "j": "i"}, "config": {"x": {"for": {"i": "2"}, "value": "=[i, j]"}})", source);
  ASSERT_TRUE(result);
  EXPECT_EQ(nlohmann::json::parse(result->config_json)["x"], nlohmann::json::parse("[[0, 5], [1, 5]]"));
}

TEST(ConfigTest, IsWrittenAsPythonWritesIt) {
  TestSource source;
  source.Add("w", {1});
  EXPECT_EQ(Config("1e-5", source), "1e-05");
  EXPECT_EQ(Config("10000.0", source), "10000.0");
  EXPECT_EQ(Config("0.02", source), "0.02");
  EXPECT_EQ(Config("-0.0", source), "-0.0");
  EXPECT_EQ(Config("1e22", source), "1e+22");
  EXPECT_EQ(Config("true", source), "true");
  EXPECT_EQ(Config("null", source), "null");
  EXPECT_EQ(Config("[]", source), "[]");
  EXPECT_EQ(Config("{}", source), "{}");
  EXPECT_EQ(Config(R"(["a", 1])", source), "[\n    \"a\",\n    1\n  ]");
  EXPECT_EQ(Config(R"({"b": 1, "a": {"c": []}})", source),
            "{\n    \"b\": 1,\n    \"a\": {\n      \"c\": []\n    }\n  }");
  EXPECT_EQ(Config(R"("\u00e9\u20ac\ud83d\ude00\u007f\n\"\\")", source),
            R"("\u00e9\u20ac\ud83d\ude00\u007f\n\"\\")");
  EXPECT_EQ(Config(R"("==x")", source), "\"=x\"");
  EXPECT_THAT(Config(R"_("=1e308 * (9 + dim('w', 0))")_", source), HasSubstr("no finite number"));
}

TEST(ConfigTest, ChoicesAndLists) {
  TestSource source;
  source.Add("w", {1});
  EXPECT_EQ(Config(R"({"when": "true", "value": 1, "else": 2})", source), "1");
  EXPECT_EQ(Config(R"({"when": "false", "value": 1, "else": {"when": "true", "value": "=1 + 2"}})", source),
            "3");
  EXPECT_EQ(Config(R"([{"when": "false", "value": 1}, 2])", source), "[\n    2\n  ]");
  EXPECT_EQ(Config(R"({"for": {"i": "3"}, "value": {"when": "i != 1", "value": "=i * 2"}})", source),
            "[\n    0,\n    4\n  ]");
  const auto absent =
      ApplyTable(R"("config": {"a": {"when": "false", "value": 1}, "torch_dtype": "x"})", source);
  EXPECT_EQ(absent->config_json, "{\n  \"torch_dtype\": \"x\"\n}\n");
}

TEST(ConfigTest, AddsTheServedDtypeOfMostElements) {
  TestSource source;
  source.Add("a", {4}, 1, DType::kF32).Add("b", {5});
  EXPECT_EQ(ApplyTable(R"("config": {"a": 1})", source)->config_json,
            "{\n  \"a\": 1,\n  \"torch_dtype\": \"int32\"\n}\n");
  source.Add("c", {2}, 1, DType::kF32);
  source.input.options.dtype = DType::kF16;
  EXPECT_EQ(ApplyTable(R"("config": {}, "generation_config": {"b": 2})", source)->config_json,
            "{\n  \"torch_dtype\": \"float16\"\n}\n");
  EXPECT_EQ(ApplyTable(R"("config": {}, "generation_config": {"b": 2})", source)->generation_config_json,
            "{\n  \"b\": 2\n}\n");
  EXPECT_EQ(ApplyTable(R"("config": {"dtype": "x"})", source)->config_json, "{\n  \"dtype\": \"x\"\n}\n");
  EXPECT_EQ(ApplyTable("", source)->config_json, "");
}

TEST(DetectTest, ByEvidence) {
  TestSource source;
  source.Add("a", {48, 2});
  source.metadata.values = {{"n", 48}};
  const FamilyRegistry registry = Rules(
      "{\"families\": [" +
      TableOf("one",
              R"_("metadata": {"m": ["."]}, "detect": ["m.n != null", "has('a')", "dim('a', 0) == m.n"])_") +
      "," + TableOf("two", R"_("detect": ["has('b')"])_") + "," +
      TableOf("three", R"_("detect": ["dim('b', 0) == 1"])_") + "]}");
  const auto choice = DetectFamily(registry, source.input);
  ASSERT_TRUE(choice) << choice.error().message;
  ASSERT_NE(choice->table, nullptr);
  EXPECT_EQ(Summarize(*choice->table).name, "one");
  EXPECT_THAT(choice->evidence, ElementsAre("m.n is 48", "has('a')", "dim('a', 0) is 48, m.n is 48"));
  source.metadata.values = nullptr;
  EXPECT_EQ(DetectFamily(registry, source.input)->table, nullptr);
}

TEST(DetectTest, OneThatExtendsAnotherWins) {
  TestSource source;
  source.Add("a", {1});
  const std::string base = TableOf("base", R"_("detect": ["has('a')"])_");
  const std::string middle = TableOf("middle", R"_("extends": "base", "detect": ["has('c')"])_");
  const std::string child = TableOf("child", R"_("extends": "middle", "detect": ["any('a|b')"])_");
  const std::string other = TableOf("other", R"_("detect": ["ndim('a') == 1"])_");
  const auto registry = Rules("{\"families\": [" + base + "," + middle + "," + child + "]}");
  EXPECT_EQ(Summarize(*DetectFamily(registry, source.input)->table).name, "child");
  const auto ambiguous = DetectFamily(
      Rules("{\"families\": [" + base + "," + middle + "," + child + "," + other + "]}"), source.input);
  ASSERT_FALSE(ambiguous);
  EXPECT_EQ(ambiguous.error().code, ErrorCode::kAmbiguous);
  EXPECT_EQ(ambiguous.error().message,
            "the source fits several families; expected one\nchild (about child): any('a|b')\n"
            "other (about other): ndim('a') is 1");
  EXPECT_EQ(ambiguous.error().remedy, "Say which: --family child or --family other.");
}

TEST(DetectTest, NamesThatBecomeOneDoNotFit) {
  TestSource source;
  source.Add("a", {1}).Add("m.a", {1});
  const auto registry = Rules(TableOf("x", R"_("names": [["^m\\.", ""]], "detect": ["has('a')"])_"));
  EXPECT_EQ(DetectFamily(registry, source.input)->table, nullptr);
}

TEST(DescribeTest, SaysWhatTheTableSays) {
  const auto registry = Rules(TableOf(
      "x", R"_("let": {"C": "2"}, "options": {"act": {"default": "a", "help": "which"}}, "weights": ["w.pt"],
      "check": [{"that": "C == 2", "why": "because"}], "config": {"n": "=C", "o": {"when": "true", "value": [1]}},
      "tensors": [{"for": {"i": "C", "n": ["q", "k"]}, "to": "a.{i}.{n}", "from": "b.{i}.{n}", "do": "(C s) -> s", "at": {"C": "0"}, "with": {"s": "C"}, "when": "C > 1"},
                  {"drop": "m", "why": "mask"}, {"to": "z", "fill": 0, "shape": ["C"], "dtype": "'float32'"}, {"keep": "k(.*)", "to": "\\1"}])_"));
  const FamilyTable& table = *registry.Find("x");
  EXPECT_THAT(DescribeTable(table),
              AllOf(HasSubstr("x: about x\n"), HasSubstr("known by true"), HasSubstr("C = 2"),
                    HasSubstr("act=a: which"),
                    HasSubstr("a.{i}.{n}\n      from b.{i}.{n}\n      (C s) -> s at C 0\n      for i in 0:C, "
                              "n in q | k\n      with s = C\n      when C > 1"),
                    HasSubstr("drop m\n      mask"), HasSubstr("filled with 0.0, shape [C]"),
                    HasSubstr("keep k(.*) as \\1"), HasSubstr("n: = C"), HasSubstr("o: [1] when true"),
                    HasSubstr("C == 2: because"), HasSubstr("weights lie in w.pt")));
  const FamilySummary summary = Summarize(table);
  EXPECT_TRUE(summary.is_user);
  EXPECT_THAT(summary.evidence, ElementsAre("true"));
  ASSERT_EQ(summary.options.size(), 1u);
  EXPECT_EQ(summary.options[0].first, "act=a");
}

}  // namespace
}  // namespace weightfs
