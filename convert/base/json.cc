#include "convert/base/json.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <exception>
#include <iterator>
#include <limits>
#include <new>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

namespace weightfs {
namespace {

constexpr std::string_view kWhitespace = " \t\r\n";
constexpr size_t kMessageDetailBytesMax = 200;
constexpr uint64_t kTextBytesMax = 2_GiB - 1;  // so that 31 bits hold a key's length, see KeyStack

/// Reads the text for nlohmann's lexer and counts what was consumed: its SAX interface gives no positions.
class CountingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  CountingIterator(const char* at, size_t* count) : at_(at), count_(count) {}
  reference operator*() const { return *at_; }
  CountingIterator& operator++() {
    ++at_;
    ++*count_;
    return *this;
  }
  CountingIterator operator++(int) {
    CountingIterator before = *this;
    ++*this;
    return before;
  }
  friend bool operator==(const CountingIterator& a, const CountingIterator& b) { return a.at_ == b.at_; }

 private:
  const char* at_;
  size_t* count_;
};

/// Python's number words, replaced by strings of the same length so that offsets hold; sorted by offset.
struct NumberWord {
  size_t begin = 0;
  double value = 0;
};

/// Replaces `NaN`, `Infinity` and `-Infinity` outside strings. Returns an empty text when there are none.
std::string ReplaceNumberWords(std::string_view text, std::vector<NumberWord>& words) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  constexpr std::pair<std::string_view, double> kWords[] = {
      {"NaN", std::numeric_limits<double>::quiet_NaN()}, {"Infinity", kInfinity}, {"-Infinity", -kInfinity}};
  std::string replaced;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\')
        ++i;
      else if (c == '"')
        in_string = false;
      continue;
    }
    if (c == '"') in_string = true;
    if (c != 'N' && c != 'I' && c != '-') continue;
    for (const auto& [word, value] : kWords) {
      if (!text.substr(i).starts_with(word)) continue;
      if (replaced.empty()) replaced = text;
      replaced[i] = replaced[i + word.size() - 1] = '"';
      words.push_back({i, value});
      i += word.size() - 1;
      break;
    }
  }
  return replaced;
}

/// What nlohmann says of a syntax error, without its error number, its line and the text it read.
std::string SyntaxDetail(std::string_view what) {
  if (const size_t end = what.find("] "); what.starts_with("[") && end != what.npos)
    what.remove_prefix(end + 2);
  if (what.starts_with("parse error at "))
    if (const size_t colon = what.find(": "); colon != what.npos) what.remove_prefix(colon + 2);
  std::string detail(what);
  if (const size_t read = what.find("; last read: '"); read != what.npos) {
    const size_t expected = what.rfind("; expected ");
    detail = what.substr(0, read);
    if (expected != what.npos && expected > read) detail.append(what.substr(expected));
  }
  if (detail.size() > kMessageDetailBytesMax) detail.resize(kMessageDetailBytesMax);
  return detail;
}

/// The keys of all open objects, 8 bytes each: where they are in the text, or in a side buffer when escaped.
class KeyStack {
 public:
  explicit KeyStack(std::string_view text) : text_(text) {}

  void BeginObject() { objects_.push_back({keys_.size(), escaped_.size()}); }
  void Add(std::string_view key, ByteRange where) {
    if (key.size() + 2 == where.size()) {
      keys_.push_back({static_cast<uint32_t>(where.begin + 1), static_cast<uint32_t>(key.size())});
    } else {
      // Escapes only ever shrink a key, so the side buffer stays below 2 GiB too and one bit of length is
      // free.
      keys_.push_back({static_cast<uint32_t>(escaped_.size()), static_cast<uint32_t>(key.size()) | kEscaped});
      escaped_.append(key);
    }
  }
  /// Forgets the innermost object's keys; returns one that occurs twice, when there is one.
  bool EndObject(std::string* duplicate) {
    const auto [first, escaped] = objects_.back();
    const auto begin = keys_.begin() + static_cast<std::ptrdiff_t>(first);
    std::sort(begin, keys_.end(), [this](Key a, Key b) { return View(a) < View(b); });
    const auto same =
        std::adjacent_find(begin, keys_.end(), [this](Key a, Key b) { return View(a) == View(b); });
    const bool found = same != keys_.end();
    if (found) *duplicate = View(*same);
    objects_.pop_back();
    keys_.resize(first);
    escaped_.resize(escaped);
    return found;
  }

 private:
  static constexpr uint32_t kEscaped = 1u << 31;
  struct Key {
    uint32_t offset = 0;
    uint32_t length = 0;
  };
  struct Object {
    size_t keys = 0;
    size_t escaped_bytes = 0;
  };
  std::string_view View(Key key) const {
    if ((key.length & kEscaped) == 0) return text_.substr(key.offset, key.length);
    return std::string_view(escaped_).substr(key.offset, key.length & ~kEscaped);
  }

  std::string_view text_;
  std::vector<Key> keys_;
  std::string escaped_;
  std::vector<Object> objects_;
};

/// nlohmann's SAX receiver: adds positions, depth and duplicate checks, and passes the tokens on.
class Receiver {
 public:
  Receiver(std::string_view text, std::string_view name, const JsonOptions& options,
           const std::vector<NumberWord>& words, const size_t& consumed, JsonHandler& handler)
      : text_(text),
        name_(name),
        options_(options),
        words_(words),
        consumed_(consumed),
        handler_(handler),
        keys_(text) {}

  bool null() { return Take(handler_.Null(LiteralToken(4))); }
  bool boolean(bool value) { return Take(handler_.Boolean(value, LiteralToken(value ? 4 : 5))); }
  bool number_integer(int64_t value) {
    if (value == 0) return number_unsigned(0);  // `-0`
    return Take(handler_.Negative(value, NumberToken()));
  }
  bool number_unsigned(uint64_t value) { return Take(handler_.Unsigned(value, NumberToken())); }
  bool number_float(double value, const std::string&) { return Take(handler_.Float(value, NumberToken())); }
  bool string(std::string& value) {
    const ByteRange where = StringToken();
    if (next_word_ < words_.size() && words_[next_word_].begin == where.begin)
      return Take(handler_.Float(words_[next_word_++].value, where));
    return Take(handler_.String(value, where));
  }
  bool binary(std::vector<uint8_t>&) { return false; }
  bool start_object(size_t) {
    if (!Descend()) return false;
    keys_.BeginObject();
    return Take(handler_.BeginObject(PunctuationToken()));
  }
  bool key(std::string& key) {
    const ByteRange where = StringToken();
    if (next_word_ < words_.size() && words_[next_word_].begin == where.begin)
      return Take(
          Fail(ErrorCode::kCorrupt,
               fmt::format("{}: offset {}: not valid JSON: a number as an object key; expected a string",
                           name_, where.begin)));
    if (options_.duplicate_keys == DuplicateKeys::kRefuse) keys_.Add(key, where);
    return Take(handler_.Key(key, where));
  }
  bool end_object() {
    --depth_;
    const ByteRange where = PunctuationToken();
    std::string duplicate;
    if (keys_.EndObject(&duplicate))
      return Take(Fail(
          ErrorCode::kCorrupt,
          fmt::format("{}: duplicate key {} in the object that ends at offset {}; expected every key once",
                      name_, JsonString(duplicate.substr(0, kMessageDetailBytesMax)), where.end)));
    return Take(handler_.EndObject(where));
  }
  bool start_array(size_t) { return Descend() && Take(handler_.BeginArray(PunctuationToken())); }
  bool end_array() {
    --depth_;
    return Take(handler_.EndArray(PunctuationToken()));
  }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception& error) {
    const size_t offset = std::min(position == 0 ? 0 : position - 1, text_.size());
    return Take(Fail(ErrorCode::kCorrupt, fmt::format("{}: offset {}: not valid JSON: {}", name_, offset,
                                                      SyntaxDetail(error.what()))));
  }

  const Status& status() const { return status_; }

 private:
  bool Take(Status status) {
    status_ = std::move(status);
    return status_.has_value();
  }
  bool Descend() {
    if (++depth_ <= options_.depth_max) return true;
    return Take(
        Fail(ErrorCode::kLimitExceeded, fmt::format("{}: offset {}: JSON nested deeper than {} levels", name_,
                                                    consumed_ - 1, options_.depth_max)));
  }
  /// Between two tokens lie only whitespace, commas and colons, so the end of one gives the start of the
  /// next.
  size_t TokenStart() const { return text_.find_first_not_of(" \t\r\n,:", end_); }
  ByteRange Token(size_t end) {
    const size_t begin = TokenStart();
    end_ = end;
    return {begin, end};
  }
  ByteRange LiteralToken(size_t size) { return Token(TokenStart() + size); }
  ByteRange NumberToken() {
    return Token(std::min(text_.find_first_not_of("+-.0123456789Ee", TokenStart()), text_.size()));
  }
  ByteRange PunctuationToken() { return LiteralToken(1); }
  ByteRange StringToken() {
    return Token(consumed_);
  }  // the lexer reads a string to its quote and no further

  std::string_view text_;
  std::string_view name_;
  const JsonOptions& options_;
  const std::vector<NumberWord>& words_;
  const size_t& consumed_;
  JsonHandler& handler_;
  KeyStack keys_;
  Status status_;
  size_t end_ = 0;
  size_t next_word_ = 0;
  uint32_t depth_ = 0;
};

Status CheckText(std::string_view text, std::string_view name, const JsonOptions& options) {
  const uint64_t bytes_max = std::min<uint64_t>(options.bytes_max, kTextBytesMax);
  if (text.size() > bytes_max)
    return Fail(ErrorCode::kLimitExceeded,
                fmt::format("{}: {} bytes of JSON; expected at most {}", name, text.size(), bytes_max));
  // nlohmann's lexer skips a byte order mark and takes a NUL for the end of the text.
  if (text.starts_with("\xef\xbb\xbf"))
    return Fail(ErrorCode::kCorrupt,
                fmt::format("{}: offset 0: a byte order mark; expected JSON without one", name));
  if (const size_t nul = text.find('\0'); nul != text.npos)
    return Fail(ErrorCode::kCorrupt, fmt::format("{}: offset {}: not valid JSON: a zero byte", name, nul));
  if (text.find_first_not_of(kWhitespace) == text.npos)
    return Fail(ErrorCode::kCorrupt, fmt::format("{}: empty; expected JSON", name));
  return {};
}

}  // namespace

Status ParseJsonEvents(std::string_view text, std::string_view name, const JsonOptions& options,
                       JsonHandler& handler) {
  WEIGHTFS_CHECK(CheckText(text, name, options));
  try {
    std::vector<NumberWord> words;
    const std::string replaced = options.allow_nan ? ReplaceNumberWords(text, words) : std::string();
    if (!words.empty()) text = replaced;
    size_t consumed = 0;
    Receiver receiver(text, name, options, words, consumed, handler);
    const CountingIterator begin(text.data(), &consumed);
    const CountingIterator end(text.data() + text.size(), &consumed);
    const bool whole = nlohmann::json::sax_parse(begin, end, &receiver);
    WEIGHTFS_CHECK(receiver.status());
    if (!whole)
      return Fail(ErrorCode::kInternal, fmt::format("{}: the JSON parser stopped without a reason", name));
    return {};
  } catch (const std::bad_alloc&) {
    return Fail(ErrorCode::kLimitExceeded, fmt::format("{}: out of memory while parsing JSON", name));
  } catch (const std::exception& error) {
    return Fail(ErrorCode::kCorrupt, fmt::format("{}: not valid JSON: {}", name, SyntaxDetail(error.what())));
  }
}

void AppendJsonString(std::string_view utf8, std::string& text) {
  text.push_back('"');
  size_t begin = 0;  // of the bytes that stand for themselves and are not appended yet
  for (size_t i = 0; i < utf8.size(); ++i) {
    const char c = utf8[i];
    if (static_cast<unsigned char>(c) >= 0x20 && c != '"' && c != '\\') [[likely]]
      continue;
    text.append(utf8, begin, i - begin);
    begin = i + 1;
    constexpr std::string_view kEscaped = "\"\\\b\f\n\r\t";
    constexpr std::string_view kLetters = "\"\\bfnrt";
    if (const size_t letter = kEscaped.find(c); letter != kEscaped.npos) {
      text.append({'\\', kLetters[letter]});
    } else {
      fmt::format_to(std::back_inserter(text), "\\u{:04x}", static_cast<unsigned>(c));
    }
  }
  text.append(utf8, begin);
  text.push_back('"');
}

std::string JsonString(std::string_view utf8) {
  std::string literal;
  literal.reserve(utf8.size() + 2);
  AppendJsonString(utf8, literal);
  return literal;
}

}  // namespace weightfs
