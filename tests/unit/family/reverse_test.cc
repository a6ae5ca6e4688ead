#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/family/source_for_test.h"

namespace weightfs {
namespace {

using testing::Elements;
using ::testing::HasSubstr;
using testing::Rules;
using testing::TableOf;
using testing::TestSource;
using testing::View;

/// What a table makes of a source, and the source again of that.
struct RoundTrip {
  FamilyResult forward;
  nlohmann::json config;
  Result<ReverseResult> backward;
};

RoundTrip GoRound(const std::string& members, const TestSource& source, uint64_t parts = 1) {
  const FamilyRegistry registry = Rules(TableOf("mine", members));
  RoundTrip trip;
  const auto table = registry.Find("mine");
  if (table == nullptr) return trip;
  auto forward = ApplyFamily(*table, source.input);
  EXPECT_TRUE(forward) << (forward ? "" : forward.error().message);
  if (!forward) return trip;
  trip.forward = *std::move(forward);
  trip.config = trip.forward.config_json.empty() ? nlohmann::json::object()
                                                 : nlohmann::json::parse(trip.forward.config_json);
  ReverseInput input;
  input.config = &trip.config;
  input.parts = parts;
  for (const ProducedTensor& tensor : trip.forward.tensors)
    input.tensors.push_back({tensor.name, {tensor.view}});
  trip.backward = ReverseFamily(*table, input);
  return trip;
}

/// The tensors of `back` are those of the source, in whatever order, but for `absent`.
void ExpectEqual(const TestSource& source, const Result<ReverseResult>& back,
                 const std::vector<std::string>& absent = {}) {
  ASSERT_TRUE(back) << back.error().message;
  std::map<std::string, std::vector<TensorView>> made;
  for (const FamilyTensor& tensor : back->tensors) made[tensor.name] = tensor.parts;
  EXPECT_EQ(made.size(), back->tensors.size());
  for (const FamilyTensor& tensor : source.input.tensors) {
    if (std::ranges::find(absent, tensor.name) != absent.end()) {
      EXPECT_FALSE(made.contains(tensor.name)) << tensor.name;
      continue;
    }
    ASSERT_TRUE(made.contains(tensor.name)) << tensor.name;
    ASSERT_EQ(made[tensor.name].size(), tensor.parts.size()) << tensor.name;
    for (size_t i = 0; i < tensor.parts.size(); ++i) {
      EXPECT_EQ(made[tensor.name][i].shape(), tensor.parts[i].shape()) << tensor.name;
      EXPECT_EQ(Elements(made[tensor.name][i]), Elements(tensor.parts[i])) << tensor.name << " " << i;
    }
  }
  EXPECT_EQ(made.size() + absent.size(), source.input.tensors.size());
}

std::string ErrorOf(const std::string& members, const TestSource& source, uint64_t parts = 1) {
  const auto trip = GoRound(members, source, parts);
  return trip.backward
             ? "no error"
             : std::string(ErrorCodeName(trip.backward.error().code)) + ": " + trip.backward.error().message;
}

TEST(ReverseTest, Rearrangements) {
  TestSource source;
  source.Add("a", {8, 3}).Add("b", {2, 3, 4}).Add("c", {5});
  source.metadata.values = {{"heads", 2}, {"width", 3}};
  const auto trip = GoRound(R"_("metadata": {"m": ["."]}, "let": {"H": "m.heads", "D": "m.width", "h": "4"},
      "tensors": [{"to": "x", "from": "a", "do": "(H k j) D -> D (H j k)", "with": {"k": "h / 2", "j": 2}},
                  {"to": "y", "from": "b", "do": "a* ... -> ... a"}, {"to": "z", "from": "c", "do": "q* -> 1 q"}],
      "config": {"n_head": "=H", "hidden": {"size": "=D"}})_",
                            source);
  ExpectEqual(source, trip.backward);
}

TEST(ReverseTest, BoxesComeTogether) {
  TestSource source;
  source.Add("qkv", {12, 2});  // two groups: two q, one k, one v, of 1.5 rows... of 3 / 2 rows each
  const std::string sizes = R"(, "with": {"G": 3, "s": 4})";
  const auto trip = GoRound(R"_("tensors": [
      {"to": "q", "from": "qkv", "do": "(G s) D* -> (G s) D", "at": {"s": "0:2"})_" +
                                sizes + R"_(},
      {"for": {"n i": [["v", 3], ["k", 2]]}, "to": "{n}", "from": "qkv", "do": "(G s) D* -> D G", "at": {"s": "i"})_" +
                                sizes + "}]",
                            source);
  ExpectEqual(source, trip.backward);
  TestSource experts;
  experts.Add("e", {6, 4});
  ExpectEqual(
      experts,
      GoRound(
          R"_("tensors": [{"for": {"i": "3", "n j": [["gate", 0], ["up", 1]]}, "to": "e.{i}.{n}", "from": "e",
      "do": "(E F) (two D) -> D F", "at": {"E": "i", "two": "j"}, "with": {"E": 3, "F": 2, "two": 2, "D": 2}}])_",
          experts)
          .backward);
  // In an order of its own.
  TestSource mixed;
  mixed.Add("w", {6, 2});
  ExpectEqual(
      mixed,
      GoRound(
          R"_("tensors": [{"to": "w", "from": "w", "do": "(H s) D -> D (s H)", "at": {"s": ["1", "0", "2"]}, "with": {"H": 2, "s": 3, "D": 2}}])_",
          mixed)
          .backward);
}

TEST(ReverseTest, BoxesOfDifferentFactors) {
  TestSource source;
  source.Add("w", {12});
  ExpectEqual(
      source,
      GoRound(
          R"_("tensors": [{"to": "a", "from": "w", "do": "(r c)", "at": {"r": "0:2"}, "with": {"r": 4, "c": 3}},
      {"for": {"i": "2"}, "to": "b.{i}", "from": "w", "do": "(p q) -> q", "at": {"p": "2 + i"}, "with": {"p": 4, "q": 3}}])_",
          source)
          .backward);
  // Halves cut again on one side only: a straight cut, then another.
  TestSource square;
  square.Add("w", {4, 4});
  ExpectEqual(
      square,
      GoRound(
          R"_("tensors": [{"to": "left", "from": "w", "do": "r c", "at": {"c": "0:2"}, "with": {"r": 4, "c": 4}},
      {"to": "top", "from": "w", "do": "r c", "at": {"c": "2:4", "r": "0:1"}, "with": {"r": 4, "c": 4}},
      {"to": "bottom", "from": "w", "do": "r c -> c r", "at": {"c": "2:4", "r": "1:4"}, "with": {"r": 4, "c": 4}}])_",
          square)
          .backward);
  // Five boxes around a middle have no straight cut.
  TestSource wheel;
  wheel.Add("w", {3, 3});
  const auto box = [](const char* name, const char* rows, const char* columns) {
    return std::string(R"({"to": ")") + name + R"_(", "from": "w", "do": "r c", "at": {"r": ")_" + rows +
           R"_(", "c": ")_" + columns + R"_("}, "with": {"r": 3, "c": 3}})_";
  };
  EXPECT_THAT(
      ErrorOf("\"tensors\": [" + box("a", "0:1", "0:2") + "," + box("b", "0:2", "2:3") + "," +
                  box("c", "2:3", "1:3") + "," + box("d", "1:3", "0:1") + "," + box("e", "1:2", "1:2") + "]",
              wheel),
      HasSubstr("unsupported: rules.json:1: tensors[0]: w: the lines take boxes that do not come apart"));
}

TEST(ReverseTest, Parts) {
  TestSource source;
  source.Add("rows", {2, 3}, 2)
      .Add("columns", {2, 3}, 2)
      .Add("either", {2, 6}, 2)
      .AddParts("norm", {View({7, 8}, {2}), View({7, 8}, {2})});
  ExpectEqual(
      source,
      GoRound(
          R"_("tensors": [{"to": "a", "from": "rows", "do": "|r* c* -> c r"}, {"to": "b", "from": "columns", "do": "r* |c*"},
      {"to": "c", "from": "either", "do": "?V ?D", "with": {"V": 4, "D": 6}}, {"to": "d", "from": "norm", "do": "n*"}])_",
          source, 2)
          .backward);
  TestSource ranks;
  ranks.Add("fc", {4, 1}, 2);
  ExpectEqual(
      ranks,
      GoRound(
          R"_("tensors": [{"for": {"n i": [["gate", 0], ["up", 1]]}, "to": "{n}", "from": "fc", "do": "|(T two f) 1 -> (T f) 1",
      "at": {"two": "i"}, "with": {"two": 2, "f": 2}}])_",
          ranks, 2)
          .backward);
  TestSource odd;
  odd.Add("w", {3});
  EXPECT_THAT(ErrorOf(R"_("tensors": [{"to": "w", "from": "w", "do": "|r*"}])_", odd, 2),
              HasSubstr("corrupt: rules.json:1: tensors[0]: w of shape [3] does not cut into 2 equal parts "
                        "along the marks of `|r*`"));
}

TEST(ReverseTest, JoinsComeApart) {
  TestSource source;
  source.Add("q", {4, 2}).Add("k", {2, 2}).Add("e.0", {2}).Add("e.1", {2});
  const auto trip = GoRound(R"_("let": {"H": 2, "K": 1, "h": 2, "D": 2}, "tensors": [
      {"to": "qk", "from": [{"from": "q", "do": "(H h) D -> D (H h)"}, {"from": "k", "do": "(K h) D -> D (K h)"}], "join": 1, "do": "D r*"},
      {"to": "e", "from": ["e.0", "e.1"], "join": "stack", "do": "E* D -> D E"}])_",
                            source);
  ExpectEqual(source, trip.backward);
  TestSource plain;
  plain.Add("q", {4}).Add("k", {2});
  EXPECT_THAT(
      ErrorOf(R"_("tensors": [{"to": "qk", "from": ["q", "k"], "join": 0, "do": "r*"}])_", plain),
      HasSubstr(
          "unsupported: rules.json:1: tensors[0]: does not invert: no size of q along dimension 0 is known"));
}

TEST(ReverseTest, Steps) {
  TestSource source;
  source.Add("w", {6, 2});
  ExpectEqual(source, GoRound(R"_("let": {"r": 6, "c": 2, "g": 2, "x": 2}, "tensors": [
      {"to": "a", "from": "w", "do": [{"do": "r c -> r c", "at": {"r": "0:4"}}, "(g x) c -> c (x g)"]},
      {"to": "b", "from": "w", "do": "r c -> c r", "at": {"r": "4:6"}}])_",
                              source)
                          .backward);
}

TEST(ReverseTest, DropsFillsAndKept) {
  TestSource source;
  source.Add("wte.weight", {2, 2});
  source.AddParts("head.weight", {source.input.tensors[0].parts[0]});
  source.Add("mask", {1}).Add("extra.x", {3});
  const std::string members =
      R"_("let": {"tied": "has('head.weight')"}, "tensors": [{"to": "w", "from": "wte.weight", "do": "r* c* -> c r"},
      {"drop": "head\\.weight", "alias": "wte.weight", "why": "tied", "when": "tied"}, {"drop": "mask", "why": "mask"},
      {"to": "b", "fill": 2, "shape": ["2"], "dtype": "'int32'"}, {"keep": "extra\\..*"}], "config": {"tie": "=tied"})_";
  ExpectEqual(source, GoRound(members, source).backward, {"mask"});
  // What is filled in must hold that value.
  auto registry = Rules(TableOf("mine", members));
  const nlohmann::json config = {{"tie", false}};
  ReverseInput input{.tensors = {{"w", {View({1, 2, 3, 4}, {2, 2})}}, {"b", {View({2, 3}, {2})}}},
                     .config = &config};
  auto refused = ReverseFamily(*registry.Find("mine"), input);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message,
              HasSubstr("b: has the shape [2] and other values; expected 2.0 in shape [2]"));
  input.tensors[1].parts[0] = View({2, 2}, {2});
  EXPECT_TRUE(ReverseFamily(*registry.Find("mine"), input));
  EXPECT_EQ(ReverseFamily(*registry.Find("mine"), input)->tensors.size(), 1u);  // not tied
  input.tensors.push_back({"surplus", {View({1}, {1})}});
  EXPECT_EQ(ReverseFamily(*registry.Find("mine"), input).error().message,
            "surplus: no line of the family mine makes it");
  input.tensors = {{"b", {View({2, 2}, {2})}}};
  refused = ReverseFamily(*registry.Find("mine"), input);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(refused.error().message, HasSubstr("tensors[0]: w, which the target lacks"));
}

TEST(ReverseTest, WhatDoesNotInvertSaysWhy) {
  TestSource source;
  source.Add("w", {4}, 1, DType::kF32);
  EXPECT_THAT(ErrorOf(R"_("tensors": [{"to": "w", "from": "w", "do": "+ n*"}])_", source),
              HasSubstr("unsupported: rules.json:1: tensors[0]: does not invert: +"));
  EXPECT_THAT(ErrorOf(R"_("tensors": [{"to": "w", "from": "w", "do": "~ n*"}])_", source),
              HasSubstr("~ takes the mean"));
  EXPECT_THAT(ErrorOf(R"_("tensors": [{"to": "w", "from": "w", "do": "n*", "add": 1}])_", source),
              HasSubstr("arithmetic"));
  EXPECT_THAT(
      ErrorOf(
          R"_("tensors": [{"to": "w", "from": "w", "do": "n", "at": {"n": "0:2"}, "with": {"n": 4}, "trims": "rows"}])_",
          source),
      HasSubstr("trims"));
  EXPECT_THAT(ErrorOf(R"_("tensors": [{"keep": "(.*)", "to": "x.\\1"}])_", source),
              HasSubstr("renames what it keeps"));
  EXPECT_THAT(
      ErrorOf(
          R"_("tensors": [{"to": "w", "from": "w", "do": "n* m -> m n", "with": {"m": "dim('w', 0)"}, "when": "ndim('w') == 2"}, {"keep": ".*"}])_",
          source),
      HasSubstr("ndim looks at the native checkpoint"));
  EXPECT_THAT(ErrorOf(R"_("tensors": [{"drop": "x.*", "alias": "w", "why": "x"}, {"keep": "w"}])_", source),
              HasSubstr("the pattern x.* is no single name"));
  EXPECT_THAT(
      ErrorOf(
          R"_("let": {"n": "4"}, "tensors": [{"to": "w", "from": "w", "do": "n"}], "config": {"a": "=n", "b": {"c": "=n"}},
      "reverse": {"let": {"n": "c.a + 1"}})_",
          source),
      HasSubstr("dimension 0 is 4; expected 5"));
}

TEST(ReverseTest, ValuesFollowFromConfigAndReverse) {
  TestSource source;
  source.Add("w", {6}).Add("v", {2});
  source.metadata.values = {{"n", 6}};
  const std::string members =
      R"_("metadata": {"m": ["."]}, "let": {"N": "m.n", "bias": "has('v')", "half": "N / 2", "k": "m.k ?? 2"},
      "tensors": [{"to": "w", "from": "w", "do": "(two half) -> (half two)", "with": {"two": 2}}, {"to": "v", "from": "v", "do": "k", "when": "bias"}],
      "config": {"n": "=N"}, "reverse": {"let": {"bias": "has('v') && c.n == 6"}})_";
  ExpectEqual(source, GoRound(members, source).backward);
  // Two entries that contradict.
  const auto registry = Rules(TableOf("mine", R"_("let": {"N": "1"}, "config": {"a": "=N", "b": "=N"})_"));
  const nlohmann::json config = {{"a", 1}, {"b", 2}};
  const ReverseInput input{.config = &config};
  EXPECT_EQ(ReverseFamily(*registry.Find("mine"), input).error().message,
            "config.json: a is 1 and b is 2; expected one value of N");
}

}  // namespace
}  // namespace weightfs
