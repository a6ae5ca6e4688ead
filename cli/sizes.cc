#include "cli/sizes.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cmath>

#include "cli/messages.h"

namespace weightfs::cli {
namespace {

struct Unit {
  std::string_view name;  ///< In lower case.
  double bytes;
};
constexpr std::array kUnits = {
    Unit{"", 1.0},
    Unit{"b", 1.0},
    Unit{"k", 1024.0},
    Unit{"kb", 1e3},
    Unit{"kib", 1024.0},
    Unit{"m", 1048576.0},
    Unit{"mb", 1e6},
    Unit{"mib", 1048576.0},
    Unit{"g", 1073741824.0},
    Unit{"gb", 1e9},
    Unit{"gib", 1073741824.0},
    Unit{"t", 1099511627776.0},
    Unit{"tb", 1e12},
    Unit{"tib", 1099511627776.0},
};

}  // namespace

Result<uint64_t> ParseSize(std::string_view text) {
  const auto fail = [&] {
    return UsageError(
        fmt::format("'{}' is not a size; expected a number and a unit, such as 5GB or 64MiB", text));
  };
  const size_t digits = std::min(text.find_first_not_of("0123456789."), text.size());
  if (digits == 0) return fail();
  std::string unit(text.substr(digits));
  unit.erase(0, std::min(unit.find_first_not_of(' '), unit.size()));
  std::transform(unit.begin(), unit.end(), unit.begin(), [](unsigned char c) { return std::tolower(c); });
  const auto found =
      std::find_if(kUnits.begin(), kUnits.end(), [&](const Unit& u) { return u.name == unit; });
  if (found == kUnits.end()) return fail();

  uint64_t whole = 0;
  const char* const end = text.data() + digits;
  if (const auto [stop, error] = std::from_chars(text.data(), end, whole);
      error == std::errc() && stop == end) {
    const auto bytes = static_cast<unsigned __int128>(whole) * static_cast<uint64_t>(found->bytes);
    if (bytes > INT64_MAX) return fail();
    return static_cast<uint64_t>(bytes);
  }
  double number = 0;
  if (const auto [stop, error] = std::from_chars(text.data(), end, number);
      error != std::errc() || stop != end)
    return fail();
  const double bytes = std::floor(number * found->bytes);
  if (!(bytes >= 0 && bytes < 9.2e18)) return fail();
  return static_cast<uint64_t>(bytes);
}

std::string FormatSize(uint64_t bytes) {
  if (bytes < 1000) return fmt::format("{} B", bytes);
  static constexpr std::array kNames = {"kB", "MB", "GB", "TB", "PB", "EB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  // 999.5 would print as four digits, so the next unit begins there.
  for (value /= 1000; value >= 999.5 && unit + 1 < kNames.size(); ++unit) value /= 1000;
  const int decimals = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
  return fmt::format("{:.{}f} {}", value, decimals, kNames[unit]);
}

std::string FormatCount(uint64_t number) {
  std::string text = std::to_string(number);
  for (size_t i = text.size(); i > 3;) text.insert(i -= 3, 1, ',');
  return text;
}

std::string FormatDuration(double seconds) {
  if (!(seconds >= 0 && seconds < 99.0 * 3600)) return "?";
  const auto total = static_cast<uint64_t>(std::llround(seconds));
  if (total < 60) return fmt::format("{} s", total);
  if (total < 3600) return fmt::format("{}:{:02}", total / 60, total % 60);
  return fmt::format("{}:{:02}:{:02}", total / 3600, total / 60 % 60, total % 60);
}

}  // namespace weightfs::cli
