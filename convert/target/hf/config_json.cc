#include "convert/target/hf/config_json.h"

#include <fmt/format.h>

#include <utility>
#include <vector>

#include "convert/base/json.h"

namespace weightfs {
namespace {

constexpr std::string_view kTorchPrefix = "torch.";

bool IsDTypeKey(std::string_view key) { return key == "dtype" || key == "torch_dtype"; }

/// The dtype's name without `torch.`, when `value` names one.
bool NamesTorchDType(std::string_view value) {
  if (value.starts_with(kTorchPrefix)) value.remove_prefix(kTorchPrefix.size());
  return DTypeFromTorchName(value).has_value();
}

/// A string value that names a dtype, quotes included.
struct DTypeValue {
  ByteRange where;
  bool has_prefix = false;
};

/// Notes where the dtypes of a config.json are, and how its root ends.
class ConfigScanner final : public JsonHandler {
 public:
  explicit ConfigScanner(std::string_view file) : file_(file) {}

  ConfigFacts facts;
  std::vector<DTypeValue> dtype_values;
  bool has_dtype_key = false;
  uint64_t root_key_count = 0;
  ByteRange last_root_key;
  uint64_t last_root_value_begin = 0;
  uint64_t last_root_value_end = 0;  ///< Of the last token before the root's closing brace.
  uint64_t root_begin = 0;

  Status Null(ByteRange where) override { return Value(nullptr, where); }
  Status Boolean(bool, ByteRange where) override { return Value(nullptr, where); }
  Status Negative(int64_t, ByteRange where) override { return Value(nullptr, where); }
  Status Unsigned(uint64_t, ByteRange where) override { return Value(nullptr, where); }
  Status Float(double, ByteRange where) override { return Value(nullptr, where); }
  Status String(std::string& value, ByteRange where) override { return Value(&value, where); }
  Status BeginObject(ByteRange where) override {
    if (depth_ == 0) root_begin = where.begin;
    if (depth_ > 0) WEIGHTFS_CHECK(Value(nullptr, where));
    ++depth_;
    return {};
  }
  Status BeginArray(ByteRange where) override {
    WEIGHTFS_CHECK(Value(nullptr, where));
    ++depth_;
    return {};
  }
  Status EndObject(ByteRange where) override { return End(where); }
  Status EndArray(ByteRange where) override { return End(where); }
  Status Key(std::string& key, ByteRange where) override {
    key_is_dtype_ = IsDTypeKey(key);
    has_dtype_key |= key_is_dtype_;
    if (depth_ == 1) {
      ++root_key_count;
      root_key_ = std::move(key);
      last_root_key = where;
      last_root_value_begin = 0;
    }
    return {};
  }

 private:
  /// The first token of a value; `text` when it is a string.
  Status Value(const std::string* text, ByteRange where) {
    if (depth_ == 0)
      return Fail(ErrorCode::kCorrupt,
                  fmt::format("{}: byte {}: the root is no object; expected a config.json, "
                              "which is an object",
                              file_, where.begin));
    if (depth_ == 1) {
      if (last_root_value_begin == 0) last_root_value_begin = where.begin;
      NoteFact(text);
    }
    if (std::exchange(key_is_dtype_, false) && text != nullptr && NamesTorchDType(*text))
      dtype_values.push_back({where, text->starts_with(kTorchPrefix)});
    last_root_value_end = where.end;
    return {};
  }
  Status End(ByteRange where) {
    --depth_;
    key_is_dtype_ = false;
    if (depth_ > 0) last_root_value_end = where.end;
    return {};
  }
  void NoteFact(const std::string* text) {
    const auto value = text != nullptr ? std::optional(*text) : std::nullopt;
    if (root_key_ == "model_type") facts.model_type = value;
    if (root_key_ == "_class_name") facts.class_name = value;
    if (root_key_ == "torch_dtype" && !facts_from_dtype_) facts.dtype = value;
    if (root_key_ == "dtype") {
      facts.dtype = value;
      facts_from_dtype_ = true;
    }
  }

  std::string_view file_;
  std::string root_key_;
  uint64_t depth_ = 0;
  bool key_is_dtype_ = false;
  bool facts_from_dtype_ = false;
};

Status Scan(std::string_view text, std::string_view file, const Limits& limits, ConfigScanner& scanner) {
  const JsonOptions options = {.bytes_max = limits.json_bytes_max,
                               .depth_max = limits.json_depth_max,
                               .duplicate_keys = DuplicateKeys::kLastWins,
                               .allow_nan = true};
  return ParseJsonEvents(text, file, options, scanner);
}

/// `text` with `"torch_dtype": NAME` after the last member of the root, spaced as that member is.
std::string AddTorchDType(std::string_view text, const ConfigScanner& scanner, std::string_view name) {
  std::string added(text);
  if (scanner.root_key_count == 0) {
    added.insert(scanner.root_begin + 1, fmt::format(R"("torch_dtype": "{}")", name));
    return added;
  }
  uint64_t space_begin = scanner.last_root_key.begin;
  while (space_begin > 0 && std::string_view(" \t\r\n").contains(text[space_begin - 1])) --space_begin;
  std::string_view space = text.substr(space_begin, scanner.last_root_key.begin - space_begin);
  const std::string_view colon =
      text.substr(scanner.last_root_key.end, scanner.last_root_value_begin - scanner.last_root_key.end);
  // An only member does not tell what follows a comma; writers put there what they put after a colon.
  if (scanner.root_key_count == 1 && space.empty()) space = colon.substr(colon.find(':') + 1);
  added.insert(scanner.last_root_value_end, fmt::format(R"(,{}"torch_dtype"{}"{}")", space, colon, name));
  return added;
}

}  // namespace

Result<ConfigFacts> ReadConfigFacts(std::string_view text, std::string_view file, const Limits& limits) {
  ConfigScanner scanner(file);
  WEIGHTFS_CHECK(Scan(text, file, limits, scanner));
  return std::move(scanner.facts);
}

Result<std::string> SetConfigDtype(std::string_view text, DType dtype, std::string_view file,
                                   const Limits& limits) {
  const std::string_view name = TorchName(dtype);
  if (name.empty())
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("{}: {} cannot be stated; expected a dtype that torch has", file,
                            SafetensorsName(dtype)));
  ConfigScanner scanner(file);
  WEIGHTFS_CHECK(Scan(text, file, limits, scanner));
  if (!scanner.has_dtype_key) return AddTorchDType(text, scanner, name);
  std::string edited;
  uint64_t copied = 0;
  for (const DTypeValue& value : scanner.dtype_values) {
    edited += text.substr(copied, value.where.begin - copied);
    edited += fmt::format(R"("{}{}")", value.has_prefix ? kTorchPrefix : "", name);
    copied = value.where.end;
  }
  return edited += text.substr(copied);
}

}  // namespace weightfs
