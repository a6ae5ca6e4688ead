#include "convert/source/toml.h"

#include <fmt/format.h>

#include <algorithm>
#include <new>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <string>
#include <utility>

#include "convert/source/utf8.h"

namespace {
/// What the parser takes for granted does not hold: it is so for some damaged documents ("[;").
struct BrokenAssumption {};

constexpr void CheckAssumption(bool holds) {
  if (!holds) throw BrokenAssumption();
}
}  // namespace

// The parser's assertions become exceptions, whatever the build: to assume what they say would be undefined
// behaviour.
#undef NDEBUG
#define TOML_ASSERT(condition) CheckAssumption(static_cast<bool>(condition))
#define TOML_HEADER_ONLY 1
// Beyond the depth that is let through, so that it is ours to refuse.
#define TOML_MAX_NESTED_VALUES 256
#include <toml++/toml.h>

namespace weightfs {
namespace {

using nlohmann::json;

/// Takes the quoted text that begins at `at` off: the place after it, or the end where it does not end.
size_t SkipQuoted(std::string_view text, size_t at) {
  const char quote = text[at];
  const bool is_long = text.substr(at, 3) == std::string(3, quote);
  for (at += is_long ? 3 : 1; at < text.size(); ++at) {
    if (text[at] == '\\' && quote == '"') {
      ++at;
    } else if (is_long ? text.substr(at, 3) == std::string(3, quote) : text[at] == quote) {
      return at + (is_long ? 3 : 1);
    } else if (!is_long && text[at] == '\n') {
      return text.size();  // The parser stops there too.
    }
  }
  return text.size();
}

/// The most dots that one key may have: each is a table within a table, which the parser does not count.
size_t CountDots(std::string_view text) {
  size_t most = 0, dots = 0;
  for (size_t at = 0; at < text.size();) {
    const char c = text[at];
    if (c == '"' || c == '\'') {
      at = SkipQuoted(text, at);
      continue;
    }
    if (c == '#') at = std::min(text.find('\n', at), text.size() - 1);
    if (c == '.') most = std::max(most, ++dots);
    if (c == '\n' || c == '=' || c == ',' || c == '{' || c == '#') dots = 0;
    ++at;
  }
  return most;
}

/// Letters beyond ASCII as `?`: some lead the parser to places that it calls unreachable.
std::string InAscii(std::string_view utf8) {
  std::string text;
  text.reserve(utf8.size());
  for (const char c : utf8) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80) text += c;
    if (byte >= 0xC0) text += '?';
  }
  return text;
}

class Converter {
 public:
  explicit Converter(uint32_t depth_max) : depth_left_(depth_max) {}

  /// Nothing when it is too deep.
  std::optional<json> Convert(const toml::node& node) {
    if (const auto* table = node.as_table()) return Container(*table);
    if (const auto* array = node.as_array()) return Container(*array);
    if (const auto* text = node.as_string()) return json(text->get());
    if (const auto* number = node.as_integer()) return json(number->get());
    if (const auto* number = node.as_floating_point()) return json(number->get());
    if (const auto* value = node.as_boolean()) return json(value->get());
    std::ostringstream text;
    if (const auto* date = node.as_date()) text << *date;
    if (const auto* time = node.as_time()) text << *time;
    if (const auto* moment = node.as_date_time()) text << *moment;
    return json(std::move(text).str());
  }

 private:
  template <typename T>
  std::optional<json> Container(const T& container) {
    if (depth_left_ == 0) return std::nullopt;
    --depth_left_;
    std::optional<json> converted = Fill(container);
    ++depth_left_;
    return converted;
  }
  std::optional<json> Fill(const toml::table& table) {
    json object = json::object();
    for (const auto& [key, value] : table) {
      std::optional<json> converted = Convert(value);
      if (!converted) return std::nullopt;
      object[std::string(key.str())] = *std::move(converted);
    }
    return object;
  }
  std::optional<json> Fill(const toml::array& array) {
    json list = json::array();
    for (const toml::node& value : array) {
      std::optional<json> converted = Convert(value);
      if (!converted) return std::nullopt;
      list.push_back(*std::move(converted));
    }
    return list;
  }

  uint32_t depth_left_;
};

}  // namespace

Result<json> ParseToml(std::string_view text, std::string_view name, const Limits& limits) {
  if (text.size() > limits.toml_bytes_max)
    return Fail(ErrorCode::kLimitExceeded, fmt::format("{}: {} bytes of TOML; expected at most {}", name,
                                                       text.size(), limits.toml_bytes_max));
  const auto too_deep = [&] {
    return Fail(
        ErrorCode::kLimitExceeded,
        fmt::format("{}: values nested deeper than {}; expected at most that", name, limits.json_depth_max));
  };
  if (!IsUtf8(text))
    return Fail(ErrorCode::kCorrupt, fmt::format("{}: not UTF-8; expected TOML in UTF-8", name));
  if (CountDots(text) >= limits.json_depth_max) return too_deep();
  try {
    std::optional<json> converted = Converter(limits.json_depth_max).Convert(toml::parse(InAscii(text)));
    if (!converted) return too_deep();
    return *std::move(converted);
  } catch (const toml::parse_error& error) {
    return Fail(ErrorCode::kCorrupt,
                fmt::format("{}: line {}, column {}: {}; expected TOML", name, error.source().begin.line,
                            error.source().begin.column, error.description()));
  } catch (const BrokenAssumption&) {
    return Fail(ErrorCode::kCorrupt,
                fmt::format("{}: a document that the parser cannot follow; expected TOML", name));
  } catch (const std::bad_alloc&) {
    return Fail(ErrorCode::kLimitExceeded, fmt::format("{}: out of memory while parsing TOML", name));
  }
}

}  // namespace weightfs
