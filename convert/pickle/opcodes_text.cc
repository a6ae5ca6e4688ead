// Opcodes of protocol 0: values as lines of text.

#include <charconv>
#include <cmath>
#include <cstring>

#include "convert/pickle/machine.h"
#include "convert/pickle/text_codec.h"

namespace weightfs::pickle {
namespace {

// As Python itself limits them; longer ones would take time square in their length.
constexpr size_t kDecimalDigitsMax = 4300;
// A decoded text takes at most twice the bytes of its line.
constexpr uint64_t kDecodedFactor = 2;

}  // namespace

Status Machine::PushDecimal(std::string_view digits) {
  if (digits.size() > kDecimalDigitsMax + 1)
    return diagnostics_.Limit(fmt::format("a decimal integer of {} characters; expected at most {} digits",
                                          digits.size(), kDecimalDigitsMax));
  const std::optional<std::string> bytes = DecimalToTwosComplement(digits);
  if (!bytes)
    return diagnostics_.Corrupt("an integer that is not decimal; expected digits without leading zeros");
  if (bytes->size() > sizeof(int64_t)) return Push(arena_.Text(Kind::kBigInt, *bytes, offset()));
  int64_t value = digits.starts_with('-') ? -1 : 0;
  if (bytes->empty()) value = 0;
  std::memcpy(&value, bytes->data(), bytes->size());
  return Push(arena_.Int(value, offset()));
}

Status Machine::IntText() {
  WEIGHTFS_TRY(const std::string_view digits, reader_.TakeLine());
  if (digits == "00" || digits == "01") return Push(arena_.Bool(digits == "01", offset()));
  return PushDecimal(digits);
}

Status Machine::LongText() {
  WEIGHTFS_TRY(std::string_view digits, reader_.TakeLine());
  if (digits.ends_with('L')) digits.remove_suffix(1);
  return PushDecimal(digits);
}

Status Machine::FloatText() {
  WEIGHTFS_TRY(std::string_view digits, reader_.TakeLine());
  if (digits.starts_with('+') && !digits.starts_with("+-")) digits.remove_prefix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  // nan(...) is read by the library but not by Python.
  if (digits.empty() || error != std::errc() || end != digits.data() + digits.size() || digits.back() == ')')
    return diagnostics_.Corrupt(
        "a float that is not decimal; expected a number that a double holds, inf or nan");
  return Push(arena_.Float(value, offset()));
}

Status Machine::StringText() {
  WEIGHTFS_TRY(const std::string_view line, reader_.TakeLine());
  const bool quoted = line.size() >= 2 && line.front() == line.back() && (line[0] == '\'' || line[0] == '"');
  if (!quoted) return diagnostics_.Corrupt("a STRING without quotes; expected it between ' or \"");
  if (!arena_.budget().Charge(kDecodedFactor * line.size())) return diagnostics_.OutOfMemory();
  const std::optional<std::string> bytes = DecodeEscapes(line.substr(1, line.size() - 2));
  if (!bytes) return diagnostics_.Corrupt("a STRING with an unfinished escape; expected digits after \\x");
  const Status pushed = PushByteString(*bytes);
  arena_.budget().Release(kDecodedFactor * line.size());
  return pushed;
}

Status Machine::UnicodeText() {
  WEIGHTFS_TRY(const std::string_view line, reader_.TakeLine());
  if (!arena_.budget().Charge(kDecodedFactor * line.size())) return diagnostics_.OutOfMemory();
  const std::optional<std::string> text = DecodeRawUnicodeEscapes(line);
  if (!text)
    return diagnostics_.Corrupt(
        "a UNICODE with a bad escape; expected \\u and 4, or \\U and 8 hexadecimal digits");
  const Status pushed = Push(arena_.Text(Kind::kString, *text, offset()));
  arena_.budget().Release(kDecodedFactor * line.size());
  return pushed;
}

}  // namespace weightfs::pickle
