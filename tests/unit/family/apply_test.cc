#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/family/source_for_test.h"

namespace weightfs {
namespace {

using ::testing::AllOf;
using testing::ApplyLines;
using testing::ApplyTable;
using testing::Elements;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::TestSource;
using testing::View;

/// The message of the error of these lines.
std::string ErrorOf(const std::string& lines, const TestSource& source, const std::string& members = {}) {
  const auto result = ApplyLines(lines, source, members);
  return result ? "no error"
                : std::string(ErrorCodeName(result.error().code)) + ": " + result.error().message;
}
/// The elements of the only tensor that these lines make.
std::vector<uint32_t> Made(const std::string& lines, const TestSource& source,
                           const std::string& members = {}) {
  const auto result = ApplyLines(lines, source, members);
  EXPECT_TRUE(result) << (result ? "" : result.error().message);
  if (!result || result->tensors.empty()) return {};
  return Elements(result->tensors[0].view);
}

TEST(ApplyTest, RenamesAndTransposes) {
  TestSource source;
  source.Add("m.a", {2, 3});
  const auto result =
      ApplyLines(R"({"to": "b", "from": "a", "do": "x* y* -> y x"})", source, R"("names": [["^m\\.", ""]])");
  ASSERT_TRUE(result) << result.error().message;
  ASSERT_EQ(result->tensors.size(), 1u);
  const ProducedTensor& made = result->tensors[0];
  EXPECT_EQ(made.name, "b");
  EXPECT_EQ(made.view.shape(), (Shape{3, 2}));
  EXPECT_THAT(Elements(made.view), ElementsAre(1, 4, 2, 5, 3, 6));
  EXPECT_THAT(made.sources, ElementsAre(0u));
  EXPECT_EQ(made.rule, "x* y* -> y x");
  EXPECT_THAT(result->dropped, IsEmpty());
  EXPECT_EQ(result->config_json, "");
}

TEST(ApplyTest, RotaryPermutation) {
  TestSource source;
  source.Add("w", {8, 1});
  // Two heads of four channels: pairs become halves.
  EXPECT_THAT(
      Made(
          R"({"to": "w", "from": "w", "do": "(n k j) D -> (n j k) D", "with": {"n": "2", "k": "2", "j": 2, "D": 1}})",
          source),
      ElementsAre(1, 3, 2, 4, 5, 7, 6, 8));
}

TEST(ApplyTest, OnesEllipsisAndBrackets) {
  TestSource source;
  source.Add("w", {2, 1, 3});
  EXPECT_THAT(Made(R"({"to": "w", "from": "w", "do": "... a* -> a ..."})", source),
              ElementsAre(1, 4, 2, 5, 3, 6));
  const auto result = ApplyLines(R"_({"to": "w", "from": "w", "do": "a* 1 b* -> 1 (b a)"
})_",
                                 source);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->tensors[0].view.shape(), (Shape{1, 6}));
  EXPECT_THAT(Elements(result->tensors[0].view), ElementsAre(1, 4, 2, 5, 3, 6));
  EXPECT_THAT(ErrorOf(R"({"to": "w", "from": "w", "do": "a* 1"})", source),
              HasSubstr("the shape is [2, 1, 3]; expected 2 dimensions"));
  EXPECT_THAT(ErrorOf(R"({"to": "w", "from": "w", "do": "a* b* c* d* ..."})", source),
              HasSubstr("expected at least 4"));
  EXPECT_THAT(ErrorOf(R"({"to": "w", "from": "w", "do": "1 1 c*"})", source),
              HasSubstr("dimension 0 is 2; expected 1 = 1"));
}

TEST(ApplyTest, NotesGuessesAndPipeline) {
  TestSource source;
  source.Add("w", {2});
  const std::string members = R"_("folder": "part", "let": {"n": "dim('w', 0)"},
         "options": {"a": {"default": 1, "assumed": "nobody knows"}, "b": {"default": 1}},
         "notes": [{"when": "n == 2", "say": "there are {n}"}, {"when": "n == 3", "say": "never"}],
         "pipeline": {"needs": ["x", "y"], "folders": {"x": "z"},
                      "options": {"x": {"k": "n", "l": "n == 2 ? 'two' : 'more'", "m": "null"}},
                      "files": {"f.json": {"n": "=n"}}},
         "tensors": [{"keep": "w"}])_";
  const auto result = ApplyTable(members, source);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->target, "hf");
  EXPECT_EQ(result->folder, "part");
  EXPECT_THAT(
      result->notes,
      ElementsAre("there are 2",
                  "the family mine takes a to be 1: nobody knows; --family mine:a=VALUE says otherwise"));
  EXPECT_THAT(result->pipeline.needs, ElementsAre("x", "y"));
  EXPECT_THAT(result->pipeline.folders, ElementsAre(std::pair<std::string, std::string>("x", "z")));
  EXPECT_EQ(result->pipeline.options.at("x"), (std::map<std::string, std::string>{{"k", "2"}, {"l", "two"}}));
  ASSERT_EQ(result->pipeline.files.size(), 1u);
  EXPECT_EQ(result->pipeline.files[0].second, "{\n  \"n\": 2\n}\n");
  // What is told or said is no guess; options that the table lacks are told in vain.
  source.input.options.told = {{"a", "3"}, {"other", "4"}};
  EXPECT_THAT(ApplyTable(members, source)->notes, ElementsAre("there are 2"));
  source.input.options.told = {{"a", "x"}};
  EXPECT_FALSE(ApplyTable(members, source));
  source.input.options.values = {{"a", "3"}};
  EXPECT_THAT(ApplyTable(members, source)->notes, ElementsAre("there are 2"));
}

TEST(ApplyTest, WrongShapesNameTensorExpressionAndBothValues) {
  TestSource source;
  source.Add("layers.0.wq", {48, 5});
  const std::string message = ErrorOf(
      R"({"for": {"i": "1"}, "to": "q.{i}", "from": "layers.{i}.wq", "do": "(n k) D", "with": {"n": "4", "k": "6", "D": "5"}})",
      source);
  EXPECT_EQ(message,
            "corrupt: rules.json:1: tensors[0]: q.0: from layers.0.wq: dimension 0 is 48; expected (n k) = 4 "
            "* 6 = 24 by "
            "`(n k) D`");
  EXPECT_THAT(ErrorOf(R"({"to": "q", "from": "layers.0.wq", "do": "(n k*) D", "with": {"n": "5", "D": "5"}})",
                      source),
              HasSubstr("dimension 0 is 48; expected a multiple of"));
  EXPECT_THAT(
      ErrorOf(R"({"to": "q", "from": "layers.0.wq", "do": "n D", "with": {"n": "0 - 1", "D": "5"}})", source),
      HasSubstr("the size n is -1; expected an integer from 0 on"));
  EXPECT_THAT(
      ErrorOf(
          R"({"to": "q", "from": "layers.0.wq", "do": "(n m) D", "with": {"n": "4611686018427387904", "m": "16", "D": "5"}})",
          source),
      HasSubstr("does not fit 64 bits"));
}

TEST(ApplyTest, IndicesAndSizes) {
  TestSource source;
  source.Add("l.0.a", {2, 1}).Add("l.0.b", {3, 1}).Add("l.1.a", {2, 1}).Add("l.1.b", {3, 1});
  const auto result = ApplyTable(
      R"_("let": {"L": "count('l.{#}.a')", "A": "2", "B": "A + 1"
},
         "tensors": [{"for": {"i": "L", "n s": [["a", "A"], ["b", "B"]]}, "to": "x.{i + 1}.{n}", "from": "l.{i}.{n}",
                      "do": "s 1", "with": {"s": "{s}"}}])_",
      source);
  ASSERT_TRUE(result) << result.error().message;
  std::vector<std::string> names;
  for (const ProducedTensor& tensor : result->tensors) names.push_back(tensor.name);
  EXPECT_THAT(names, ElementsAre("x.1.a", "x.1.b", "x.2.a", "x.2.b"));
  // A list of values, of a list, and a range from 1.
  EXPECT_EQ(
      ApplyTable(
          R"("tensors": [{"for": {"i": "[0, 1]", "n": ["a", "b"]}, "to": "{n}{i}", "from": "l.{i}.{n}", "do": "..."}])",
          source)
          ->tensors.size(),
      4u);
  EXPECT_EQ(
      ApplyTable(
          R"("tensors": [{"for": {"i n": "[[0, 'a'], [1, 'b']]"}, "to": "{n}{i}", "from": "l.{i}.{n}", "do": "..."},
                                      {"keep": ".*"}])",
          source)
          ->tensors.size(),
      4u);
  EXPECT_EQ(
      ApplyTable(
          R"("tensors": [{"for": {"i": "1:2", "n": ["a", "b"]}, "to": "{n}{i}", "from": "l.{i}.{n}", "do": "..."},
                                      {"keep": "l.0.*"}])",
          source)
          ->tensors.size(),
      4u);
  EXPECT_THAT(ErrorOf(R"({"for": {"i": "'x'"}, "to": "{i}", "from": "a", "do": "..."})", source),
              HasSubstr("for.i: `'x'` is 'x'; expected a count"));
  EXPECT_THAT(ErrorOf(R"({"for": {"i": "1"}, "with": {"s": "{i} +"}, "to": "{i}", "from": "a", "do": "..."})",
                      source),
              HasSubstr("with.s: column"));
  EXPECT_THAT(
      ErrorOf(R"({"for": {"i": ["zz"]}, "with": {"s": "{i}"}, "to": "{i}", "from": "a", "do": "..."})",
              source),
      HasSubstr("with.s: no name zz"));
}

TEST(ApplyTest, AtTakesIndices) {
  TestSource source;
  source.Add("qkv", {8, 1});  // two groups of (2 q, k, v)
  const std::string with = R"(, "with": {"G": 2, "s": 4})";
  const std::string q =
      R"({"to": "q", "from": "qkv", "do": "(G s) 1 -> (G s) 1", "at": {"s": "0:2"})" + with + "}";
  const std::string k = R"({"to": "k", "from": "qkv", "do": "(G s) 1 -> G 1", "at": {"s": "2"})" + with + "}";
  const std::string v = R"({"to": "v", "from": "qkv", "do": "(G s) 1", "at": {"s": "s - 1"})" + with + "}";
  const auto result = ApplyLines(q + "," + k + "," + v, source);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_THAT(Elements(result->tensors[0].view), ElementsAre(1, 2, 5, 6));
  EXPECT_THAT(Elements(result->tensors[1].view), ElementsAre(3, 7));
  EXPECT_EQ(result->tensors[1].view.shape(), (Shape{2, 1}));
  EXPECT_THAT(Elements(result->tensors[2].view), ElementsAre(4, 8));

  EXPECT_THAT(ErrorOf(q + "," + k, source),
              AllOf(HasSubstr("corrupt: qkv: 2 of 8 elements are never read; expected rules.json:1: "
                              "tensors[0], rules.json:1: tensors[1]"),
                    HasSubstr("to read all of shape [8, 1]")));
  EXPECT_THAT(
      ErrorOf(q + "," + k + "," + v + R"_(,{"to": "w", "from": "qkv", "do": "(G s) 1", "at": {"s": "1"})_" +
                  with + "}",
              source),
      HasSubstr(
          "corrupt: qkv: elements are read twice, by rules.json:1: tensors[0] and rules.json:1: tensors[3]"));
  EXPECT_THAT(ErrorOf(R"({"to": "k", "from": "qkv", "do": "(G s) 1", "at": {"s": "4"})" + with + "}", source),
              HasSubstr("`4` of s in `(G s) 1` is 4; expected an integer from 0 to 3"));
  EXPECT_THAT(
      ErrorOf(R"({"to": "k", "from": "qkv", "do": "(G s) 1", "at": {"s": "3:2"})" + with + "}", source),
      HasSubstr("the range 3:2 of s"));
}

TEST(ApplyTest, SomeIndicesAndDifferentFactors) {
  TestSource source;
  source.Add("w", {12});
  // 0 1 2 | 3 4 5 | ...: rows 0 and 2 of four; the rest by another way to cut 12.
  const std::string some = R"_({"to": "a", "from": "w", "do": "(r c)", "at" : {"r" : [ "2", "0" ]},
                    "with" : {"r" : 4, "c" : 3}
})_";
  const auto result = ApplyLines(
      some +
          R"(, {"to": "b", "from": "w", "do": "(p q c) -> p c", "at": {"q": "1"}, "with": {"p": 2, "q": 2, "c": 3}})",
      source);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_THAT(Elements(result->tensors[0].view), ElementsAre(7, 8, 9, 1, 2, 3));
  EXPECT_THAT(Elements(result->tensors[1].view), ElementsAre(4, 5, 6, 10, 11, 12));
  EXPECT_THAT(
      ErrorOf(
          some +
              R"(, {"to": "b", "from": "w", "do": "(p q c) -> p c", "at": {"q": "0"}, "with": {"p": 2, "q": 2, "c": 3}})",
          source),
      HasSubstr("elements are read twice"));
  EXPECT_THAT(
      ErrorOf(R"_({"to": "a", "from": "w", "do": "(r c)", "at": {"r": ["0", "0"]}, "with": {"r": 4, "c": 3}
  })_",
              source),
      HasSubstr("`at` takes an index of r twice"));
  // Equal counts do not make a tiling: one half read twice, the other never.
  EXPECT_THAT(
      ErrorOf(
          R"_({"for": {"n": ["a", "b"]}, "to": "{n}", "from": "w", "do": "(h c)", "at": {"h": "0"}, "with": {"h": 2, "c": 6}
  })_",
          source),
      HasSubstr("elements are read twice"));
}

TEST(ApplyTest, Trims) {
  TestSource source;
  source.Add("w", {4, 2});
  const auto result = ApplyTable(R"("let": {"Vp": "4", "V": "3", "C": "2"},
      "tensors": [{"to": "w", "from": "w", "do": "Vp C", "at": {"Vp": "0:V"}, "trims": "padding rows"}])",
                                 source);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_THAT(Elements(result->tensors[0].view), ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_THAT(result->notes, ElementsAre("w: 2 of 8 elements are not served: padding rows"));
}

TEST(ApplyTest, StepsOneAfterTheOther) {
  TestSource source;
  source.Add("w", {6, 2});
  // The first four of six rows, as two groups of two, turned.
  const auto result = ApplyLines(
      R"_({"to": "w", "from": "w", "do": [{"do": "r c -> r c", "at": {"r": "0:4"}}, "(g x) c -> c (x g)"],
          "with": {"r": 6, "c": 2, "g": 2, "x": 2}, "trims": "test"
  })_",
      source);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->tensors[0].view.shape(), (Shape{2, 4}));
  EXPECT_THAT(Elements(result->tensors[0].view), ElementsAre(1, 5, 3, 7, 2, 6, 4, 8));
  EXPECT_EQ(result->tensors[0].rule, "r c -> r c, then (g x) c -> c (x g)");
  // Indices of whole axes of the source may be taken late: rows 0 to 3, then columns.
  EXPECT_THAT(
      Made(
          R"({"to": "w", "from": "w", "do": [{"do": "r c -> c r", "at": {"r": "0:4"}}, {"do": "c r4 -> r4", "at": {"c": "1"}}],
          "with": {"r": 6, "c": 2, "r4": 4}, "trims": "test"})",
          source),
      ElementsAre(2, 4, 6, 8));
  EXPECT_THAT(
      ErrorOf(R"_({"to": "w", "from": "w", "do": ["r c -> (r c)", {"do": "(a b) -> b", "at": {"a": "0"}}],
          "with": {"r": 6, "c": 2, "a": 4, "b": 3}, "trims": "test"
  })_",
              source),
      HasSubstr("unsupported"));
}

TEST(ApplyTest, JoinsSources) {
  TestSource source;
  source.Add("a", {1, 2}).Add("b", {2, 2});
  EXPECT_THAT(Made(R"({"to": "w", "from": ["b", "a"], "join": 0, "do": "x* y* -> y x"})", source),
              ElementsAre(3, 5, 1, 4, 6, 2));
  EXPECT_THAT(ErrorOf(R"({"to": "w", "from": ["b", "a"], "join": 1, "do": "..."})", source),
              HasSubstr("corrupt: rules.json:1: tensors[0]: w: "));
  EXPECT_THAT(ErrorOf(R"({"to": "w", "from": ["b", "a"], "join": "stack", "do": "..."})", source),
              HasSubstr("corrupt"));
  TestSource equal;
  equal.Add("e.0", {2}).Add("e.1", {2});
  EXPECT_THAT(Made(R"({"to": "w", "from": ["e.0", "e.1"], "join": "stack", "do": "e* d* -> d e"})", equal),
              ElementsAre(1, 3, 2, 4));
  // Each source taken in its own way: of one tensor, two parts in another order.
  TestSource one;
  one.Add("w", {4});
  EXPECT_THAT(
      Made(
          R"({"to": "w", "from": [{"from": "w", "do": "r", "at": {"r": "2:4"}}, {"from": "w", "do": "r", "at": {"r": "0:2"}}],
                      "join": 0, "do": "r", "with": {"r": 4}})",
          one),
      ElementsAre(3, 4, 1, 2));
}

TEST(ApplyTest, PartsJoinAlongMarks) {
  TestSource source;
  source.Add("w", {2, 2}, 2);
  EXPECT_THAT(Made(R"({"to": "w", "from": "w", "do": "|a* b*"})", source),
              ElementsAre(1, 2, 3, 4, 5, 6, 7, 8));
  EXPECT_THAT(Made(R"({"to": "w", "from": "w", "do": "a* |b*"})", source),
              ElementsAre(1, 2, 5, 6, 3, 4, 7, 8));
  EXPECT_THAT(Made(R"({"to": "w", "from": "w", "do": "|(T a*) b* -> (a T) b"})", source),
              ElementsAre(1, 2, 5, 6, 3, 4, 7, 8));
  const std::string sizes = R"(, "with": {"V": "2", "D": "4"}})";
  EXPECT_THAT(Made(R"({"to": "w", "from": "w", "do": "?V ?D")" + sizes, source),
              ElementsAre(1, 2, 5, 6, 3, 4, 7, 8));
  EXPECT_THAT(ErrorOf(R"({"to": "w", "from": "w", "do": "?V ?D", "with": {"V": "3", "D": "4"}})", source),
              HasSubstr("expected parts that join along a marked dimension of `?V ?D`"));
  EXPECT_THAT(ErrorOf(R"({"to": "w", "from": "w", "do": "?a* ?b*"})", source),
              HasSubstr("along only one marked dimension"));
  EXPECT_THAT(ErrorOf(R"({"to": "w", "from": "w", "do": "a* b*"})", source),
              HasSubstr("from w: parts 0 and 1 differ; expected equal parts"));
  TestSource uneven;
  uneven.AddParts("w", {uneven.Numbered({1, 2}), uneven.Numbered({2, 2})});
  EXPECT_THAT(Made(R"({"to": "w", "from": "w", "do": "|a* b*"})", uneven), ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_THAT(ErrorOf(R"({"to": "w", "from": "w", "do": "a* |b*"})", uneven),
              HasSubstr("part 0 is I32 of shape [1, 2] and part 1 I32 of shape [2, 2]"));
  EXPECT_THAT(ErrorOf(R"({"to": "w", "from": "w", "do": "a* b*"})", uneven),
              HasSubstr("part 0 has the shape [1, 2]"));
}

TEST(ApplyTest, LinesMustJoinPartsInOneWay) {
  TestSource source;
  source.Add("w", {2, 2}, 2);
  EXPECT_THAT(
      ErrorOf(R"({"to": "a", "from": "w", "do": "|r c* -> c", "at": {"r": "0"}, "with": {"r": 4}},
                         {"to": "b", "from": "w", "do": "r* |c -> r", "at": {"c": "0"}, "with": {"c": 4}})",
              source),
      HasSubstr("w: rules.json:1: tensors[0] and rules.json:2: tensors[1] join its parts in different ways"));
}

TEST(ApplyTest, Replicas) {
  TestSource source;
  source.AddParts("n", {View({5, 6}, {2}), View({5, 6}, {2}), View({5, 6}, {2})});
  EXPECT_THAT(Made(R"({"to": "n", "from": "n", "do": "a*"})", source), ElementsAre(5, 6));
  EXPECT_THAT(Made(R"({"keep": "n"})", source), ElementsAre(5, 6));
  source.input.limits.family_compared_bytes_max = 32;
  EXPECT_EQ(ErrorOf(R"({"to": "n", "from": "n", "do": "a*"})", source), "no error");
  source.input.limits.family_compared_bytes_max = 31;
  EXPECT_THAT(ErrorOf(R"({"to": "n", "from": "n", "do": "a*"})", source), HasSubstr("limit_exceeded"));
  source.input.limits = Limits{};
  source.input.tensors[0].parts[2] = View({5, 7}, {2});
  EXPECT_THAT(ErrorOf(R"({"to": "n", "from": "n", "do": "a*"})", source),
              HasSubstr("n: from n: parts 0 and 2 differ"));
  EXPECT_THAT(ErrorOf(R"({"keep": "n"})", source), HasSubstr("parts 0 and 2 differ"));
}

TEST(ApplyTest, SumsMeansAndArithmetic) {
  const auto floats = [](float a, float b) {
    std::vector<uint32_t> bits(2);
    const float values[] = {a, b};
    std::memcpy(bits.data(), values, sizeof values);
    return View(bits, {2}, DType::kF32);
  };
  TestSource source;
  source.AddParts("b", {floats(1, 2), floats(3, 6)});
  const auto expect = [&](const std::string& line, float a, float b) {
    EXPECT_EQ(Made(line, source), Elements(floats(a, b))) << line;
  };
  expect(R"({"to": "b", "from": "b", "do": "+a*"})", 4, 8);
  expect(R"({"to": "b", "from": "b", "do": "~ a*"})", 2, 4);
  expect(R"({"to": "b", "from": "b", "do": "~ a*", "scale": 0.5, "add": -1})", 0, 1);
  TestSource integers;
  integers.Add("b", {2});
  EXPECT_THAT(ErrorOf(R"({"to": "b", "from": "b", "do": "a*", "add": 1})", integers), HasSubstr("b: "));
}

TEST(ApplyTest, Fills) {
  TestSource source;
  source.Add("w", {3}, 1, DType::kF32);
  const std::string keep = R"(, {"keep": ".*"})";
  EXPECT_THAT(
      Made(
          R"_({"for": {"k": [2]}, "to": "b.{k}", "fill": 1, "shape": ["k", "dim('w', 0)"], "dtype": "dtype('w')"
  })_" + keep,
          source),
      ElementsAre(0x3f800000, 0x3f800000, 0x3f800000, 0x3f800000, 0x3f800000, 0x3f800000));
  EXPECT_THAT(ErrorOf(R"({"to": "b", "fill": 0, "shape": ["1"], "dtype": "'float12'"})" + keep, source),
              HasSubstr("the dtype float12; expected a name of torch"));
  EXPECT_THAT(ErrorOf(R"({"to": "b", "fill": 0, "shape": ["'x'"], "dtype": "'float32'"})" + keep, source),
              HasSubstr("the size `'x'` is 'x'"));
  EXPECT_THAT(ErrorOf(R"({"to": "b", "fill": 0.1, "shape": ["1"], "dtype": "'int32'"})" + keep, source),
              HasSubstr("rules.json:1: tensors[0]: b: "));
}

TEST(ApplyTest, DropsAndKeeps) {
  TestSource source;
  source.Add("a.0.mask", {1}).Add("a.1.mask", {1}).Add("w", {1}).Add("x.y", {2});
  const auto result = ApplyLines(R"_({"keep": "x\\.(.*)", "to": "z.\\1"
  }, {"drop": "a\\.\\d+\\.mask", "why": "mask buffer"},
                                    {"to": "v", "from": "w", "do": "..."})_",
                                 source);
  ASSERT_TRUE(result) << result.error().message;
  ASSERT_EQ(result->tensors.size(), 2u);
  EXPECT_EQ(result->tensors[0].name, "z.y");  // where its line stands
  EXPECT_EQ(result->tensors[1].name, "v");
  ASSERT_EQ(result->dropped.size(), 2u);
  EXPECT_EQ(result->dropped[1].source, 1u);
  EXPECT_EQ(result->dropped[1].why, "mask buffer");
  // Templates in patterns: what is filled in stands for itself.
  const auto templated = ApplyLines(
      R"({"for": {"n": ["a.0.mask", "a.1.m.sk"]}, "drop": "{n}|q{{1}}", "why": "mask"}, {"keep": ".*"})",
      source);
  ASSERT_TRUE(templated) << templated.error().message;
  EXPECT_EQ(templated->dropped.size(), 1u);
  EXPECT_THAT(
      ErrorOf(R"({"to": "v", "from": "w", "do": "..."}, {"drop": "w", "why": "x"}, {"keep": ".*"})", source),
      HasSubstr("w: read by rules.json:1: tensors[0] and dropped by rules.json:1: tensors[1]"));
  EXPECT_THAT(ErrorOf(R"({"to": "x.y", "from": "w", "do": "..."}, {"keep": ".*"})", source),
              HasSubstr("x.y: two lines make it"));
}

TEST(ApplyTest, UnmatchedTensorsNameTheNearestLine) {
  TestSource source;
  source.Add("layers.0.w1", {1}).Add("norm", {1}).Add("layers.0.w9", {1});
  const auto result = ApplyLines(R"({"to": "n", "from": "norm", "do": "..."},
{"to": "a", "from": "layers.0.w1", "do": "..."})",
                                 source);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(result.error().message,
            "layers.0.w9: no line of the family mine reads, drops or keeps it; the nearest is rules.json:2: "
            "tensors[1], which reads layers.0.w1");
  EXPECT_NE(result.error().remedy, "");
  TestSource many;
  for (int i = 0; i < 20; ++i) many.Add("t" + std::to_string(i), {1});
  EXPECT_THAT(ErrorOf(R"({"keep": "t0"})", many), HasSubstr("and 11 more"));
}

TEST(ApplyTest, MissingSourcesNameTargetAndSource) {
  TestSource source;
  source.Add("layers.0.wk", {1});
  const auto result = ApplyLines(R"({"to": "q", "from": "layers.0.wq", "do": "..."})", source);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kNotFound);
  EXPECT_EQ(result.error().message,
            "rules.json:1: tensors[0]: q: needs layers.0.wq, which the source lacks; the nearest name is "
            "layers.0.wk");
}

TEST(ApplyTest, TwoLinesThatMakeOneTarget) {
  TestSource source;
  source.Add("a", {1}).Add("b", {1});
  EXPECT_THAT(
      ErrorOf(R"({"to": "w", "from": "a", "do": "..."}, {"to": "w", "from": "b", "do": "..."})", source),
      HasSubstr("corrupt: w: two lines make it, rules.json:1: tensors[0] and rules.json:1: tensors[1]"));
  EXPECT_EQ(
      ErrorOf(
          R"({"to": "w", "from": "a", "do": "...", "when": "true"}, {"to": "w", "from": "b", "do": "...", "when": "false"},
                       {"keep": "b"})",
          source),
      "no error");
}

TEST(ApplyTest, ChecksShowWhatTheySaw) {
  TestSource source;
  source.Add("w", {48});
  source.metadata.values = {{"n_head", 5}, {"n_embd", 48}};
  const auto result = ApplyTable(R"("metadata": {"m": ["."]}, "let": {"H": "m.n_head"},
                                    "check": ["true", {"that": "m.n_embd % H == 0", "why": "heads divide the width"}])",
                                 source);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(result.error().message,
            "rules.json:2: check[1].that: `m.n_embd % H == 0` does not hold: heads divide the width; "
            "m.n_embd % H is 3, m.n_embd is 48, H is 5");
}

TEST(ApplyTest, NamesThatBecomeOne) {
  TestSource source;
  source.Add("w", {1}).Add("m.w", {1});
  const auto result = ApplyTable(R"("names": [["^m\\.", ""]])", source);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().message, "w and m.w both become w; expected different names");
}

TEST(ApplyTest, NamesCannotGrowWithoutBound) {
  TestSource source;
  source.Add(std::string(100, 'a'), {1});
  const std::string grow = "[\"a\", \"" + std::string(200, 'a') + "\"]";
  const auto result = ApplyTable("\"names\": [" + grow + "," + grow + "]", source);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kLimitExceeded);
}

TEST(ApplyTest, Bounds) {
  TestSource source;
  source.Add("w", {1});
  source.input.limits.family_steps_max = 10'000;
  EXPECT_THAT(
      ErrorOf(R"({"for": {"i": "1000000000000"}, "drop": "x{i}", "why": "x", "when": "false"})", source),
      HasSubstr("limit_exceeded"));
  EXPECT_THAT(ErrorOf(R"_({"for": {"i": "range(60000)"
  }
  , "drop" : "x{i}", "why" : "x"
  })_",
                      source),
              HasSubstr("limit_exceeded"));
  EXPECT_THAT(
      ErrorOf(
          R"({"for": {"i": "1000000000000"}, "to": "x{i}", "fill": 0, "shape": [], "dtype": "'float32'"})",
          source),
      HasSubstr("limit_exceeded"));
  source.input.limits = Limits{};
  source.input.limits.tensors_max = 3;
  EXPECT_EQ(
      ErrorOf(
          R"({"for": {"i": "3"}, "to": "x{i}", "fill": 0, "shape": [], "dtype": "'float32'"}, {"drop": "w", "why": "x"})",
          source),
      "no error");
  EXPECT_THAT(
      ErrorOf(R"({"for": {"i": "4"}, "to": "x{i}", "fill": 0, "shape": [], "dtype": "'float32'"})", source),
      HasSubstr("more than 3 tensors"));
}

TEST(ApplyTest, RefusesAbstractTables) {
  const FamilyRegistry registry = testing::Rules(R"({"family": "base", "abstract": true})");
  TestSource source;
  EXPECT_EQ(ApplyFamily(*registry.Find("base"), source.input).error().code, ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace weightfs
