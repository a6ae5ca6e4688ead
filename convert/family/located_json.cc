#include "convert/family/located_json.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "convert/base/json.h"

namespace weightfs::family {
namespace {

constexpr uint32_t kDepthMax = 32;
constexpr size_t kNodesMax = 200'000;
constexpr size_t kKeyBytesMax = 60;  ///< Of one key, in messages.

std::string Shortened(std::string_view text) {
  if (text.size() <= kKeyBytesMax) return std::string(text);
  return std::string(text.substr(0, kKeyBytesMax)) + "...";
}

uint32_t LineAt(std::string_view text, size_t offset) {
  const std::string_view before = text.substr(0, std::min(offset, text.size()));
  return 1 + static_cast<uint32_t>(std::count(before.begin(), before.end(), '\n'));
}

}  // namespace

/// Receives the events of one text.
class LocatedJsonBuilder final : public JsonHandler {
 public:
  LocatedJsonBuilder(std::string_view text, LocatedJson& document) : text_(text), document_(document) {}

  Status Null(ByteRange where) override { return Add(JsonNode::Kind::kNull, where); }
  Status Boolean(bool value, ByteRange where) override {
    WEIGHTFS_CHECK(Add(JsonNode::Kind::kBoolean, where));
    Last().boolean = value;
    return {};
  }
  Status Negative(int64_t value, ByteRange where) override {
    WEIGHTFS_CHECK(Add(JsonNode::Kind::kInteger, where));
    Last().integer = value;
    return {};
  }
  Status Unsigned(uint64_t value, ByteRange where) override {
    WEIGHTFS_CHECK(Add(JsonNode::Kind::kInteger, where));
    if (value > INT64_MAX)
      return document_.PlaceOf(Last()).Fail(fmt::format("{}; expected an integer of 64 bits", value));
    Last().integer = static_cast<int64_t>(value);
    return {};
  }
  Status Float(double value, ByteRange where) override {
    WEIGHTFS_CHECK(Add(JsonNode::Kind::kFloat, where));
    Last().number = value;
    return {};
  }
  Status String(std::string& value, ByteRange where) override {
    WEIGHTFS_CHECK(Add(JsonNode::Kind::kString, where));
    Last().text = std::move(value);
    return {};
  }
  Status Key(std::string& key, ByteRange) override {
    key_ = std::move(key);
    return {};
  }
  Status BeginObject(ByteRange where) override { return Begin(JsonNode::Kind::kObject, where); }
  Status BeginArray(ByteRange where) override { return Begin(JsonNode::Kind::kArray, where); }
  Status EndObject(ByteRange) override { return EndObject(); }
  Status EndArray(ByteRange) override {
    open_.pop_back();
    return {};
  }

 private:
  JsonNode& Last() { return document_.nodes_.back(); }

  Status Add(JsonNode::Kind kind, ByteRange where) {
    line_ +=
        static_cast<uint32_t>(std::count(text_.begin() + static_cast<std::ptrdiff_t>(counted_),
                                         text_.begin() + static_cast<std::ptrdiff_t>(where.begin), '\n'));
    counted_ = where.begin;
    JsonNode& node = document_.nodes_.emplace_back();
    node.kind = kind;
    node.line = line_;
    node.key = std::exchange(key_, {});
    if (open_.empty()) return {};
    node.parent = open_.back();
    node.index = open_.back()->items.size();
    open_.back()->items.push_back(&node);
    if (document_.nodes_.size() > kNodesMax)
      return document_.PlaceOf(node).Fail(fmt::format("more than {} values; expected fewer", kNodesMax));
    return {};
  }
  Status Begin(JsonNode::Kind kind, ByteRange where) {
    WEIGHTFS_CHECK(Add(kind, where));
    open_.push_back(&Last());
    return {};
  }
  Status EndObject() {
    std::vector<const JsonNode*> members = open_.back()->items;
    open_.pop_back();
    std::ranges::sort(members, {}, [](const JsonNode* node) {
      return std::pair(std::string_view(node->key), node->index);
    });
    const auto same = std::ranges::adjacent_find(
        members, [](const JsonNode* a, const JsonNode* b) { return a->key == b->key; });
    if (same == members.end()) return {};
    return document_.PlaceOf(**(same + 1))
        .Fail(fmt::format("this key stands on line {} already; expected every key once", (*same)->line));
  }

  std::string_view text_;
  LocatedJson& document_;
  std::vector<JsonNode*> open_;
  std::string key_;
  uint64_t counted_ = 0;
  uint32_t line_ = 1;
};

std::string Place::Describe() const {
  std::string text = fmt::format("{}:{}", file ? *file : "", line);
  if (!key.empty()) text += ": " + key;
  return text;
}

std::unexpected<Error> Place::Fail(std::string_view message, std::string remedy) const {
  return weightfs::Fail(ErrorCode::kInvalidArgument, fmt::format("{}: {}", Describe(), message),
                        std::move(remedy));
}

const JsonNode* JsonNode::Find(std::string_view member) const {
  if (kind != Kind::kObject) return nullptr;
  for (const JsonNode* item : items)
    if (item->key == member) return item;
  return nullptr;
}

std::string_view KindName(JsonNode::Kind kind) {
  switch (kind) {
    case JsonNode::Kind::kNull:
      return "null";
    case JsonNode::Kind::kBoolean:
      return "true or false";
    case JsonNode::Kind::kInteger:
      return "an integer";
    case JsonNode::Kind::kFloat:
      return "a float";
    case JsonNode::Kind::kString:
      return "a string";
    case JsonNode::Kind::kArray:
      return "a list";
    case JsonNode::Kind::kObject:
      return "an object";
  }
  return "a value";
}

Result<LocatedJson> LocatedJson::Parse(std::string_view text, const std::string& file, uint64_t bytes_max) {
  LocatedJson document;
  document.file_ = std::make_shared<const std::string>(file);
  LocatedJsonBuilder builder(text, document);
  // The builder finds duplicate keys itself: it knows their lines.
  const JsonOptions options = {
      .bytes_max = bytes_max, .depth_max = kDepthMax, .duplicate_keys = DuplicateKeys::kLastWins};
  const Status parsed = ParseJsonEvents(text, file, options, builder);
  if (parsed) return document;
  Error error = parsed.error();
  error.code = ErrorCode::kInvalidArgument;
  // Errors of the parser have a byte offset; people who write tables count lines.
  const std::string prefix = file + ": offset ";
  size_t offset = 0;
  if (error.message.starts_with(prefix)) {
    const char* end = error.message.data() + error.message.size();
    const auto [rest, bad] = std::from_chars(error.message.data() + prefix.size(), end, offset);
    if (bad == std::errc())
      error.message = fmt::format("{}:{}{}", file, LineAt(text, offset), std::string_view(rest, end));
  }
  return std::unexpected(std::move(error));
}

Place LocatedJson::PlaceOf(const JsonNode& node) const {
  std::vector<std::string> steps;
  for (const JsonNode* at = &node; at->parent != nullptr; at = at->parent) {
    const bool in_array = at->parent->Is(JsonNode::Kind::kArray);
    steps.push_back(in_array ? fmt::format("[{}]", at->index) : Shortened(at->key));
  }
  std::string key;
  for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
    if (!key.empty() && !step->starts_with('[')) key += '.';
    key += *step;
  }
  return {file_, node.line, std::move(key)};
}

Status LocatedJson::Expect(const JsonNode& node, JsonNode::Kind kind) const {
  if (node.Is(kind)) return {};
  return PlaceOf(node).Fail(fmt::format("{}; expected {}", KindName(node.kind), KindName(kind)));
}

Status LocatedJson::ExpectKeys(const JsonNode& node, std::initializer_list<std::string_view> known) const {
  WEIGHTFS_CHECK(Expect(node, JsonNode::Kind::kObject));
  for (const JsonNode* member : node.items) {
    if (std::ranges::find(known, member->key) != known.end()) continue;
    const std::string_view near = NearestWord(member->key, known);
    return PlaceOf(*member).Fail(fmt::format("an unknown key; expected one of {}", fmt::join(known, ", ")),
                                 near.empty() ? std::string() : fmt::format("Did you mean {}?", near));
  }
  return {};
}

std::string_view NearestWord(std::string_view word, const std::vector<std::string_view>& known) {
  constexpr size_t kLengthMax = 64;
  std::string_view nearest;
  if (word.size() > kLengthMax) return nearest;
  size_t best = std::max<size_t>(1, word.size() / 3) + 1;
  for (const std::string_view candidate : known) {
    if (candidate.size() > kLengthMax) continue;
    // Edit distance, one row at a time.
    std::vector<size_t> row(candidate.size() + 1);
    for (size_t j = 0; j < row.size(); ++j) row[j] = j;
    for (size_t i = 1; i <= word.size(); ++i) {
      size_t diagonal = std::exchange(row[0], i);
      for (size_t j = 1; j < row.size(); ++j) {
        const size_t replaced = diagonal + (word[i - 1] == candidate[j - 1] ? 0 : 1);
        diagonal = row[j];
        row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
      }
    }
    if (row.back() < best) {
      best = row.back();
      nearest = candidate;
    }
  }
  return nearest;
}

}  // namespace weightfs::family
