#include "convert/family/schema_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "convert/family/pattern.h"

namespace weightfs::family {
namespace {

using Kind = JsonNode::Kind;

std::unexpected<Error> FailAt(const Place& place, const Error& error) {
  return place.Fail(error.message, error.remedy);
}

/// The patterns that an expression writes down must compile now, not when it is evaluated.
Status CheckLiteralPatterns(const Expression& expression) {
  for (const std::string& pattern : expression.LiteralPatterns()) WEIGHTFS_CHECK(CompilePattern(pattern));
  return {};
}

}  // namespace

Result<std::string> SchemaReader::Text(const JsonNode& node) const {
  WEIGHTFS_CHECK(document_.Expect(node, Kind::kString));
  return node.text;
}

Result<bool> SchemaReader::Boolean(const JsonNode& node) const {
  WEIGHTFS_CHECK(document_.Expect(node, Kind::kBoolean));
  return node.boolean;
}

Result<double> SchemaReader::Number(const JsonNode& node) const {
  if (node.Is(Kind::kInteger)) return static_cast<double>(node.integer);
  if (node.Is(Kind::kFloat)) return node.number;
  return At(node).Fail(fmt::format("{}; expected a number", KindName(node.kind)));
}

Result<Value> SchemaReader::Scalar(const JsonNode& node) const {
  switch (node.kind) {
    case Kind::kNull:
      return Value();
    case Kind::kBoolean:
      return Value(node.boolean);
    case Kind::kInteger:
      return Value(node.integer);
    case Kind::kFloat:
      return Value(node.number);
    case Kind::kString:
      return Value(node.text);
    default:
      return At(node).Fail(
          fmt::format("{}; expected text, a number, true, false or null", KindName(node.kind)));
  }
}

Status SchemaReader::CheckName(const JsonNode& node, std::string_view name) const {
  const auto is_letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; };
  const bool is_name =
      !name.empty() && name.size() <= 64 && is_letter(name[0]) &&
      std::ranges::all_of(name, [&](char c) { return is_letter(c) || (c >= '0' && c <= '9'); });
  const bool is_word = name == "true" || name == "false" || name == "null" || name == "options";
  if (is_name && !is_word) return {};
  return At(node).Fail(
      fmt::format("the name {}; expected letters, digits and _, and none of true, false, null, options",
                  name.substr(0, 80)));
}

Result<PlacedExpression> SchemaReader::ReadExpression(const JsonNode& node) const {
  const Place place = At(node);
  const std::string text = node.Is(Kind::kInteger) ? std::to_string(node.integer) : node.text;
  if (!node.Is(Kind::kInteger) && !node.Is(Kind::kString))
    return place.Fail(fmt::format("{}; expected an expression as text", KindName(node.kind)));
  auto expression = Expression::Parse(text);
  if (!expression) return FailAt(place, expression.error());
  if (const Status checked = CheckLiteralPatterns(*expression); !checked)
    return FailAt(place, checked.error());
  return PlacedExpression{*std::move(expression), place};
}

Result<PlacedExpression> SchemaReader::ReadTemplate(const JsonNode& node, bool is_pattern) const {
  WEIGHTFS_TRY(const std::string text, Text(node));
  auto expression = Expression::ParseTemplate(text, is_pattern);
  if (!expression) return FailAt(At(node), expression.error());
  return PlacedExpression{*std::move(expression), At(node)};
}

Result<PlacedPattern> SchemaReader::ReadPattern(const JsonNode& node) const {
  WEIGHTFS_TRY(const std::string text, Text(node));
  auto pattern = CompilePattern(text);
  if (!pattern) return FailAt(At(node), pattern.error());
  return PlacedPattern{text, *std::move(pattern), At(node)};
}

Result<Condition> SchemaReader::ReadCondition(const JsonNode& node) const {
  Condition condition;
  if (!node.Is(Kind::kObject)) {
    WEIGHTFS_TRY(condition.that, ReadExpression(node));
    return condition;
  }
  WEIGHTFS_CHECK(document_.ExpectKeys(node, {"that", "why"}));
  const JsonNode* that = node.Find("that");
  if (that == nullptr) return At(node).Fail("no key that; expected the condition there");
  WEIGHTFS_TRY(condition.that, ReadExpression(*that));
  if (const JsonNode* why = node.Find("why")) {
    WEIGHTFS_TRY(condition.why, Text(*why));
  }
  return condition;
}

Result<std::vector<Expression>> SchemaReader::ReadRange(const JsonNode& node) const {
  if (node.Is(Kind::kInteger)) {
    WEIGHTFS_TRY(PlacedExpression count, ReadExpression(node));
    return std::vector<Expression>{std::move(count.expression)};
  }
  WEIGHTFS_TRY(const std::string text, Text(node));
  auto range = Expression::ParseRange(text);
  if (!range) return FailAt(At(node), range.error());
  return range;
}

Result<Indices> SchemaReader::ReadIndexGroup(const JsonNode& node) const {
  Indices indices;
  indices.place = At(node);
  for (size_t begin = 0; begin <= node.key.size();) {
    const size_t end = std::min(node.key.find(' ', begin), node.key.size());
    indices.names.push_back(node.key.substr(begin, end - begin));
    WEIGHTFS_CHECK(CheckName(node, indices.names.back()));
    begin = end + 1;
  }
  if (node.Is(Kind::kString) || node.Is(Kind::kInteger)) {
    WEIGHTFS_TRY(indices.range, ReadRange(node));
    return indices;
  }
  if (!node.Is(Kind::kArray))
    return At(node).Fail(
        fmt::format("{}; expected a count as text, or a list of values", KindName(node.kind)));
  for (const JsonNode* item : node.items) {
    std::vector<Value>& tuple = indices.tuples.emplace_back();
    if (!item->Is(Kind::kArray)) {
      WEIGHTFS_TRY(tuple.emplace_back(), Scalar(*item));
    } else {
      for (const JsonNode* value : item->items) {
        WEIGHTFS_TRY(tuple.emplace_back(), Scalar(*value));
      }
    }
    if (tuple.size() != indices.names.size())
      return At(*item).Fail(fmt::format("{} values; expected {}, one for each of {}", tuple.size(),
                                        indices.names.size(), node.key));
  }
  return indices;
}

Result<std::vector<Indices>> SchemaReader::ReadIndices(const JsonNode& node) const {
  constexpr size_t kGroupsMax = 8;
  WEIGHTFS_CHECK(document_.Expect(node, Kind::kObject));
  std::vector<Indices> groups;
  std::vector<std::string> names;
  for (const JsonNode* item : node.items) {
    WEIGHTFS_TRY(groups.emplace_back(), ReadIndexGroup(*item));
    for (const std::string& name : groups.back().names) {
      if (std::ranges::find(names, name) != names.end())
        return At(*item).Fail(fmt::format("a second index {}; expected every name once", name));
      names.push_back(name);
    }
  }
  if (groups.size() > kGroupsMax)
    return At(node).Fail(fmt::format("{} keys; expected at most {}", groups.size(), kGroupsMax));
  return groups;
}

Result<std::vector<MetadataPlace>> SchemaReader::ReadMetadataRoot(const JsonNode& node) const {
  std::vector<const JsonNode*> items = node.items;
  if (node.Is(Kind::kString))
    items = {&node};
  else
    WEIGHTFS_CHECK(document_.Expect(node, Kind::kArray));
  if (items.empty()) return At(node).Fail("no place; expected one at least");
  std::vector<MetadataPlace> places;
  for (const JsonNode* item : items) {
    MetadataPlace place;
    WEIGHTFS_TRY(place.text, Text(*item));
    for (size_t begin = 0; begin <= place.text.size();) {
      const size_t end = std::min(place.text.find('/', begin), place.text.size());
      std::string key = place.text.substr(begin, end - begin);
      if (key.empty())
        return At(*item).Fail(
            fmt::format("the place {}; expected keys with / between them, or .", item->text));
      const bool is_file = begin == 0 && (key.ends_with(".json") || key.ends_with(".yaml") ||
                                          key.ends_with(".yml") || key.ends_with(".toml"));
      if (is_file)
        place.file = std::move(key);
      else if (place.text != ".")
        place.keys.push_back(std::move(key));
      begin = end + 1;
    }
    places.push_back(std::move(place));
  }
  return places;
}

Result<Option> SchemaReader::ReadOption(const JsonNode& node) const {
  WEIGHTFS_CHECK(document_.ExpectKeys(node, {"default", "values", "help", "assumed"}));
  if (node.key == "vocab_size" || node.key == "trim_vocab")
    return At(node).Fail("this option is of the command line; expected another name");
  Option option;
  option.place = At(node);
  const JsonNode* default_value = node.Find("default");
  if (default_value == nullptr) return At(node).Fail("no default; expected one, which may be null");
  WEIGHTFS_TRY(option.default_value, Scalar(*default_value));
  if (const JsonNode* help = node.Find("help")) {
    WEIGHTFS_TRY(option.help, Text(*help));
  }
  if (const JsonNode* assumed = node.Find("assumed")) {
    WEIGHTFS_TRY(option.assumed, Text(*assumed));
  }
  const JsonNode* values = node.Find("values");
  if (values == nullptr) return option;
  WEIGHTFS_CHECK(document_.Expect(*values, Kind::kArray));
  bool has_default = option.default_value.is_null();
  for (const JsonNode* item : values->items) {
    WEIGHTFS_TRY(const Value& value, Scalar(*item));
    has_default |= value.Describe() == option.default_value.Describe();
    option.values.push_back(value);
  }
  if (!has_default)
    return At(*values).Fail(fmt::format("the default {} is not among them", option.default_value.Describe()));
  return option;
}

Result<Rewrite> SchemaReader::ReadRewrite(const JsonNode& node) const {
  constexpr size_t kReplacementBytesMax = 256;
  WEIGHTFS_CHECK(document_.Expect(node, Kind::kArray));
  if (node.items.size() != 2)
    return At(node).Fail(fmt::format("{} items; expected a pattern and a replacement", node.items.size()));
  Rewrite rewrite;
  WEIGHTFS_TRY(rewrite.pattern, ReadPattern(*node.items[0]));
  WEIGHTFS_TRY(rewrite.replacement, Text(*node.items[1]));
  std::string error;
  if (!rewrite.pattern.pattern->CheckRewriteString(rewrite.replacement, &error))
    return At(*node.items[1]).Fail(fmt::format("{}: {}", rewrite.replacement, error));
  if (rewrite.replacement.size() > kReplacementBytesMax)
    return At(*node.items[1]).Fail(fmt::format("longer than {} bytes", kReplacementBytesMax));
  return rewrite;
}

Result<std::string> SchemaReader::ReadWeightsName(const JsonNode& node) const {
  WEIGHTFS_TRY(std::string name, Text(node));
  std::string plain = name;
  size_t placeholders = 0;
  for (const std::string_view placeholder : {"{part}", "{number}"}) {
    const size_t at = plain.find(placeholder);
    if (at == std::string::npos) continue;
    plain.erase(at, placeholder.size());
    ++placeholders;
  }
  if (name.empty() || placeholders > 1 || plain.find_first_of("{}/") != std::string::npos)
    return At(node).Fail(fmt::format(
        "the name {}; expected a file name with at most one of {{part}} and {{number}} in it", name));
  return name;
}

}  // namespace weightfs::family
