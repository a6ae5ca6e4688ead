#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "convert/family/family.h"
#include "convert/family/table.h"
#include "convert/family/table_loader.h"
#include "tests/support/malformed_corpus.h"

namespace weightfs::family {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

/// A table named `name` with `members` besides what every table needs.
std::string Table(const std::string& name, const std::string& members) {
  std::string text = R"({"family": ")" + name + R"(", "title": "t", "source": "s", "target": "hf")";
  if (!members.contains("\"detect\"")) text += R"_(, "detect": ["has('w')"])_";
  if (!members.contains("\"tensors\"")) text += R"(, "tensors": [{"to": "w", "from": "w", "do": "a*"}])";
  return text + (members.empty() ? "" : ", ") + members + "}";
}

Result<std::vector<TablePtr>> Load(const std::string& text, std::span<const TablePtr> known = {}) {
  const TableText table{"rules.json", text};
  return LoadTables({&table, 1}, known, true);
}
/// The message of the error of a table with these members.
std::string ErrorOf(const std::string& members) {
  const auto tables = Load(Table("x", members));
  if (tables) return "no error";
  EXPECT_EQ(tables.error().code, ErrorCode::kInvalidArgument);
  return tables.error().message;
}

TEST(LoaderTest, MessagesHaveFileLineAndKey) {
  const auto tables = Load(
      "{\n\"family\": \"x\",\n\"title\": \"t\", \"source\": \"s\", \"target\": \"hf\",\n"
      "\"detect\": [\"true\",\n\"1 +\"]}");
  ASSERT_FALSE(tables);
  EXPECT_EQ(tables.error().message, "rules.json:5: detect[1]: column 4 of `1 +`: the end; expected a value");
}

TEST(LoaderTest, Texts) {
  EXPECT_THAT(ErrorOf(R"("let": {"a": 1.5})"), HasSubstr("let.a: a float; expected an expression as text"));
  EXPECT_THAT(ErrorOf(R"("lets": {})"),
              HasSubstr("rules.json:1: lets: an unknown key; expected one of family, title"));
  EXPECT_EQ(Load(Table("x", R"("lets": {})")).error().remedy, "Did you mean let?");
  EXPECT_THAT(ErrorOf(R"("let": {"a-b": "1"})"), HasSubstr("let.a-b: the name a-b; expected letters"));
  EXPECT_THAT(ErrorOf(R"("let": {"options": "1"})"), HasSubstr("the name options"));
  EXPECT_THAT(ErrorOf(R"("let": {"a": "1"}, "let": {"b": "1"})"),
              HasSubstr("let: this key stands on line 1 already"));
  EXPECT_THAT(ErrorOf(R"("let": {"a": "nothing"})"),
              HasSubstr("let.a: `nothing` uses nothing; expected an index"));
  EXPECT_THAT(ErrorOf(R"("let": {"a": "b", "b": "c + 1", "c": "a"})"),
              HasSubstr("values that use one another in a circle: a -> b -> c -> a"));
  EXPECT_THAT(ErrorOf(R"("let": {"a": "a"})"), HasSubstr("a circle: a -> a"));
  // What no source changes fails before there is one.
  EXPECT_THAT(ErrorOf(R"("let": {"a": "9223372036854775807 + 1"})"),
              HasSubstr("let.a: `9223372036854775807 + 1`: "));
  EXPECT_THAT(ErrorOf(R"("let": {"a": "1"}, "check": ["a > 0", "1 / (2 - 2) > 0"])"), HasSubstr("check[1]"));
  EXPECT_THAT(ErrorOf(R"_("names": [["(", ""]])_"), HasSubstr("names[0][0]: the pattern ( does not compile"));
  EXPECT_THAT(ErrorOf(R"("names": [["a", "\\2"]])"), HasSubstr("names[0][1]: \\2"));
  EXPECT_THAT(ErrorOf(R"("names": [["a"]])"), HasSubstr("names[0]: 1 items"));
  EXPECT_THAT(ErrorOf(R"_("detect": ["any('(a{1000}){1000}')"])_"),
              HasSubstr("detect[0]: the pattern (a{1000}){1000} does not"));
  EXPECT_THAT(ErrorOf(R"("metadata": {"m": []})"), HasSubstr("metadata.m: no place"));
  EXPECT_THAT(ErrorOf(R"("metadata": {"m": ["a//b"]})"), HasSubstr("the place a//b"));
  EXPECT_THAT(ErrorOf(R"("weights": ["a/b.pt"])"), HasSubstr("weights[0]: the name a/b.pt"));
  EXPECT_THAT(ErrorOf(R"("weights": ["{part}{number}"])"), HasSubstr("at most one of {part} and {number}"));
  EXPECT_THAT(ErrorOf(R"("check": [{"why": "x"}])"), HasSubstr("check[0]: no key that"));
  EXPECT_THAT(ErrorOf(R"("options": {"a": {}})"), HasSubstr("options.a: no default"));
  EXPECT_THAT(ErrorOf(R"("options": {"a": {"default": "x", "values": ["y"]}})"),
              HasSubstr("the default 'x' is not among"));
  EXPECT_THAT(ErrorOf(R"("options": {"trim_vocab": {"default": 1}})"), HasSubstr("of the command line"));
  EXPECT_THAT(ErrorOf(R"("let": {"a": "options.b"})"),
              HasSubstr("uses the option b; expected one of options"));
  EXPECT_THAT(ErrorOf(R"("let": {"n": 18446744073709551615})"), HasSubstr("expected an integer of 64 bits"));
  EXPECT_THAT(ErrorOf(R"("reverse": {"let": {"a": "m.x"}}, "metadata": {"m": ["."]})"),
              HasSubstr("reverse.let.a"));
}

TEST(LoaderTest, Lines) {
  const auto line = [](const std::string& text) { return ErrorOf("\"tensors\": [" + text + "]"); };
  EXPECT_THAT(line(R"({"to": "a", "from": "b"})"),
              HasSubstr("tensors[0]: expected the keys to, from and do"));
  EXPECT_THAT(line(R"({"to": "a", "from": "b", "do": "C"})"),
              HasSubstr("`C` has the axis C, whose size nothing gives"));
  EXPECT_THAT(line(R"_({"to": "a", "from": "b", "do": "a* ("})_"),
              HasSubstr("tensors[0].do: column 5 of `a* (`"));
  EXPECT_THAT(line(R"({"to": "a{i}", "from": "b", "do": "..."})"), HasSubstr("tensors[0].to: `a{i}` uses i"));
  EXPECT_THAT(line(R"({"to": "a", "from": ["b", "c"], "do": "..."})"), HasSubstr("without the key join"));
  EXPECT_THAT(line(R"({"to": "a", "from": "b", "join": 0, "do": "..."})"),
              HasSubstr("join beside a single source"));
  EXPECT_THAT(line(R"({"to": "a", "from": ["b"], "join": "x", "do": "..."})"),
              HasSubstr("tensors[0].join: expected a dim"));
  EXPECT_THAT(line(R"({"to": "a", "from": "b", "do": ["..."], "at": {}})"),
              HasSubstr("beside a list of steps"));
  EXPECT_THAT(line(R"({"to": "a", "from": "b", "do": "...", "at": {"s": "0"}})"), HasSubstr("`at` names s"));
  EXPECT_THAT(line(R"({"to": "a", "from": "b", "do": "s*", "at": {"s": ["0", "x"]}})"),
              HasSubstr("`x` uses x"));
  EXPECT_THAT(line(R"({"to": "a", "from": "b", "do": "...", "scale": "2"})"),
              HasSubstr("a string; expected a number"));
  EXPECT_THAT(line(R"({"to": "a", "from": "b", "do": "...", "trims": ""})"),
              HasSubstr("expected the reason"));
  EXPECT_THAT(line(R"({"to": "a", "fill": 0, "shape": ["C"]})"),
              HasSubstr("expected the keys to, fill, shape and dtype"));
  EXPECT_THAT(line(R"({"drop": "a"})"), HasSubstr("no key why"));
  EXPECT_THAT(line(R"_({"drop": "(", "why": "x"})_"),
              HasSubstr("tensors[0].drop: the pattern ( does not compile"));
  EXPECT_THAT(line(R"({"keep": "a", "to": "\\1"})"), HasSubstr("tensors[0].to"));
  EXPECT_THAT(line(R"({"for": {"i j": [[1]]}, "to": "a", "from": "b", "do": "..."})"),
              HasSubstr("tensors[0].for.i j[0]: 1 values; expected 2"));
  EXPECT_THAT(line(R"({"for": {"i": "2", "n i": [[1, 2]]}, "to": "a", "from": "b", "do": "..."})"),
              HasSubstr("a second index i"));
  EXPECT_THAT(line(R"({"for": {"i": 1.5}, "to": "a", "from": "b", "do": "..."})"),
              HasSubstr("expected a count as text"));
  EXPECT_THAT(line(R"({"for": {"i": ["1"]}, "with": {"C": "{j}"}, "to": "a", "from": "b", "do": "..."})"),
              HasSubstr("with.C: `{j}` uses j"));
}

TEST(LoaderTest, Surroundings) {
  EXPECT_EQ(ErrorOf(R"("folder": "part")"), "no error");
  for (const std::string name : {"", ".", "..", ".a", "a/b", "/a", "a/"})
    EXPECT_THAT(ErrorOf("\"folder\": \"" + name + "\""), HasSubstr("expected the name of a folder")) << name;
  EXPECT_THAT(ErrorOf(R"("notes": [{"when": "true"}])"),
              HasSubstr("notes[0]: a note; expected the keys when and say"));
  EXPECT_THAT(ErrorOf(R"("notes": [{"when": "a", "say": "x"}])"), HasSubstr("notes[0].when: `a` uses a"));
  EXPECT_THAT(ErrorOf(R"("notes": [{"when": "true", "say": "{a}"}])"),
              HasSubstr("notes[0].say: `{a}` uses a"));
  const auto pipeline = [](const std::string& text) {
    return ErrorOf(R"("pipeline": {"needs": ["part"], )" + text + "}");
  };
  EXPECT_EQ(
      pipeline(R"("folders": {"part": "p-1"}, "options": {"part": {"k": "1"}}, "files": {"a/b.json": {}})"),
      "no error");
  EXPECT_THAT(ErrorOf(R"("pipeline": {"files": {}})"), HasSubstr("pipeline: no key needs"));
  EXPECT_THAT(ErrorOf(R"("pipeline": {"needs": ["../a"]})"), HasSubstr("pipeline.needs[0]"));
  EXPECT_THAT(pipeline(R"("folders": {"other": "a"})"), HasSubstr("folders.other: other is not among needs"));
  EXPECT_THAT(pipeline(R"("folders": {"part": "a/b"})"), HasSubstr("expected the name of a folder"));
  EXPECT_THAT(pipeline(R"("options": {"part": {"k": "a"}})"), HasSubstr("options.part.k: `a` uses a"));
  EXPECT_THAT(pipeline(R"("files": {"a/../b": {}})"),
              HasSubstr("expected the name of a file below the folder"));
  EXPECT_THAT(pipeline(R"("files": {"a//b": {}})"),
              HasSubstr("expected the name of a file below the folder"));
  EXPECT_THAT(pipeline(R"("files": {"a": {"k": "=a"}})"), HasSubstr("`a` uses a"));
}

TEST(LoaderTest, Config) {
  EXPECT_THAT(ErrorOf(R"("config": {"a": "=1 +"})"), HasSubstr("config.a: column 4 of `1 +`"));
  EXPECT_THAT(ErrorOf(R"("config": {"a": {"when": "true"}})"), HasSubstr("config.a: no key value"));
  EXPECT_THAT(ErrorOf(R"("config": {"a": {"when": "true", "value": 1, "other": 2}})"),
              HasSubstr("config.a.other: an unknown"));
  EXPECT_THAT(ErrorOf(R"("config": {"a": [1, {"b": "=x"}]})"), HasSubstr("config.a[1].b: `x` uses x"));
  EXPECT_EQ(ErrorOf(R"("config": {"a": {"for": {"i": "3"}, "value": "=i"}})"), "no error");
  EXPECT_EQ(ErrorOf(R"("config": {"a": "==x", "b": null})"), "no error");
}

TEST(LoaderTest, NeedsWhatATableNeeds) {
  EXPECT_THAT(Load(R"({"family": "x"})").error().message, HasSubstr("no key title"));
  EXPECT_TRUE(Load(R"({"family": "x", "abstract": true})"));
  EXPECT_THAT(Load(Table("x", R"("detect": [])")).error().message, HasSubstr("no detect"));
  EXPECT_THAT(Load(Table("x", R"("tensors": [])")).error().message, HasSubstr("no tensors"));
  EXPECT_THAT(Load(Table("Not a name", "")).error().message, HasSubstr("family: the name Not a name"));
  EXPECT_THAT(Load(Table("auto", "")).error().message, HasSubstr("not auto or none"));
  EXPECT_THAT(Load("[]").error().message, HasSubstr("rules.json:1: a list; expected an object"));
  EXPECT_THAT(Load(R"({"families": [{}]})").error().message, HasSubstr("families[0]: no key family"));
  EXPECT_THAT(Load("{\"families\": [" + Table("x", "") + ",\n" + Table("x", "") + "]}").error().message,
              HasSubstr("rules.json:2: families[1].family: a second table x; the first begins at "
                        "rules.json:1: families[0]"));
  EXPECT_THAT(Load("{\n\n  oops").error().message, StartsWith("rules.json:3: not valid JSON"));
}

TEST(LoaderTest, Extends) {
  const std::string base = Table("base", R"("let": {"a": "1", "b": "2"}, "config": {"x": 1, "y": 2, "z": 3},
    "names": [["p", ""]], "check": ["a == 1"], "metadata": {"m": ["."]}, "reverse": {"let": {"r": "1"}})");
  const std::string child = Table("child", R"("extends": "base", "let": {"b": "3", "c": "b"},
    "config": {"y": null, "x": 7, "n": null}, "names": [["q", ""]], "check": ["b == 3"],
    "tensors": [{"to": "v", "from": "v", "do": "..."}])");
  const auto tables = Load("{\"families\": [" + child + "," + base + "]}");
  ASSERT_TRUE(tables) << tables.error().message;
  const FamilyTable& table = *(*tables)[0];
  EXPECT_THAT(table.ancestors, ElementsAre("base"));
  ASSERT_EQ(table.lets.items.size(), 3u);
  EXPECT_EQ(table.lets.Find("a")->text(), "1");
  EXPECT_EQ(table.lets.Find("b")->text(), "3");
  ASSERT_EQ(table.config.items.size(), 3u);
  EXPECT_EQ(table.config.items[0].first, "x");
  EXPECT_EQ(table.config.items[1].first, "z");
  EXPECT_EQ(table.config.items[2].first, "n");  // null, as nothing of this name was inherited
  EXPECT_EQ(std::get<Value>(table.config.items[0].second->value).Describe(), "7");
  EXPECT_EQ(table.names.size(), 2u);
  EXPECT_EQ(table.names[1].pattern.text, "q");
  EXPECT_EQ(table.checks.size(), 2u);
  EXPECT_EQ(table.detect.size(), 1u);
  EXPECT_EQ(table.lines.size(), 2u);
  EXPECT_EQ(table.reverse_lets.items.size(), 1u);

  const std::string grandchild = Table("grandchild", R"("extends": "child")");
  const auto more = Load(grandchild, *tables);
  ASSERT_TRUE(more);
  EXPECT_THAT((*more)[0]->ancestors, ElementsAre("child", "base"));
  EXPECT_THAT(Load(grandchild).error().message, HasSubstr("extends: no table child"));
  EXPECT_THAT(Load(Table("x", R"("extends": "x")")).error().message, HasSubstr("x extends itself"));
  EXPECT_THAT(Load("{\"families\": [" + Table("a", R"("extends": "b")") + "," +
                   Table("b", R"("extends": "a")") + "]}")
                  .error()
                  .message,
              HasSubstr("extends itself, directly or by others"));
  EXPECT_THAT(ErrorOf(R"("let": {"a": null})"), HasSubstr("none of this name is inherited"));
}

TEST(LoaderTest, AnAbstractTableMayLackWhatOthersDefine) {
  const auto tables = Load("{\"families\": [" + Table("base", R"("abstract": true, "let": {"a": "b"})") +
                           "," + Table("good", R"("extends": "base", "let": {"b": "1"})") + "]}");
  EXPECT_TRUE(tables) << tables.error().message;
  EXPECT_THAT(Load("{\"families\": [" + Table("base", R"("abstract": true, "let": {"a": "b"})") + "," +
                   Table("bad", R"("extends": "base")") + "]}")
                  .error()
                  .message,
              HasSubstr("families[0].let.a: `b` uses b"));
}

TEST(LoaderTest, Limits) {
  Limits limits;
  const std::string text = Table("x", "");
  const TableText table{"rules.json", text};
  limits.family_rules_bytes_max = text.size();
  EXPECT_TRUE(LoadTables({&table, 1}, {}, true, limits));
  limits.family_rules_bytes_max = text.size() - 1;
  const auto refused = LoadTables({&table, 1}, {}, true, limits);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(refused.error().message, HasSubstr("bytes of JSON; expected at most"));
}

/// The keys that the loader names when it meets one that it does not know, sorted.
std::vector<std::string> KnownKeys(const std::string& members) {
  const auto tables = Load(Table("x", members));
  if (tables) return {"no error"};
  const std::string& message = tables.error().message;
  const std::string begin = "zzz: an unknown key; expected one of ";
  const size_t at = message.find(begin);
  if (at == std::string::npos) return {message};
  std::vector<std::string> keys;
  for (size_t from = at + begin.size(); from < message.size();) {
    const size_t end = std::min(message.find(", ", from), message.size());
    keys.push_back(message.substr(from, end - from));
    from = end + 2;
  }
  std::ranges::sort(keys);
  return keys;
}

TEST(SchemaTest, IsInStepWithTheLoader) {
  const auto schema = nlohmann::json::parse(testing::ReadFile(WEIGHTFS_SCHEMA_FILE));
  const auto& defs = schema.at("$defs");
  const auto keys = [&](const nlohmann::json& object) {
    std::vector<std::string> names;
    for (const auto& [name, unused] : object.at("properties").items()) names.push_back(name);
    return names;
  };
  const auto line = [](const std::string& keys_and_values) {
    return KnownKeys("\"tensors\": [{" + keys_and_values + ", \"zzz\": 1}]");
  };
  EXPECT_EQ(KnownKeys("\"zzz\": 1"), keys(defs.at("table")));
  EXPECT_EQ(line(R"("to": "a", "from": "a", "do": "...")"), keys(defs.at("rearrangement")));
  EXPECT_EQ(line(R"("fill": 0)"), keys(defs.at("fill")));
  EXPECT_EQ(line(R"("drop": "a")"), keys(defs.at("drop")));
  EXPECT_EQ(line(R"("keep": "a")"), keys(defs.at("keep")));
  EXPECT_EQ(KnownKeys(R"("options": {"a": {"zzz": 1}})"), keys(defs.at("option")));
  EXPECT_EQ(KnownKeys(R"("check": [{"zzz": 1}])"), keys(defs.at("condition").at("oneOf").at(1)));
  EXPECT_EQ(KnownKeys(R"("reverse": {"zzz": 1})"), keys(defs.at("table").at("properties").at("reverse")));
  const auto& properties = defs.at("table").at("properties");
  EXPECT_EQ(KnownKeys(R"("notes": [{"zzz": 1}])"), keys(properties.at("notes").at("items")));
  EXPECT_EQ(KnownKeys(R"("pipeline": {"zzz": 1})"), keys(properties.at("pipeline")));
  EXPECT_EQ(KnownKeys(R"("tensors": [{"to": "a", "from": "a", "do": [{"zzz": 1}]}])"),
            keys(defs.at("do").at("oneOf").at(1).at("items").at("oneOf").at(1)));
  EXPECT_EQ(KnownKeys(R"("tensors": [{"to": "a", "from": [{"zzz": 1}], "join": 0, "do": "..."}])"),
            keys(defs.at("rearrangement")
                     .at("properties")
                     .at("from")
                     .at("oneOf")
                     .at(1)
                     .at("items")
                     .at("oneOf")
                     .at(1)));
  EXPECT_EQ(KnownKeys(R"("config": {"a": {"when": "true", "zzz": 1}})"),
            keys(defs.at("value").at("oneOf").at(2)));
  EXPECT_EQ(KnownKeys(R"("config": {"a": {"for": {}, "zzz": 1}})"), keys(defs.at("value").at("oneOf").at(3)));
}

TEST(RegistryTest, AddsAndReplaces) {
  auto registry = FamilyRegistry::BuiltIn();
  ASSERT_TRUE(registry) << registry.error().message;
  const size_t built_in = registry->tables().size();
  ASSERT_TRUE(registry->AddRules(Table("zz-mine", R"("weights": ["mine-{number}.pt"])"), "mine.json"));
  EXPECT_EQ(registry->tables().size(), built_in + 1);
  ASSERT_NE(registry->Find("zz-mine"), nullptr);
  EXPECT_TRUE(registry->Find("zz-mine")->is_user);
  EXPECT_THAT(registry->WeightPatterns(), ::testing::Contains("mine-{number}.pt"));
  ASSERT_TRUE(registry->AddRules(Table("zz-mine", R"("weights": ["other.pt"])"), "mine.json"));
  EXPECT_EQ(registry->tables().size(), built_in + 1);
  EXPECT_THAT(registry->WeightPatterns(), ::testing::Not(::testing::Contains("mine-{number}.pt")));
  EXPECT_EQ(registry->Find("no-such-family"), nullptr);
  EXPECT_FALSE(registry->AddRules("{", "mine.json"));
  EXPECT_EQ(registry->tables().size(), built_in + 1);
}

TEST(RegistryTest, MalformedRules) {
  const std::filesystem::path folder = std::filesystem::path(WEIGHTFS_MALFORMED_DIR) / "family_rules";
  for (const testing::MalformedCase& malformed : testing::LoadMalformedCases(folder)) {
    FamilyRegistry registry;
    const Status status = registry.AddRules(testing::ReadFile(malformed.path), "rules.json");
    ASSERT_FALSE(status) << malformed.path;
    EXPECT_EQ(ErrorCodeName(status.error().code), malformed.code) << malformed.path;
    EXPECT_THAT(status.error().message, HasSubstr(malformed.message_contains)) << malformed.path;
    EXPECT_THAT(status.error().message, StartsWith("rules.json:")) << malformed.path;
  }
}

}  // namespace
}  // namespace weightfs::family
