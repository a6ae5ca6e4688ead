#include "convert/source/yaml.h"

#include <fmt/format.h>
#include <re2/re2.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <charconv>
#include <istream>
#include <limits>
#include <map>
#include <new>
#include <nlohmann/json.hpp>
#include <optional>
#include <streambuf>
#include <string>
#include <utility>
#include <vector>

#include "convert/source/utf8.h"

namespace weightfs {
namespace {

using nlohmann::json;

/// What one value costs while the document is built: itself, its place in its container, allocations.
constexpr uint64_t kValueBytes = 128;
constexpr std::string_view kMergeKey = "<<";
constexpr std::string_view kPlainTag = "?";
constexpr std::string_view kStandardTag = "tag:yaml.org,2002:";

/// yaml-cpp has no way to stop but an exception; this one never leaves `ParseYaml`.
struct Stop {
  Error error;
};

const re2::RE2& IntegerPattern() {
  static const re2::RE2& pattern = *new re2::RE2(
      "[-+]?(?:0b[01_]+|0[0-7_]+|0|[1-9][0-9_]*|0x[0-9a-fA-F_]+|[1-9][0-9_]*(?::[0-5]?[0-9])+)");
  return pattern;
}
const re2::RE2& FloatPattern() {
  static const re2::RE2& pattern = *new re2::RE2(
      "[-+]?[0-9][0-9_]*\\.[0-9_]*(?:[eE][-+][0-9]+)?|[-+]?\\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?|"
      "[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\\.[0-9_]*");
  return pattern;
}

bool IsOneOf(std::string_view text, std::initializer_list<std::string_view> words) {
  return std::ranges::find(words, text) != words.end();
}

/// The magnitude of an integer of `base`; nothing when it does not fit 64 bits.
std::optional<uint64_t> Magnitude(std::string_view digits, int base) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return value;
}

double DoubleOf(std::string_view digits) {
  double value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc::result_out_of_range) return value;
  const size_t exponent = digits.find_first_of("eE");
  const bool is_tiny = exponent != digits.npos && digits.substr(exponent + 1).starts_with('-');
  return is_tiny ? 0 : std::numeric_limits<double>::infinity();
}

/// Base 60, as YAML 1.1 reads `190:20:30`.
double Sexagesimal(std::string_view text) {
  double value = 0;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(':', begin), text.size());
    value = value * 60 + DoubleOf(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return value;
}

/// Takes a sign and all `_` off a number.
bool TakeSign(std::string_view text, std::string& digits) {
  const bool is_negative = text.starts_with('-');
  if (is_negative || text.starts_with('+')) text.remove_prefix(1);
  digits = text;
  std::erase(digits, '_');
  return is_negative;
}

json Integer(std::string_view text) {
  std::string digits;
  const bool is_negative = TakeSign(text, digits);
  if (digits.contains(':')) {
    const double value = Sexagesimal(digits);
    if (value < 9e15) return static_cast<int64_t>(is_negative ? -value : value);
    return is_negative ? -value : value;
  }
  std::string_view rest = digits;
  int base = 10;
  if (rest.starts_with("0b")) {
    base = 2;
    rest.remove_prefix(2);
  } else if (rest.starts_with("0x")) {
    base = 16;
    rest.remove_prefix(2);
  } else if (rest.size() > 1 && rest.starts_with('0')) {
    base = 8;
    rest.remove_prefix(1);
  }
  const std::optional<uint64_t> magnitude = Magnitude(rest, base);
  if (magnitude && !is_negative) return *magnitude;
  if (magnitude && *magnitude <= uint64_t{1} << 63) return static_cast<int64_t>(0 - *magnitude);
  if (rest.empty()) return std::string(text);
  double value = 0;
  for (const char c : rest) {
    const int digit = c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
    value = value * base + digit;
  }
  return is_negative ? -value : value;
}

json Float(std::string_view text) {
  std::string digits;
  const bool is_negative = TakeSign(text, digits);
  const double value = digits.contains(':') ? Sexagesimal(digits) : DoubleOf(digits);
  return is_negative ? -value : value;
}

/// A plain scalar, as PyYAML's implicit resolvers take it.
json Resolve(std::string_view text) {
  if (text.empty() || IsOneOf(text, {"~", "null", "Null", "NULL"})) return nullptr;
  if (IsOneOf(text, {"yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"})) return true;
  if (IsOneOf(text, {"no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"})) return false;
  const re2::StringPiece piece(text.data(), text.size());
  if (re2::RE2::FullMatch(piece, IntegerPattern())) return Integer(text);
  if (re2::RE2::FullMatch(piece, FloatPattern())) return Float(text);
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (IsOneOf(text, {".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"})) return kInfinity;
  if (IsOneOf(text, {"-.inf", "-.Inf", "-.INF"})) return -kInfinity;
  if (IsOneOf(text, {".nan", ".NaN", ".NAN"})) return std::numeric_limits<double>::quiet_NaN();
  return std::string(text);
}

/// Builds the document from the events of the parser.
class DocumentBuilder final : public YAML::EventHandler {
 public:
  DocumentBuilder(std::string_view name, const Limits& limits, uint64_t bytes_max)
      : name_(name), limits_(limits), values_left_(limits.metadata_values_max), bytes_left_(bytes_max) {}

  json Take() && { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    Scalar(mark, anchor, nullptr, "", true);
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    if (!IsUtf8(value)) Refuse(mark, "text that is not UTF-8; expected UTF-8");
    const bool is_plain = tag == kPlainTag;
    const bool is_typed =
        tag.starts_with(kStandardTag) &&
        IsOneOf(std::string_view(tag).substr(kStandardTag.size()), {"int", "float", "bool", "null"});
    Scalar(mark, anchor, is_plain || is_typed ? Resolve(value) : json(value), value, is_plain);
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end())
      Refuse(mark, "an alias within the value that it stands for; expected a value that ends");
    const Anchored& anchored = found->second;
    if (WantsKey()) {
      if (!anchored.value.is_string()) Refuse(mark, "a key that is an alias of no text; expected a text");
      open_.back().key = anchored.value.get<std::string>();
      return;
    }
    Spend(mark, anchored.values, anchored.bytes);
    if (open_.size() + anchored.height > limits_.json_depth_max) TooDeep(mark);
    Add(anchored.value, anchored.height);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    Begin(mark, anchor, json::array());
  }
  void OnSequenceEnd() override { End(); }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    Begin(mark, anchor, json::object());
  }
  void OnMapEnd() override {
    Open& mapping = open_.back();
    // Keys of the mapping win over merged ones, and of those the first mapping wins.
    for (const json& merged : mapping.merges)
      for (const auto& [key, value] : merged.items())
        if (!mapping.container.contains(key)) mapping.container[key] = value;
    End();
  }

 private:
  struct Anchored {
    json value;
    uint64_t values = 0;
    uint64_t bytes = 0;
    uint32_t height = 0;  ///< Containers within one another; 0 for a scalar.
  };
  struct Open {
    json container;
    YAML::anchor_t anchor = 0;
    std::optional<std::string> key;
    bool is_merge = false;  ///< The key is a plain `<<`.
    std::vector<json> merges;
    uint64_t values_left_before = 0;
    uint64_t bytes_left_before = 0;
    uint32_t height = 0;  ///< Of the highest value in it.
  };

  [[noreturn]] void Refuse(const YAML::Mark& mark, std::string_view what,
                           ErrorCode code = ErrorCode::kCorrupt) const {
    throw Stop{
        Fail(code, fmt::format("{}: line {}, column {}: {}", name_, mark.line + 1, mark.column + 1, what))
            .error()};
  }
  [[noreturn]] void TooDeep(const YAML::Mark& mark) const {
    Refuse(mark, fmt::format("values nested deeper than {}; expected at most that", limits_.json_depth_max),
           ErrorCode::kLimitExceeded);
  }

  bool WantsKey() const { return !open_.empty() && open_.back().container.is_object() && !open_.back().key; }

  void Spend(const YAML::Mark& mark, uint64_t values, uint64_t bytes) {
    if (values > values_left_ || bytes > bytes_left_)
      Refuse(mark,
             fmt::format("more than {} values, or more text than the file has; expected at most that",
                         limits_.metadata_values_max),
             ErrorCode::kLimitExceeded);
    values_left_ -= values;
    bytes_left_ -= bytes;
  }

  void Scalar(const YAML::Mark& mark, YAML::anchor_t anchor, json value, const std::string& text,
              bool is_plain) {
    const uint64_t bytes = kValueBytes + text.size();
    Spend(mark, 1, bytes);
    if (anchor != 0) {
      Spend(mark, 1, bytes);
      anchors_[anchor] = {WantsKey() ? json(text) : value, 1, bytes, 0};
    }
    if (WantsKey()) {
      open_.back().key = text;
      open_.back().is_merge = is_plain && text == kMergeKey;
      return;
    }
    Add(std::move(value), 0);
  }

  void Begin(const YAML::Mark& mark, YAML::anchor_t anchor, json container) {
    if (WantsKey()) Refuse(mark, "a key that is a list or a mapping; expected a text");
    if (open_.size() >= limits_.json_depth_max) TooDeep(mark);
    const uint64_t values_before = values_left_;
    const uint64_t bytes_before = bytes_left_;
    Spend(mark, 1, kValueBytes);
    open_.push_back({.container = std::move(container),
                     .anchor = anchor,
                     .values_left_before = values_before,
                     .bytes_left_before = bytes_before});
    mark_ = mark;
  }

  void End() {
    Open closed = std::move(open_.back());
    open_.pop_back();
    const uint32_t height = closed.height + 1;
    if (closed.anchor != 0) {
      const uint64_t values = closed.values_left_before - values_left_;
      const uint64_t bytes = closed.bytes_left_before - bytes_left_;
      Spend(mark_, values, bytes);
      anchors_[closed.anchor] = {closed.container, values, bytes, height};
    }
    Add(std::move(closed.container), height);
  }

  void Add(json value, uint32_t height) {
    if (open_.empty()) {
      root_ = std::move(value);
      return;
    }
    Open& parent = open_.back();
    parent.height = std::max(parent.height, height);
    if (parent.container.is_array()) {
      parent.container.push_back(std::move(value));
      return;
    }
    const std::string key = *std::exchange(parent.key, std::nullopt);
    if (!std::exchange(parent.is_merge, false) || !AddMerges(value, parent))
      parent.container[key] = std::move(value);
  }

  /// `<<: MAPPING` or `<<: [MAPPING, ...]`. False when it is neither, and so a key like others.
  static bool AddMerges(json& value, Open& parent) {
    if (value.is_object()) {
      parent.merges.push_back(std::move(value));
      return true;
    }
    if (!value.is_array() || !std::ranges::all_of(value, [](const json& item) { return item.is_object(); }))
      return false;
    for (json& item : value) parent.merges.push_back(std::move(item));
    return true;
  }

  std::string_view name_;
  const Limits& limits_;
  uint64_t values_left_;
  uint64_t bytes_left_;
  json root_;
  YAML::Mark mark_;  ///< Where the last container began.
  std::vector<Open> open_;
  std::map<YAML::anchor_t, Anchored> anchors_;  ///< Of values that have ended.
};

/// Reads from `text` in place.
class TextBuffer final : public std::streambuf {
 public:
  explicit TextBuffer(std::string_view text) {
    char* const begin = const_cast<char*>(text.data());  // Never written: there is no put area.
    setg(begin, begin, begin + text.size());
  }
};

Result<json> Parse(std::string_view text, std::string_view name, const Limits& limits) {
  TextBuffer buffer(text);
  std::istream stream(&buffer);
  DocumentBuilder builder(name, limits, limits.parse_memory_base_bytes + 2 * text.size());
  YAML::Parser parser(stream);
  if (!parser.HandleNextDocument(builder)) return json(nullptr);
  json document = std::move(builder).Take();
  DocumentBuilder more(name, limits, kValueBytes);
  bool has_more = true;
  try {
    has_more = parser.HandleNextDocument(more);
  } catch (const Stop&) {
    // Too much for `more` is a document too.
  }
  if (has_more)
    return Fail(ErrorCode::kCorrupt, fmt::format("{}: more than one YAML document; expected one", name));
  return document;
}

}  // namespace

Result<json> ParseYaml(std::string_view text, std::string_view name, const Limits& limits) {
  if (text.size() > limits.yaml_bytes_max)
    return Fail(ErrorCode::kLimitExceeded, fmt::format("{}: {} bytes of YAML; expected at most {}", name,
                                                       text.size(), limits.yaml_bytes_max));
  if (!IsUtf8(text))
    return Fail(ErrorCode::kCorrupt, fmt::format("{}: not UTF-8; expected YAML in UTF-8", name));
  try {
    return Parse(text, name, limits);
  } catch (const Stop& stop) {
    return std::unexpected(stop.error);
  } catch (const YAML::Exception& error) {
    return Fail(ErrorCode::kCorrupt, fmt::format("{}: line {}, column {}: {}; expected YAML", name,
                                                 error.mark.line + 1, error.mark.column + 1, error.msg));
  } catch (const std::bad_alloc&) {
    return Fail(ErrorCode::kLimitExceeded, fmt::format("{}: out of memory while parsing YAML", name));
  } catch (const std::exception& error) {
    return Fail(ErrorCode::kCorrupt, fmt::format("{}: {}; expected YAML", name, error.what()));
  }
}

}  // namespace weightfs
