// Any bytes as JSON: the document, the events and nlohmann's own parser must agree on what is valid.
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string_view>

#include "convert/base/json.h"

namespace {

using weightfs::ByteRange;
using weightfs::Status;

/// Checks that every token lies where it is said to lie.
class PlaceChecker final : public weightfs::JsonHandler {
 public:
  explicit PlaceChecker(std::string_view text) : text_(text) {}
  Status Null(ByteRange where) override { return Expect(At(where) == "null"); }
  Status Boolean(bool value, ByteRange where) override {
    return Expect(At(where) == (value ? "true" : "false"));
  }
  Status Negative(int64_t value, ByteRange where) override {
    return Expect(value < 0 && At(where).starts_with("-"));
  }
  Status Unsigned(uint64_t, ByteRange where) override { return Expect(!At(where).empty()); }
  Status Float(double, ByteRange where) override { return Expect(!At(where).empty()); }
  Status String(std::string&, ByteRange where) override { return ExpectQuoted(where); }
  Status Key(std::string&, ByteRange where) override { return ExpectQuoted(where); }
  Status BeginObject(ByteRange where) override { return Expect(At(where) == "{"); }
  Status EndObject(ByteRange where) override { return Expect(At(where) == "}"); }
  Status BeginArray(ByteRange where) override { return Expect(At(where) == "["); }
  Status EndArray(ByteRange where) override { return Expect(At(where) == "]"); }

 private:
  std::string_view At(ByteRange where) {
    if (where.begin < end_ || where.end > text_.size()) std::abort();
    end_ = where.end;
    return text_.substr(where.begin, where.size());
  }
  Status ExpectQuoted(ByteRange where) {
    const std::string_view token = At(where);
    return Expect(token.size() >= 2 && token.front() == '"' && token.back() == '"');
  }
  static Status Expect(bool condition) {
    if (!condition) std::abort();
    return {};
  }

  std::string_view text_;
  uint64_t end_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  weightfs::JsonOptions lenient;
  lenient.duplicate_keys = weightfs::DuplicateKeys::kLastWins;
  const auto document = weightfs::ParseJson(text, "f", lenient);
  const bool valid =
      text.find('\0') == text.npos && !text.starts_with("\xef\xbb\xbf") && nlohmann::json::accept(text);
  if (document && !valid) std::abort();
  if (!document && valid && document.error().code != weightfs::ErrorCode::kLimitExceeded) std::abort();
  PlaceChecker checker(text);
  if (weightfs::ParseJsonEvents(text, "f", lenient, checker).has_value() != document.has_value() &&
      document.error().code != weightfs::ErrorCode::kLimitExceeded)
    std::abort();
  if (document && nlohmann::json(*document) != nlohmann::json::parse(text)) std::abort();

  const auto strict = weightfs::ParseJson(text, "f", {});
  if (strict && (!document || *strict != *document)) std::abort();
  lenient.allow_nan = true;
  const auto with_nan = weightfs::ParseJson(text, "f", lenient);
  if (document && (!with_nan || *with_nan != *document)) std::abort();
  return 0;
}
