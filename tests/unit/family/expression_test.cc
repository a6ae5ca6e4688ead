#include "convert/family/expression.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>

#include "convert/family/pattern.h"

namespace weightfs::family {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// Names from a map; source functions answer with what they were asked.
class TestEnvironment final : public Environment {
 public:
  TestEnvironment() : Environment(budget_) {}

  Result<Value> Name(std::string_view name) override {
    ++lookups[std::string(name)];
    const auto found = names.find(name);
    if (found == names.end()) return Fail(ErrorCode::kCorrupt, "no name " + std::string(name));
    return found->second;
  }
  Result<Value> CallSource(Function function, std::span<const Value> arguments) override {
    std::string text(FunctionName(function));
    for (const Value& argument : arguments)
      text += ":" + (argument.text() ? *argument.text() : argument.Describe());
    return Value(text);
  }
  Result<const re2::RE2*> Pattern(const std::string& text) override {
    WEIGHTFS_TRY(patterns_.emplace_back(), CompilePattern(text));
    return patterns_.back().get();
  }

  std::map<std::string, Value, std::less<>> names;
  std::map<std::string, int> lookups;
  Budget& bounds() { return budget_; }

 private:
  Budget budget_{1'000'000, 400, 0};
  std::vector<std::shared_ptr<const re2::RE2>> patterns_;
};

class ExpressionTest : public ::testing::Test {
 protected:
  ExpressionTest() {
    environment.names = {{"i", Value(int64_t{3})},
                         {"n", Value(std::string("q"))},
                         {"nothing", Value()},
                         {"m", Value::Of(metadata)},
                         {"yes", Value(true)}};
  }
  /// What the text evaluates to, or the message of its error.
  std::string Of(const std::string& text) {
    const auto expression = Expression::Parse(text);
    if (!expression) return "parse: " + expression.error().message;
    const auto value = expression->Evaluate(environment);
    return value ? value->Describe() : "error: " + value.error().message;
  }
  std::string Filled(const std::string& text, bool is_pattern = false) {
    const auto expression = Expression::ParseTemplate(text, is_pattern);
    if (!expression) return "parse: " + expression.error().message;
    const auto value = expression->EvaluateText(environment);
    return value ? *value : "error: " + value.error().message;
  }

  nlohmann::json metadata = nlohmann::json::parse(R"({
    "n_embd": 48, "bias": false, "list": [4, {"a": 5}], "big": 18446744073709551615, "none": null, "3": "three",
    "theta": 1e4, "name": "x"})");
  TestEnvironment environment;
};

TEST_F(ExpressionTest, Precedence) {
  EXPECT_EQ(Of("1 + 2 * 3"), "7");
  EXPECT_EQ(Of("(1 + 2) * 3"), "9");
  EXPECT_EQ(Of("10 - 2 - 3"), "5");
  EXPECT_EQ(Of("24 / 2 / 3"), "4");
  EXPECT_EQ(Of("-2 * 3"), "-6");
  EXPECT_EQ(Of("7 % 4 + 1"), "4");
  EXPECT_EQ(Of("1 < 2 && 3 < 2 || true"), "true");
  EXPECT_EQ(Of("true || false && false"), "true");
  EXPECT_EQ(Of("!yes || yes"), "true");
  EXPECT_EQ(Of("true ? 1 : false ? 2 : 3"), "1");
  EXPECT_EQ(Of("false ? 1 : false ? 2 : 3"), "3");
  EXPECT_EQ(Of("1 + 1 == 2 ? 'a' : 'b'"), "'a'");
}

TEST_F(ExpressionTest, CoalesceBindsTighterThanAllButMembers) {
  EXPECT_EQ(Of("false == m.bias ?? true"), "true");  // not (false == m.bias) ?? true
  EXPECT_EQ(Of("true == m.absent ?? true"), "true");
  EXPECT_EQ(Of("2 * nothing ?? 4"), "8");
  EXPECT_EQ(Of("-m.absent ?? 5"), "-5");
  EXPECT_EQ(Of("m.absent ?? -1"), "-1");
  EXPECT_EQ(Of("nothing ?? m.absent ?? 6 + 1"), "7");
  EXPECT_EQ(Of("m.bias ?? true"), "false");
}

TEST_F(ExpressionTest, IsLazy) {
  EXPECT_EQ(Of("true || absent"), "true");
  EXPECT_EQ(Of("false && absent"), "false");
  EXPECT_EQ(Of("true ? 1 : absent"), "1");
  EXPECT_EQ(Of("1 ?? absent"), "1");
  EXPECT_EQ(environment.lookups.count("absent"), 0u);
}

TEST_F(ExpressionTest, IntegersAreExact) {
  EXPECT_EQ(Of("9223372036854775807 + 0"), "9223372036854775807");
  EXPECT_THAT(Of("9223372036854775807 + 1"), HasSubstr("9223372036854775807 + 1 does not fit 64 bits"));
  EXPECT_THAT(Of("-9223372036854775807 - 2"), HasSubstr("does not fit 64 bits"));
  EXPECT_THAT(Of("4611686018427387904 * 2"), HasSubstr("does not fit 64 bits"));
  EXPECT_THAT(Of("(-9223372036854775807 - 1) / -1"), HasSubstr("does not fit 64 bits"));
  EXPECT_EQ(Of("(-9223372036854775807 - 1) % -1"), "0");
  EXPECT_THAT(Of("abs(-9223372036854775807 - 1)"), HasSubstr("does not fit 64 bits"));
  EXPECT_THAT(Of("9223372036854775808"), HasSubstr("column 1 of `9223372036854775808`"));
  EXPECT_THAT(Of("50 / 4"), HasSubstr("`50 / 4`: 50 / 4 leaves a rest of 2; expected a multiple"));
  EXPECT_THAT(Of("1 / 0"), HasSubstr("1 divided by 0"));
  EXPECT_THAT(Of("1 % 0"), HasSubstr("1 divided by 0"));
  EXPECT_EQ(Of("floor(50 / 4)"), "12");
  EXPECT_EQ(Of("ceil(50 / 4)"), "13");
  EXPECT_EQ(Of("floor(-50 / 4)"), "-13");
  EXPECT_EQ(Of("ceil(-50 / 4)"), "-12");
  EXPECT_THAT(Of("floor(1 / 0)"), HasSubstr("1 divided by 0"));
  EXPECT_EQ(Of("-7 % 4"), "1");
}

TEST_F(ExpressionTest, Floats) {
  EXPECT_EQ(Of("1 / 2.0"), "0.5");
  EXPECT_EQ(Of("1 + 0.5"), "1.5");
  EXPECT_EQ(Of("1e-5"), "1e-05");
  EXPECT_EQ(Of("1e4"), "10000.0");
  EXPECT_EQ(Of("m.theta == 10000"), "true");
  EXPECT_EQ(Of("0.1 + 0.2"), "0.30000000000000004");
  EXPECT_EQ(Of("1e16"), "1e+16");
  EXPECT_EQ(Of("123456789012345680.0"), "1.2345678901234568e+17");
  EXPECT_EQ(Of("0.0001"), "0.0001");
  EXPECT_EQ(Of("floor(2.5)"), "2");
  EXPECT_EQ(Of("ceil(2.5)"), "3");
  EXPECT_EQ(Of("int(-2.5)"), "-2");
  EXPECT_EQ(Of("float(2)"), "2.0");
  EXPECT_EQ(Of("m.big"), "1.8446744073709552e+19");
  EXPECT_THAT(Of("int(m.big)"), HasSubstr("does not fit 64 bits"));
  EXPECT_THAT(Of("1e308 * 10"), HasSubstr("no finite number"));
  EXPECT_THAT(Of("5.5 % 2"), HasSubstr("expected two integers"));
  EXPECT_EQ(Of("ln(1)"), "0.0");
  EXPECT_THAT(Of("ln(0)"), HasSubstr("above 0"));
}

TEST_F(ExpressionTest, Null) {
  EXPECT_EQ(Of("nothing.a.b"), "null");
  EXPECT_EQ(Of("nothing[3]"), "null");
  EXPECT_EQ(Of("m.absent.deeper"), "null");
  EXPECT_EQ(Of("m.none == null"), "true");
  EXPECT_EQ(Of("null != 0"), "true");
  EXPECT_THAT(Of("nothing + 1"), HasSubstr("`nothing + 1`: null and 1; expected two numbers"));
  EXPECT_THAT(Of("nothing < 1"), HasSubstr("have no order"));
  EXPECT_THAT(Of("!nothing"), HasSubstr("`nothing` is null; expected true or false"));
  EXPECT_THAT(Of("nothing ? 1 : 2"), HasSubstr("expected true or false"));
  EXPECT_THAT(Of("m.n_embd.x"), HasSubstr("`m.n_embd` is 48; expected a mapping that may have the key x"));
}

TEST_F(ExpressionTest, ListsAndMappings) {
  EXPECT_EQ(Of("m.list[0]"), "4");
  EXPECT_EQ(Of("m.list[1].a"), "5");
  EXPECT_EQ(Of("m.list[2]"), "null");
  EXPECT_EQ(Of("m.list[-1]"), "null");
  EXPECT_EQ(Of("m[str(i)]"), "'three'");
  EXPECT_EQ(Of("m[i]"), "'three'");
  EXPECT_EQ(Of("[1, 2 + 3, 'a']"), "[1, 5, 'a']");
  EXPECT_EQ(Of("[1, [2]] == [1.0, [2]]"), "true");
  EXPECT_EQ(Of("[1] == [1, 2]"), "false");
  EXPECT_EQ(Of("len([1, 2])"), "2");
  EXPECT_EQ(Of("len('abc')"), "3");
  EXPECT_EQ(Of("get([7, 8], 1)"), "8");
  EXPECT_EQ(Of("range(3)"), "[0, 1, 2]");
  EXPECT_EQ(Of("max([1, 5, 2])"), "5");
  EXPECT_EQ(Of("min(3, 2.5)"), "2.5");
  EXPECT_THAT(Of("range(65537)"), HasSubstr("expected at most 65536"));
  EXPECT_EQ(Of("len(range(65536))"), "65536");
  EXPECT_THAT(Of("max([])"), HasSubstr("an empty list"));
  EXPECT_THAT(Of("m.n_embd[0]"), HasSubstr("expected a list and an integer"));
}

TEST_F(ExpressionTest, Text) {
  EXPECT_EQ(Of("'it''s'"), "'it's'");
  EXPECT_EQ(Of("'a' + 'b'"), "'ab'");
  EXPECT_EQ(Of("'a' < 'b'"), "true");
  EXPECT_EQ(Of("'a' == 1"), "false");
  EXPECT_EQ(Of("starts('abc', 'ab')"), "true");
  EXPECT_EQ(Of("matches('abc', 'a.c')"), "true");
  EXPECT_EQ(Of("matches('abcd', 'a.c')"), "false");
  EXPECT_EQ(Of("lower('AbC')"), "'abc'");
  EXPECT_EQ(Of("str(4) + str(true) + str(0.5)"), "'4true0.5'");
  EXPECT_EQ(Of("int('12') + 1"), "13");
  EXPECT_EQ(Of("float('1e3')"), "1000.0");
  EXPECT_THAT(Of("int('12a')"), HasSubstr("'12a' is no number"));
  EXPECT_THAT(Of("'a' + 1"), HasSubstr("expected two numbers"));
}

TEST_F(ExpressionTest, NamesOfSourceFunctionsAreTemplates) {
  EXPECT_EQ(Of("has('layers.{i - 1}.{n}.weight')"), "'has:layers.2.q.weight'");
  EXPECT_EQ(Of("dim('a', -1)"), "'dim:a:-1'");
  EXPECT_EQ(Of("has(n)"), "'has:q'");
  EXPECT_EQ(Of("any('a{2}')"), "'any:a{2}'");  // a pattern is none
  EXPECT_EQ(Of("count('layers.{#}.{n}.w')"), "'count:layers.:.q.w'");
  EXPECT_EQ(Of("count('a.{#}.b.{#}')"), "'count:a.:.b.:'");
  EXPECT_THAT(Of("count('layers.w')"), HasSubstr("no {#}"));
  EXPECT_THAT(Of("count(n)"), HasSubstr("expected the template of count written as text"));
  EXPECT_THAT(Of("has('a{i')"), HasSubstr("column 9 of `has('a{i')`: the end; expected }"));
  EXPECT_EQ(Of("source_name()"), "'source_name'");
}

TEST_F(ExpressionTest, Templates) {
  EXPECT_EQ(Filled("model.layers.{i}.{n}.weight"), "model.layers.3.q.weight");
  EXPECT_EQ(Filled("mid.block_{i + 1}"), "mid.block_4");
  EXPECT_EQ(Filled("a{{b}}{i}"), "a{b}3");
  EXPECT_EQ(Filled("{yes ? 'it''s' : 'no'}"), "it's");
  EXPECT_EQ(Filled(""), "");
  EXPECT_EQ(Filled("\\d{{2}}\\.{m.name + '.b'}", true), "\\d{2}\\.x\\.b");
  EXPECT_THAT(Filled("a{m}"), HasSubstr("`m` in `a{m}` is a mapping; expected text or a number"));
  EXPECT_THAT(Filled("a{nothing}"), HasSubstr("is null"));
  EXPECT_THAT(Filled("a{"), HasSubstr("column 3 of `a{`: the end; expected a value"));
  EXPECT_THAT(Filled("a{i b}"),
              HasSubstr("column 5 of `a{i b}`: b; expected } at the end of what is filled in"));
  EXPECT_THAT(Filled("a{#}"), HasSubstr("#; expected a value"));
}

TEST_F(ExpressionTest, ParseErrorsHaveTheColumn) {
  EXPECT_THAT(Of("1 +"), HasSubstr("column 4 of `1 +`: the end; expected a value"));
  EXPECT_THAT(Of(""), HasSubstr("the end; expected a value"));
  EXPECT_THAT(Of("(1"), HasSubstr("expected )"));
  EXPECT_THAT(Of("1 2"), HasSubstr("column 3 of `1 2`: 2; expected an operator or the end"));
  EXPECT_THAT(Of("a = 1"), HasSubstr("equality is =="));
  EXPECT_THAT(Of("a & b"), HasSubstr("and is &&"));
  EXPECT_THAT(Of("a | b"), HasSubstr("or is ||"));
  EXPECT_THAT(Of("\"a\""), HasSubstr("text is written 'text'"));
  EXPECT_THAT(Of("'a"), HasSubstr("text without an end"));
  EXPECT_THAT(Of("1 < 2 < 3"), HasSubstr("join two with &&"));
  EXPECT_THAT(Of("nofunction(1)"), HasSubstr("no function nofunction; expected one of has, any"));
  EXPECT_THAT(Of("dim('a')"), HasSubstr("dim of 1 arguments; expected 2"));
  EXPECT_THAT(Of("1x"), HasSubstr("a letter in a number"));
  EXPECT_THAT(Of("a.1"), HasSubstr("expected a key after the dot"));
  EXPECT_THAT(Of("\x01"), HasSubstr("a byte that no expression has"));
  EXPECT_THAT(Of("a ? b"), HasSubstr("expected :"));
  EXPECT_THAT(Of("[1 2]"), HasSubstr("expected ,"));
}

TEST_F(ExpressionTest, Bounds) {
  EXPECT_EQ(Of(std::string(63, '(') + "1" + std::string(63, ')')), "1");
  EXPECT_THAT(Of(std::string(64, '(') + "1" + std::string(64, ')')),
              HasSubstr("nested deeper than 64 levels"));
  EXPECT_THAT(Of(std::string(100, '-') + "1"), HasSubstr("nested deeper"));
  std::string sum = "1";
  for (int n = 0; n < 100; ++n) sum += "+1";
  EXPECT_THAT(Of(sum), HasSubstr("nested deeper"));
  EXPECT_THAT(Of(std::string(5000, ' ') + "1"), HasSubstr("expected an expression of at most 4096"));
  EXPECT_EQ(Of(std::string(4095, ' ') + "1"), "1");
  environment.names["text"] = Value(std::string(kTextBytesMax, 'x'));
  EXPECT_THAT(Of("text + 'x'"), HasSubstr("longer than 65536"));
  EXPECT_THAT(Filled("{text}x"), HasSubstr("longer than 65536"));
  environment.bounds().steps = 3;
  EXPECT_EQ(Of("1 + 2"), "3");
  environment.bounds().steps = 2;
  EXPECT_THAT(Of("1 + 2"), HasSubstr("too many steps"));
}

TEST_F(ExpressionTest, ComparingListsThatShareTakesSteps) {
  Value list(Value::List{Value(int64_t{1})});
  for (int n = 0; n < 40; ++n) list = Value(Value::List{list, list});
  environment.names["a"] = list;
  EXPECT_THAT(Of("a == a"), HasSubstr("too many steps"));
}

TEST_F(ExpressionTest, Observes) {
  const auto observe = [&](const char* text) { return Expression::Parse(text)->Observe(environment); };
  EXPECT_THAT(observe("m.n_embd % i == 0"), ElementsAre("m.n_embd % i is 0", "m.n_embd is 48", "i is 3"));
  EXPECT_THAT(observe("has('a.{i}') && m.bias && absent"),
              ElementsAre("has('a.{i}') is 'has:a.3'", "m.bias is false"));
}

TEST_F(ExpressionTest, Names) {
  const auto expression = *Expression::Parse("options.act == n ? [i] : m.list[i]");
  std::vector<std::string> names;
  for (const NameUse& use : expression.Names())
    names.push_back(use.member.empty() ? use.name : use.name + "." + use.member);
  EXPECT_THAT(names, ElementsAre("options", "n", "i", "m", "i", "options.act", "m.list"));
  EXPECT_EQ(Expression::Parse(" C ")->AsPlainName(), "C");
  EXPECT_EQ(Expression::Parse("C + 0")->AsPlainName(), std::nullopt);
  EXPECT_EQ(Expression::Parse("m.C")->AsPlainName(), std::nullopt);
}

TEST_F(ExpressionTest, Ranges) {
  EXPECT_EQ(Expression::ParseRange("L")->size(), 1u);
  const auto range = *Expression::ParseRange("yes ? 1 : 2 : i + 4");
  ASSERT_EQ(range.size(), 2u);
  EXPECT_EQ(range[0].Evaluate(environment)->Describe(), "1");
  EXPECT_EQ(range[1].Evaluate(environment)->Describe(), "7");
  EXPECT_FALSE(Expression::ParseRange("1:"));
  EXPECT_FALSE(Expression::ParseRange("1:2:3"));
}

}  // namespace
}  // namespace weightfs::family
