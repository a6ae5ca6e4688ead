// OptionValues: what the user said about a family, against what its table takes.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "convert/family/environment.h"

namespace weightfs::family {
namespace {

std::optional<double> NumberIn(std::string_view text) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

nlohmann::json JsonOf(const Value& value) {
  if (value.boolean() != nullptr) return *value.boolean();
  if (value.integer() != nullptr) return *value.integer();
  if (value.floating() != nullptr) return *value.floating();
  if (value.text() != nullptr) return *value.text();
  return nullptr;
}

/// `text` as a value of the default's type.
std::optional<nlohmann::json> ParseValue(const Value& default_value, const std::string& text) {
  if (default_value.text() != nullptr) return text;
  if (default_value.boolean() != nullptr) {
    if (text == "true" || text == "false") return text == "true";
    return std::nullopt;
  }
  int64_t integer = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), integer);
  if (error == std::errc() && end == text.data() + text.size()) return integer;
  if (const std::optional<double> number = NumberIn(text)) return *number;
  if (!default_value.is_null()) return std::nullopt;
  return text;
}

std::string_view TypeName(const Value& default_value) {
  if (default_value.boolean() != nullptr) return "true or false";
  return default_value.is_null() || default_value.text() != nullptr ? "text" : "a number";
}

std::string OptionNames(const FamilyTable& table) {
  std::string names;
  for (const auto& [key, option] : table.options.items) names += (names.empty() ? "" : ", ") + key;
  return names;
}

Result<nlohmann::json> CheckedValue(const FamilyTable& table, const std::string& key, const Option& option,
                                    const std::string& text) {
  const auto fail = [&](std::string_view expected) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("--family {}:{}={}: expected {}", table.name, key, text, expected));
  };
  const std::optional<nlohmann::json> value = ParseValue(option.default_value, text);
  if (!value) return fail(TypeName(option.default_value));
  if (option.values.empty()) return *value;
  std::string values;
  for (const Value& known : option.values) {
    if (JsonOf(known) == *value) return *value;
    values +=
        (values.empty() ? "one of " : ", ") + (known.text() != nullptr ? *known.text() : known.Describe());
  }
  return fail(values);
}

bool Uses(const Expression& expression, std::string_view member) {
  return std::ranges::any_of(
      expression.Names(), [&](const NameUse& use) { return use.name == "options" && use.member == member; });
}

bool Uses(const ConfigValue& value, std::string_view member) {
  if (const auto* expression = std::get_if<PlacedExpression>(&value.value))
    return Uses(expression->expression, member);
  if (const auto* object = std::get_if<ConfigValue::Object>(&value.value))
    return std::ranges::any_of(object->members, [&](const auto& item) { return Uses(*item.second, member); });
  if (const auto* list = std::get_if<ConfigValue::List>(&value.value))
    return std::ranges::any_of(list->items, [&](const ConfigValuePtr& item) { return Uses(*item, member); });
  if (const auto* choice = std::get_if<ConfigValue::When>(&value.value))
    return Uses(choice->condition.expression, member) || Uses(*choice->value, member) ||
           (choice->otherwise != nullptr && Uses(*choice->otherwise, member));
  if (const auto* repeated = std::get_if<ConfigValue::For>(&value.value))
    return Uses(*repeated->value, member);
  return false;
}

/// Whether any expression of the table looks at `options.MEMBER`.
bool Uses(const FamilyTable& table, std::string_view member) {
  const auto in_let = [&](const auto& item) { return Uses(item.second.expression, member); };
  const auto in_condition = [&](const Condition& condition) {
    return Uses(condition.that.expression, member);
  };
  const auto in_config = [&](const auto& item) { return Uses(*item.second, member); };
  const auto in_line = [&](const LinePtr& line) {
    const auto in_indices = [&](const Indices& group) {
      return std::ranges::any_of(group.range, [&](const Expression& range) { return Uses(range, member); });
    };
    const auto in_size = [&](const LocalSize& size) { return Uses(size.text.expression, member); };
    return (line->when && Uses(line->when->expression, member)) ||
           std::ranges::any_of(line->indices, in_indices) || std::ranges::any_of(line->sizes, in_size);
  };
  return std::ranges::any_of(table.lets.items, in_let) || std::ranges::any_of(table.checks, in_condition) ||
         std::ranges::any_of(table.lines, in_line) || std::ranges::any_of(table.config.items, in_config) ||
         std::ranges::any_of(table.generation_config.items, in_config);
}

}  // namespace

Result<nlohmann::json> OptionValues(const FamilyTable& table, const FamilyOptions& options) {
  nlohmann::json values = nlohmann::json::object();
  for (const auto& [key, option] : table.options.items) values[key] = JsonOf(option.default_value);
  for (const auto& [key, text] : options.values) {
    const Option* option = table.options.Find(key);
    if (option == nullptr) {
      const std::string names = OptionNames(table);
      return Fail(
          ErrorCode::kInvalidArgument,
          fmt::format("--family {}:{}: the family {} has no such option; expected {}", table.name, key,
                      table.name, names.empty() ? "none, as it has no options" : "one of " + names));
    }
    WEIGHTFS_TRY(values[key], CheckedValue(table, key, *option, text));
  }
  for (const auto& [key, text] : options.told) {
    const Option* option = table.options.Find(key);
    if (option == nullptr || options.values.contains(key)) continue;
    WEIGHTFS_TRY(values[key], CheckedValue(table, key, *option, text));
  }
  values["vocab_size"] = nullptr;
  values["trim_vocab"] = options.trim_vocab;
  if (options.vocab_size) {
    if (*options.vocab_size > INT64_MAX)
      return Fail(ErrorCode::kInvalidArgument,
                  fmt::format("--vocab-size {}: expected fewer tokens", *options.vocab_size));
    values["vocab_size"] = *options.vocab_size;
  }
  if (options.vocab_size && !Uses(table, "vocab_size"))
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("--vocab-size does not apply to the family {}", table.name));
  if (options.trim_vocab && !Uses(table, "trim_vocab"))
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("--trim-vocab does not apply to the family {}", table.name));
  return values;
}

}  // namespace weightfs::family
