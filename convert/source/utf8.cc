#include "convert/source/utf8.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdint>
#include <ranges>

namespace weightfs {
namespace {

constexpr size_t kQuotedBytesMax = 120;

uint8_t ByteAt(std::string_view text, size_t index) { return static_cast<uint8_t>(text[index]); }

bool Continues(std::string_view text, size_t from, size_t count) {
  if (text.size() < from + count) return false;
  for (size_t i = 0; i < count; ++i)
    if ((ByteAt(text, from + i) & 0xC0) != 0x80) return false;
  return true;
}

std::string AndMore(std::span<const std::string> names) {
  return names.size() > kListedNamesMax ? fmt::format(" and {} more", names.size() - kListedNamesMax) : "";
}

}  // namespace

size_t Utf8SequenceLength(std::string_view text) {
  if (text.empty()) return 0;
  const uint8_t lead = ByteAt(text, 0);
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return Continues(text, 1, 1) ? 2 : 0;
  if (lead >= 0xE0 && lead <= 0xEF) {
    if (!Continues(text, 1, 2)) return 0;
    const uint8_t second = ByteAt(text, 1);
    const bool overlong = lead == 0xE0 && second < 0xA0, surrogate = lead == 0xED && second > 0x9F;
    return overlong || surrogate ? 0 : 3;
  }
  if (lead >= 0xF0 && lead <= 0xF4) {
    if (!Continues(text, 1, 3)) return 0;
    const uint8_t second = ByteAt(text, 1);
    const bool overlong = lead == 0xF0 && second < 0x90, beyond = lead == 0xF4 && second > 0x8F;
    return overlong || beyond ? 0 : 4;
  }
  return 0;
}

bool IsUtf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const size_t length = Utf8SequenceLength(text.substr(i));
    if (length == 0) return false;
    i += length;
  }
  return true;
}

std::string Quoted(std::string_view text) {
  std::string result = "'";
  size_t i = 0;
  while (i < text.size() && i < kQuotedBytesMax) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const size_t length = Utf8SequenceLength(text.substr(i));
    if (length == 0 || byte < 0x20 || byte == 0x7F) {
      result += fmt::format("\\x{:02x}", byte);
      ++i;
    } else {
      result += text.substr(i, length);
      i += length;
    }
  }
  result += i < text.size() ? "'..." : "'";
  return result;
}

std::string ListNames(std::span<const std::string> names) {
  const auto shown = names.first(std::min(names.size(), kListedNamesMax));
  return fmt::format("{}{}", fmt::join(shown, ", "), AndMore(names));
}

std::string ListQuoted(std::span<const std::string> names) {
  const auto quoted = names.first(std::min(names.size(), kListedNamesMax)) | std::views::transform(Quoted);
  return fmt::format("{}{}", fmt::join(quoted, ", "), AndMore(names));
}

}  // namespace weightfs
