#include "convert/base/json.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace weightfs {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string Repeat(std::string_view text, size_t times) {
  std::string result;
  for (size_t i = 0; i < times; ++i) result.append(text);
  return result;
}

Error ErrorOf(std::string_view text, const JsonOptions& options = {}) {
  const auto document = ParseJson(text, "f.json", options);
  EXPECT_FALSE(document.has_value()) << text;
  return document ? Error{} : document.error();
}

/// Writes each token and where it is.
class Recorder final : public JsonHandler {
 public:
  explicit Recorder(std::string_view text) : text_(text) {}
  Status Null(ByteRange where) override { return Add("null", where); }
  Status Boolean(bool value, ByteRange where) override { return Add(value ? "true" : "false", where); }
  Status Negative(int64_t value, ByteRange where) override {
    return Add(fmt::format("negative {}", value), where);
  }
  Status Unsigned(uint64_t value, ByteRange where) override {
    return Add(fmt::format("unsigned {}", value), where);
  }
  Status Float(double value, ByteRange where) override { return Add(fmt::format("float {}", value), where); }
  Status String(std::string& value, ByteRange where) override { return Add("string " + value, where); }
  Status Key(std::string& key, ByteRange where) override {
    if (key == fail_at_key) return Fail(ErrorCode::kUnsupported, "the handler's own failure");
    return Add("key " + key, where);
  }
  Status BeginObject(ByteRange where) override { return Add("object", where); }
  Status EndObject(ByteRange where) override { return Add("end", where); }
  Status BeginArray(ByteRange where) override { return Add("array", where); }
  Status EndArray(ByteRange where) override { return Add("end", where); }

  std::string fail_at_key = "-";
  std::vector<std::string> tokens;

 private:
  Status Add(const std::string& what, ByteRange where) {
    tokens.push_back(fmt::format("{} <{}>", what, text_.substr(where.begin, where.size())));
    return {};
  }
  std::string_view text_;
};

TEST(JsonTest, DocumentsKeepTheOrderOfTheText) {
  const auto document = ParseJson(R"({"z":1,"a":[true,null,-2,1.5,"x"],"m":{"k":{}}})", "f");
  ASSERT_TRUE(document.has_value());
  EXPECT_EQ(document->dump(), R"({"z":1,"a":[true,null,-2,1.5,"x"],"m":{"k":{}}})");
}

TEST(JsonTest, ScalarsAreDocumentsToo) {
  for (const std::string_view text : {"1", "-7", "null", "true", "\"x\"", "2.5", " [ ] ", "{}"})
    EXPECT_TRUE(ParseJson(text, "f").has_value()) << text;
  EXPECT_EQ(ParseJson("18446744073709551615", "f")->get<uint64_t>(), ~uint64_t{0});
  EXPECT_TRUE(ParseJson("18446744073709551616", "f")->is_number_float());
}

TEST(JsonTest, EventsSayWhereEachTokenIs) {
  const std::string text = "{ \"a\\n\" : [ -2 ,3, 4.5e1,true ,\n null,\"x\\\"\"] }\n";
  Recorder recorder(text);
  ASSERT_TRUE(ParseJsonEvents(text, "f", {}, recorder).has_value());
  EXPECT_THAT(recorder.tokens,
              ElementsAre("object <{>", "key a\n <\"a\\n\">", "array <[>", "negative -2 <-2>",
                          "unsigned 3 <3>", "float 45 <4.5e1>", "true <true>", "null <null>",
                          "string x\" <\"x\\\"\">", "end <]>", "end <}>"));
}

TEST(JsonTest, AHandlersFailureEndsTheParse) {
  const std::string_view text = R"({"a":1,"b":2,"c":3})";
  Recorder recorder(text);
  recorder.fail_at_key = "b";
  const Status status = ParseJsonEvents(text, "f", {}, recorder);
  ASSERT_FALSE(status.has_value());
  EXPECT_EQ(status.error().message, "the handler's own failure");
  EXPECT_EQ(recorder.tokens.size(), 3u);
}

TEST(JsonTest, WhatIsNotJsonNamesFileAndOffset) {
  const struct {
    std::string_view text;
    std::string_view message;
  } cases[] = {
      {"", "f.json: empty; expected JSON"},
      {" \n", "f.json: empty; expected JSON"},
      {"{\"a\":1", "f.json: offset 6: not valid JSON"},
      {"{\"a\":1,}", "f.json: offset 7: not valid JSON"},
      {"{'a':1}", "f.json: offset 1: not valid JSON"},
      {"{1:2}", "f.json: offset 1: not valid JSON"},
      {"[1 2]", "f.json: offset 3: not valid JSON"},
      {"[1]x", "f.json: offset 3: not valid JSON"},
      {"[1] // c", "f.json: offset 4: not valid JSON"},
      {"[01]", "f.json: offset 2: not valid JSON"},
      {"[.5]", "f.json: offset 1: not valid JSON"},
      {"[+1]", "f.json: offset 1: not valid JSON"},
      {"[1e999]", "number overflow"},
      {"[NaN]", "f.json: offset 1: not valid JSON"},
      {"[nul]", "f.json: offset 4: not valid JSON"},
      {"[\"\xff\"]", "f.json: offset 2: not valid JSON"},
      {"[\"\xc0\xaf\"]", "f.json: offset 2: not valid JSON"},          // overlong
      {"[\"\xed\xa0\x80\"]", "f.json: offset 3: not valid JSON"},      // a surrogate in UTF-8
      {"[\"\xf4\x90\x80\x80\"]", "f.json: offset 3: not valid JSON"},  // past U+10FFFF
      {"[\"\\ud800\"]", "surrogate"},
      {"[\"\\udc00\"]", "surrogate"},
      {"[\"\\x\"]", "f.json: offset 3: not valid JSON"},
      {"[\"a\nb\"]", "f.json: offset 3: not valid JSON"},
      {"\xef\xbb\xbf{}", "f.json: offset 0: a byte order mark"},
      {std::string_view("{}\0", 3), "f.json: offset 2: not valid JSON: a zero byte"},
      {std::string_view("{}\0garbage", 10), "f.json: offset 2: not valid JSON: a zero byte"},
  };
  for (const auto& [text, message] : cases) {
    const Error error = ErrorOf(text);
    EXPECT_EQ(error.code, ErrorCode::kCorrupt) << text;
    EXPECT_THAT(error.message, HasSubstr(std::string(message)));
    EXPECT_THAT(error.message, HasSubstr("f.json: "));
    EXPECT_LT(error.message.size(), 300u);
  }
}

TEST(JsonTest, MessagesStayShortWhateverTheText) {
  EXPECT_LT(ErrorOf("[\"" + std::string(100'000, 'a') + "\n\"]").message.size(), 300u);
  EXPECT_LT(ErrorOf("[1" + std::string(100'000, '0') + "e5" + std::string(400, '0') + "9]").message.size(),
            300u);
  const std::string key(100'000, 'k');
  EXPECT_LT(ErrorOf("{\"" + key + "\":1,\"" + key + "\":1}").message.size(), 400u);
}

TEST(JsonTest, DuplicateKeysAreRefusedAnywhere) {
  for (const std::string_view text :
       {R"({"a":1,"a":1})", R"([{"b":{"x":1,"a":2,"a":3}}])", R"({"a":1,"\u0061":2})",
        R"({"\u0061":1,"a":2})", R"({"\u0061":1,"\u0061":2})", R"({"":1,"":2})",
        R"({"z":{"q":1},"a":{"a":1},"a":2})"}) {
    const Error error = ErrorOf(text);
    EXPECT_EQ(error.code, ErrorCode::kCorrupt) << text;
    EXPECT_THAT(error.message, HasSubstr("f.json: duplicate key \""));
  }
  EXPECT_THAT(ErrorOf(R"({"z":1,"a\n":1,"a\n":2})").message,
              HasSubstr(R"(duplicate key "a\n" in the object)"));
  for (const std::string_view text : {R"({"a":{"a":{"a":1}},"b":{"a":1}})", R"([{"a":1},{"a":1}])",
                                      R"({"a":1,"\u0062":2,"aa":3,"\u0062b":4,"b\n":5})"})
    EXPECT_TRUE(ParseJson(text, "f").has_value()) << text;
}

TEST(JsonTest, LastWinsAsInPython) {
  const JsonOptions options{.duplicate_keys = DuplicateKeys::kLastWins};
  const auto dump = [&](std::string_view text) { return ParseJson(text, "f", options)->dump(); };
  EXPECT_EQ(dump(R"({"a":1,"b":2,"a":3})"), R"({"a":3,"b":2})");
  EXPECT_EQ(dump(R"({"a":1,"b":2,"a":3,"b":4,"c":5,"a":6})"), R"({"a":6,"b":4,"c":5})");
  EXPECT_EQ(dump(R"([{"a":{"x":1,"x":[]},"a":{"y":1}}])"), R"([{"a":{"y":1}}])");
  EXPECT_EQ(dump(R"({"a":1,"\u0061":2})"), R"({"a":2})");
}

TEST(JsonTest, NumberWordsOfPythonOnlyOnRequest) {
  const JsonOptions options{.allow_nan = true};
  const auto document =
      ParseJson(R"([NaN, Infinity,-Infinity,"NaN","a\"NaN",{"x":NaN,"NaN":1}])", "f", options);
  ASSERT_TRUE(document.has_value()) << document.error().message;
  EXPECT_TRUE(std::isnan((*document)[0].get<double>()));
  EXPECT_EQ((*document)[1].get<double>(), HUGE_VAL);
  EXPECT_EQ((*document)[2].get<double>(), -HUGE_VAL);
  EXPECT_EQ((*document)[3], "NaN");
  EXPECT_EQ((*document)[4], "a\"NaN");
  EXPECT_TRUE(std::isnan((*document)[5]["x"].get<double>()));
  EXPECT_EQ((*document)[5]["NaN"], 1);
  for (const std::string_view text :
       {"[NaNN]", "[+Infinity]", "[nan]", "[Inf]", "{NaN:1}", "[-NaN]", "[InfinityNaN]"})
    EXPECT_EQ(ErrorOf(text, options).code, ErrorCode::kCorrupt) << text;
}

TEST(JsonTest, SizeLimit) {
  const std::string text = "[1,2,3,4]";
  for (const uint64_t maximum : {text.size() - 1, text.size(), text.size() + 1}) {
    const auto document = ParseJson(text, "f.json", {.bytes_max = maximum});
    EXPECT_EQ(document.has_value(), maximum >= text.size());
    if (document) continue;
    EXPECT_EQ(document.error().code, ErrorCode::kLimitExceeded);
    EXPECT_EQ(document.error().message, "f.json: 9 bytes of JSON; expected at most 8");
  }
}

TEST(JsonTest, DepthLimit) {
  for (const size_t depth : {63u, 64u, 65u}) {
    const std::string arrays = Repeat("[", depth) + Repeat("]", depth);
    const std::string objects = Repeat("{\"a\":", depth - 1) + "{}" + Repeat("}", depth - 1);
    for (const std::string& text : {arrays, objects}) {
      const auto document = ParseJson(text, "f.json");
      EXPECT_EQ(document.has_value(), depth <= 64);
      if (document) continue;
      EXPECT_EQ(document.error().code, ErrorCode::kLimitExceeded);
      EXPECT_THAT(document.error().message, HasSubstr("nested deeper than 64 levels"));
    }
  }
  EXPECT_EQ(ErrorOf(Repeat("[", 1'000'000)).code, ErrorCode::kLimitExceeded);
}

TEST(JsonTest, DocumentsAreBoundedInMemory) {
  const std::string text = "[" + Repeat("[],", 100'000) + "1]";
  EXPECT_TRUE(ParseJson(text, "f").has_value());
  const auto document = ParseJson(text, "f.json", {.document_bytes_max = 1_MiB});
  ASSERT_FALSE(document.has_value());
  EXPECT_EQ(document.error().code, ErrorCode::kLimitExceeded);
  EXPECT_THAT(document.error().message, HasSubstr("would take more than"));
}

TEST(JsonTest, LargeObjectsTakeLinearTime) {
  // A search per key, or a copy of the subtree at each growth, would make these take minutes.
  std::string wide = "{";
  for (int i = 0; i < 200'000; ++i) wide += fmt::format("\"model.layers.{}.weight\":\"x\",", i);
  wide += "\"z\":1}";
  std::string nested = wide;
  std::string tail;
  for (int i = 0; i < 2000; ++i) tail += fmt::format(",\"{}\":1", i);
  for (int i = 0; i < 40; ++i) nested = "{\"k\":" + nested + tail + "}";
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(ParseJson(wide, "f", {.document_bytes_max = 1_GiB})->size(), 200'001u);
  EXPECT_EQ(
      ParseJson(wide, "f", {.duplicate_keys = DuplicateKeys::kLastWins, .document_bytes_max = 1_GiB})->size(),
      200'001u);
  EXPECT_EQ(ParseJson(nested, "f", {.document_bytes_max = 1_GiB})->size(), 2001u);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

TEST(JsonTest, StringLiteralsAreEscapedAsSerdeDoes) {
  EXPECT_EQ(JsonString("a\"\\/\b\f\n\r\t\x01\x1f\x7f\xc3\xa9"),
            "\"a\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u001f\x7f\xc3\xa9\"");
  EXPECT_EQ(JsonString(std::string_view("\0", 1)), "\"\\u0000\"");
  EXPECT_EQ(JsonString(""), "\"\"");
  std::string all;
  for (int c = 0; c < 128; ++c) all.push_back(static_cast<char>(c));
  EXPECT_EQ(ParseJson(JsonString(all), "f")->get<std::string>(), all);
}

}  // namespace
}  // namespace weightfs
