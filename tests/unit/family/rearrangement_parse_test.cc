#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "convert/family/rearrangement.h"

namespace weightfs::family {
namespace {

using ::testing::HasSubstr;

std::string ErrorOf(const char* text) {
  const auto parsed = ParseArrangement(text);
  return parsed ? "" : parsed.error().message;
}

/// "(n k j) D | (n j k) D"
std::string Sides(const Arrangement& arrangement) {
  std::string text;
  for (const auto* side : {&arrangement.left, &arrangement.right}) {
    if (side == &arrangement.right) text += " ->";
    for (const Dimension& dimension : *side) {
      text += dimension.is_marked ? " !" : " ";
      if (dimension.is_ellipsis) text += "...";
      for (const Axis& axis : dimension.axes)
        text += (&axis == &dimension.axes[0] ? "" : ".") + (axis.name.empty() ? "1" : axis.name) +
                (axis.is_free ? "*" : "");
    }
  }
  return text;
}

TEST(ArrangementTest, Parses) {
  EXPECT_EQ(Sides(*ParseArrangement("(n k j) D -> (n j k) D")), " n.k.j D -> n.j.k D");
  EXPECT_EQ(Sides(*ParseArrangement("D |(H h)")), " D !H.h ->");
  EXPECT_EQ(Sides(*ParseArrangement("?V ?D")), " !V !D ->");
  EXPECT_EQ(Sides(*ParseArrangement("a* 1 ... -> ... 1 a")), " a* 1 ... -> ... 1 a");
  EXPECT_EQ(Sides(*ParseArrangement(" ( a b )->b a ")), " a.b -> b a");
  EXPECT_EQ(Sides(*ParseArrangement("")), " ->");
  EXPECT_EQ(ParseArrangement("|F D")->join, PartsJoin::kCut);
  EXPECT_EQ(ParseArrangement("?V ?D")->join, PartsJoin::kCutOneOf);
  EXPECT_EQ(ParseArrangement("+ C")->join, PartsJoin::kSum);
  EXPECT_EQ(ParseArrangement("~C")->join, PartsJoin::kMean);
  EXPECT_EQ(ParseArrangement("C")->join, PartsJoin::kReplicated);
}

TEST(ArrangementTest, RefusesWithTheColumn) {
  EXPECT_THAT(ErrorOf("a a"), HasSubstr("column 3 of `a a`: a occurs twice on one side"));
  EXPECT_THAT(ErrorOf("a b -> a c"), HasSubstr("c occurs on the right alone"));
  EXPECT_THAT(ErrorOf("... -> a"), HasSubstr("expected ... on both sides"));
  EXPECT_THAT(ErrorOf("... ..."), HasSubstr("one ... a side"));
  EXPECT_THAT(ErrorOf("|a |b"), HasSubstr("a second mark"));
  EXPECT_THAT(ErrorOf("+ |a"), HasSubstr("a second mark"));
  EXPECT_THAT(ErrorOf("a -> |a"), HasSubstr("a mark on the right"));
  EXPECT_THAT(ErrorOf("()"), HasSubstr("empty brackets"));
  EXPECT_THAT(ErrorOf("(a"), HasSubstr("the end; expected the name of an axis"));
  EXPECT_THAT(ErrorOf("2 a"), HasSubstr("2; expected the name of an axis"));
  EXPECT_THAT(ErrorOf("(a* b*)"), HasSubstr("a second free axis"));
  EXPECT_THAT(ErrorOf("a -> b -> c"), HasSubstr("expected axes"));
  EXPECT_THAT(ErrorOf("a)"), HasSubstr(")"));
  EXPECT_THAT(ErrorOf("((a b) c)"), HasSubstr("(; expected the name of an axis"));
}

Status Finish(const char* text, std::initializer_list<std::pair<const char*, AxisIndices::Kind>> at,
              bool is_first = true, Step* out = nullptr) {
  Step step{*ParseArrangement(text), {}};
  for (const auto& [name, kind] : at) step.at[name].kind = kind;
  const Status status = FinishStep(step, is_first);
  if (out != nullptr) *out = step;
  return status;
}

TEST(StepTest, AtMustSuit) {
  using enum AxisIndices::Kind;
  EXPECT_TRUE(Finish("(s g) D -> g D", {{"s", kOne}}));
  EXPECT_TRUE(Finish("(s g) D -> (s g) D", {{"s", kRange}}));
  EXPECT_THAT(Finish("(s g) D -> (s g) D", {{"s", kOne}}).error().message,
              HasSubstr("one index of s is taken"));
  EXPECT_THAT(Finish("(s g) D -> g D", {}).error().message, HasSubstr("s is missing on the right"));
  EXPECT_THAT(Finish("(s g) D -> g D", {{"s", kSome}}).error().message,
              HasSubstr("s is missing on the right"));
  EXPECT_THAT(Finish("a", {{"b", kOne}}).error().message, HasSubstr("`at` names b"));
  EXPECT_THAT(Finish("|a", {}, false).error().message, HasSubstr("a mark in a later step"));
  Step step;
  EXPECT_TRUE(Finish("|(s g) t D", {{"s", kOne}, {"t", kOne}}, true, &step));
  EXPECT_EQ(Sides(step.arrangement), " !s.g t D -> g D");
}

}  // namespace
}  // namespace weightfs::family
