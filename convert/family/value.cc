#include "convert/family/value.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

namespace weightfs::family {
namespace {

constexpr size_t kDescribedBytesMax = 120;

std::string DescribeAtDepth(const Value& value, int depth) {
  if (value.is_null()) return "null";
  if (const bool* boolean = value.boolean()) return *boolean ? "true" : "false";
  if (const int64_t* integer = value.integer()) return std::to_string(*integer);
  if (const double* number = value.floating()) return FloatText(*number);
  if (const std::string* text = value.text())
    return "'" + (text->size() <= kDescribedBytesMax ? *text : text->substr(0, kDescribedBytesMax) + "...") +
           "'";
  if (!value.is_list()) return "a mapping";
  if (depth > 3) return "[...]";
  std::string list = "[";
  for (uint64_t i = 0; i < value.list_size(); ++i) {
    if (i > 0) list += ", ";
    if (list.size() > kDescribedBytesMax) return list + "...]";
    list += DescribeAtDepth(value.ListItem(i), depth + 1);
  }
  return list + "]";
}

}  // namespace

Value Value::Of(const nlohmann::json& json) {
  switch (json.type()) {
    case nlohmann::json::value_t::boolean:
      return {json.get<bool>()};
    case nlohmann::json::value_t::number_integer:
      return {json.get<int64_t>()};
    case nlohmann::json::value_t::number_unsigned: {
      const auto value = json.get<uint64_t>();
      if (value > INT64_MAX) return {static_cast<double>(value)};
      return {static_cast<int64_t>(value)};
    }
    case nlohmann::json::value_t::number_float:
      return {json.get<double>()};
    case nlohmann::json::value_t::string:
      return {json.get_ref<const std::string&>()};
    case nlohmann::json::value_t::object:
    case nlohmann::json::value_t::array: {
      Value value;
      value.value_ = &json;
      return value;
    }
    default:
      return {};
  }
}

std::optional<double> Value::number() const {
  if (const int64_t* value = integer()) return static_cast<double>(*value);
  if (const double* value = floating()) return *value;
  return std::nullopt;
}

bool Value::is_list() const {
  if (std::holds_alternative<ListPtr>(value_)) return true;
  const auto* json = std::get_if<JsonPtr>(&value_);
  return json != nullptr && (*json)->is_array();
}

const nlohmann::json* Value::mapping() const {
  const auto* json = std::get_if<JsonPtr>(&value_);
  return json != nullptr && (*json)->is_object() ? *json : nullptr;
}

bool Value::is_mapping() const { return mapping() != nullptr; }

uint64_t Value::list_size() const {
  if (const auto* list = std::get_if<ListPtr>(&value_)) return (*list)->size();
  return std::get<JsonPtr>(value_)->size();
}

Value Value::ListItem(uint64_t index) const {
  if (const auto* list = std::get_if<ListPtr>(&value_)) return (**list)[index];
  return Of((*std::get<JsonPtr>(value_))[index]);
}

std::optional<Value> Value::Member(const std::string& key) const {
  if (is_null()) return Value();
  const nlohmann::json* object = mapping();
  if (object == nullptr) return std::nullopt;
  const auto found = object->find(key);
  return found == object->end() ? Value() : Of(*found);
}

std::string Value::Describe() const { return DescribeAtDepth(*this, 0); }

std::string_view Value::KindName() const {
  if (is_null()) return "null";
  if (boolean() != nullptr) return "true or false";
  if (integer() != nullptr) return "an integer";
  if (floating() != nullptr) return "a float";
  if (text() != nullptr) return "text";
  return is_list() ? "a list" : "a mapping";
}

std::string FloatText(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[40];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific).ptr;
  std::string_view text(buffer, static_cast<size_t>(end - buffer));  // [-]d[.ddd]e[+-]dd
  const size_t e = text.find('e');
  int exponent = 0;
  const char* digits_of_exponent = text.data() + e + (text[e + 1] == '+' ? 2 : 1);
  std::from_chars(digits_of_exponent, text.data() + text.size(), exponent);
  if (exponent < -4 || exponent >= 16) return std::string(text);
  std::string fixed(buffer,
                    std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::fixed).ptr);
  if (fixed.find('.') == std::string::npos) fixed += ".0";
  return fixed;
}

}  // namespace weightfs::family
