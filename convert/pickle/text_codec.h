/// \file
/// How pickles write text and integers. Internal to `convert/pickle`.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace weightfs::pickle {

/// Whether a surrogate code point, in its 3-byte form, counts as text.
enum class Surrogates { kPass, kRefuse };

/// True when `text` is UTF-8: shortest forms, at most U+10FFFF.
bool IsUtf8(std::string_view text, Surrogates surrogates);

/// Appends `code_point`, at most U+10FFFF, to `text` as UTF-8; surrogates in 3 bytes.
void AppendUtf8(uint32_t code_point, std::string& text);

/// Decodes the body of a Python 2 string literal: `\n`, `\x41`, `\101`, `\'`, ...; unknown escapes stand for
/// themselves. Nothing for a lone backslash at the end or `\x` without two hexadecimal digits.
std::optional<std::string> DecodeEscapes(std::string_view literal);

/// Decodes Python's raw-unicode-escape to UTF-8: Latin-1 bytes, `\uXXXX` and `\UXXXXXXXX`. Nothing for digits
/// that are missing or beyond U+10FFFF.
std::optional<std::string> DecodeRawUnicodeEscapes(std::string_view literal);

/// The Latin-1 bytes of UTF-8 `text`, or nothing when a character is beyond U+00FF.
std::optional<std::string> EncodeLatin1(std::string_view text);

/// `bytes`, a little-endian two's complement, without leading bytes that only repeat the sign; empty for 0.
std::string_view ShortestTwosComplement(std::string_view bytes);

/// The little-endian two's complement of a decimal number: an optional sign, then digits without leading
/// zeros. Takes time square in the digits, so callers bound them. Nothing when it is no such number.
std::optional<std::string> DecimalToTwosComplement(std::string_view decimal);

}  // namespace weightfs::pickle
