#include <fmt/format.h>

#include <cctype>
#include <charconv>
#include <cmath>
#include <limits>

#include "convert/target/hf/shard_plan.h"

namespace weightfs {
namespace {

struct Unit {
  std::string_view suffix;  ///< Lower case.
  uint64_t bytes;
};

/// Longer suffixes first: "kib" ends in "b" too.
constexpr Unit kUnits[] = {
    {"kib", 1ull << 10},
    {"mib", 1ull << 20},
    {"gib", 1ull << 30},
    {"tib", 1ull << 40},
    {"kb", 1'000},
    {"mb", 1'000'000},
    {"gb", 1'000'000'000},
    {"tb", 1'000'000'000'000},
    {"b", 1},
    {"", 1},
};

std::string_view Trim(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

bool EndsWithIgnoringCase(std::string_view text, std::string_view suffix) {
  if (text.size() < suffix.size()) return false;
  text.remove_prefix(text.size() - suffix.size());
  for (size_t i = 0; i < suffix.size(); ++i)
    if (std::tolower(static_cast<unsigned char>(text[i])) != suffix[i]) return false;
  return true;
}

/// The whole of `text` as a number, or nothing.
template <typename T>
std::optional<T> ParseNumber(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<uint64_t> ParseBytes(std::string_view number, uint64_t unit_bytes) {
  if (number.empty() || number.find_first_not_of("0123456789.") != number.npos) return std::nullopt;
  if (const auto whole = ParseNumber<uint64_t>(number)) return CheckedMultiply(*whole, unit_bytes);
  if (unit_bytes == 1) return std::nullopt;
  const auto fraction = ParseNumber<double>(number);
  // The product is a double and is cut off, as in Python: "0.29GB" is 290,000,000 only if the doubles say so.
  if (!fraction || *fraction * static_cast<double>(unit_bytes) >= 0x1p63) return std::nullopt;
  return static_cast<uint64_t>(*fraction * static_cast<double>(unit_bytes));
}

}  // namespace

Result<uint64_t> ParseSize(std::string_view text) {
  std::string_view rest = Trim(text);
  for (const Unit& unit : kUnits) {
    if (!EndsWithIgnoringCase(rest, unit.suffix)) continue;
    rest.remove_suffix(unit.suffix.size());
    const auto bytes = ParseBytes(Trim(rest), unit.bytes);
    if (bytes && *bytes > 0 && *bytes <= uint64_t(std::numeric_limits<int64_t>::max())) return *bytes;
    break;
  }
  return Fail(ErrorCode::kInvalidArgument,
              fmt::format("'{}' is not a size; expected a number and a unit, such as 5GB or 512MiB", text));
}

}  // namespace weightfs
