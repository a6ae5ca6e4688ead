#include "convert/pickle/text_codec.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

namespace weightfs::pickle {
namespace {

constexpr uint32_t kCodePointMax = 0x10FFFF;
constexpr uint32_t kDigitsPerStep = 9;

unsigned char Byte(std::string_view text, size_t i) { return static_cast<unsigned char>(text[i]); }
bool IsContinuation(unsigned char byte) { return (byte & 0xC0) == 0x80; }

/// Bytes of the UTF-8 character at `i`, or 0 when there is none.
size_t CharacterBytes(std::string_view text, size_t i, Surrogates surrogates) {
  const unsigned char lead = Byte(text, i);
  if (lead < 0x80) return 1;
  const size_t size = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || size > text.size() - i) return 0;
  for (size_t k = 1; k < size; ++k)
    if (!IsContinuation(Byte(text, i + k))) return 0;
  const unsigned char second = Byte(text, i + 1);
  // Longer forms than needed, code points beyond the last, and surrogates show in the second byte.
  if ((lead == 0xE0 && second < 0xA0) || (lead == 0xF0 && second < 0x90) || (lead == 0xF4 && second > 0x8F))
    return 0;
  if (lead == 0xED && second >= 0xA0 && surrogates == Surrogates::kRefuse) return 0;
  return size;
}

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

/// The number that `count` hexadecimal digits at `i` give, or nothing.
std::optional<uint32_t> HexNumber(std::string_view text, size_t i, size_t count) {
  if (i > text.size() || text.size() - i < count) return std::nullopt;
  uint32_t value = 0;
  for (size_t k = 0; k < count; ++k) {
    const int digit = HexDigit(text[i + k]);
    if (digit < 0) return std::nullopt;
    value = value << 4 | static_cast<uint32_t>(digit);
  }
  return value;
}

/// What a backslash and `letter` stand for, where that is one fixed byte.
std::optional<char> SimpleEscape(char letter) {
  constexpr std::string_view kLetters = "\\'\"abfnrtv";
  constexpr std::string_view kBytes = "\\'\"\a\b\f\n\r\t\v";
  const size_t i = kLetters.find(letter);
  if (i == std::string_view::npos) return std::nullopt;
  return kBytes[i];
}

bool IsOctalDigit(char c) { return c >= '0' && c <= '7'; }

}  // namespace

bool IsUtf8(std::string_view text, Surrogates surrogates) {
  constexpr uint64_t kHighBits = 0x8080808080808080;
  size_t i = 0;
  while (i < text.size()) {
    uint64_t block = kHighBits;
    if (text.size() - i >= sizeof block) std::memcpy(&block, text.data() + i, sizeof block);
    if ((block & kHighBits) == 0) {
      i += sizeof block;
      continue;
    }
    const size_t size = CharacterBytes(text, i, surrogates);
    if (size == 0) return false;
    i += size;
  }
  return true;
}

void AppendUtf8(uint32_t code_point, std::string& text) {
  const auto put = [&text](uint32_t byte) { text += static_cast<char>(byte); };
  if (code_point < 0x80) return put(code_point);
  if (code_point < 0x800) {
    put(0xC0 | code_point >> 6);
  } else if (code_point < 0x10000) {
    put(0xE0 | code_point >> 12);
    put(0x80 | (code_point >> 6 & 0x3F));
  } else {
    put(0xF0 | code_point >> 18);
    put(0x80 | (code_point >> 12 & 0x3F));
    put(0x80 | (code_point >> 6 & 0x3F));
  }
  put(0x80 | (code_point & 0x3F));
}

std::optional<std::string> DecodeEscapes(std::string_view literal) {
  std::string result;
  result.reserve(literal.size());
  for (size_t i = 0; i < literal.size(); ++i) {
    if (literal[i] != '\\') {
      result += literal[i];
      continue;
    }
    if (++i == literal.size()) return std::nullopt;
    const char letter = literal[i];
    if (const std::optional<char> byte = SimpleEscape(letter)) {
      result += *byte;
    } else if (letter == 'x') {
      const std::optional<uint32_t> value = HexNumber(literal, i + 1, 2);
      if (!value) return std::nullopt;
      result += static_cast<char>(*value);
      i += 2;
    } else if (IsOctalDigit(letter)) {
      uint32_t value = static_cast<uint32_t>(letter - '0');
      for (size_t digits = 1; digits < 3 && i + 1 < literal.size() && IsOctalDigit(literal[i + 1]); ++digits)
        value = value << 3 | static_cast<uint32_t>(literal[++i] - '0');
      result += static_cast<char>(value & 0xFF);
    } else {
      result += '\\';
      result += letter;
    }
  }
  return result;
}

std::optional<std::string> DecodeRawUnicodeEscapes(std::string_view literal) {
  std::string result;
  result.reserve(literal.size());
  for (size_t i = 0; i < literal.size(); ++i) {
    const char next = literal[i] == '\\' && i + 1 < literal.size() ? literal[i + 1] : '\0';
    if (next == 'u' || next == 'U') {
      const size_t digits = next == 'u' ? 4 : 8;
      const std::optional<uint32_t> code_point = HexNumber(literal, i + 2, digits);
      if (!code_point || *code_point > kCodePointMax) return std::nullopt;
      AppendUtf8(*code_point, result);
      i += 1 + digits;
      continue;
    }
    AppendUtf8(Byte(literal, i), result);
    // The byte after a backslash is plain, so that of two backslashes none begins an escape.
    if (literal[i] == '\\' && i + 1 < literal.size()) AppendUtf8(Byte(literal, ++i), result);
  }
  return result;
}

std::optional<std::string> EncodeLatin1(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    const unsigned char lead = Byte(text, i);
    if (lead < 0x80) {
      result += static_cast<char>(lead);
      continue;
    }
    if (lead > 0xC3 || i + 1 == text.size()) return std::nullopt;
    result += static_cast<char>((lead & 0x03) << 6 | (Byte(text, ++i) & 0x3F));
  }
  return result;
}

std::string_view ShortestTwosComplement(std::string_view bytes) {
  while (!bytes.empty()) {
    const auto last = static_cast<signed char>(bytes.back());
    const bool next_negative = bytes.size() > 1 && static_cast<signed char>(bytes[bytes.size() - 2]) < 0;
    const bool repeats = (last == 0 && !next_negative) || (last == -1 && next_negative);
    if (!repeats) break;
    bytes.remove_suffix(1);
  }
  return bytes;
}

std::optional<std::string> DecimalToTwosComplement(std::string_view decimal) {
  const bool negative = decimal.starts_with('-');
  if (negative || decimal.starts_with('+')) decimal.remove_prefix(1);
  if (decimal.empty() || (decimal.size() > 1 && decimal[0] == '0')) return std::nullopt;
  if (!std::ranges::all_of(decimal, [](char c) { return c >= '0' && c <= '9'; })) return std::nullopt;
  std::vector<uint32_t> words;
  for (size_t i = 0; i < decimal.size();) {
    const size_t step =
        (decimal.size() - i) % kDigitsPerStep == 0 ? kDigitsPerStep : (decimal.size() - i) % kDigitsPerStep;
    uint64_t carry = 0, scale = 1;
    for (size_t end = i + step; i < end; ++i) {
      carry = carry * 10 + static_cast<uint64_t>(decimal[i] - '0');
      scale *= 10;
    }
    for (uint32_t& word : words) {
      carry += word * scale;
      word = static_cast<uint32_t>(carry);
      carry >>= 32;
    }
    if (carry != 0) words.push_back(static_cast<uint32_t>(carry));
  }
  words.push_back(0);  // Room for the sign.
  if (negative) {
    uint64_t carry = 1;
    for (uint32_t& word : words) {
      carry += static_cast<uint32_t>(~word);
      word = static_cast<uint32_t>(carry);
      carry >>= 32;
    }
  }
  const std::string_view bytes(reinterpret_cast<const char*>(words.data()), words.size() * sizeof(uint32_t));
  return std::string(ShortestTwosComplement(bytes));
}

}  // namespace weightfs::pickle
