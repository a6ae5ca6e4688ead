/// \file
/// Text from files, checked and made fit for messages. UTF-8 as Unicode defines it: no overlong forms, no
/// surrogates, nothing beyond U+10FFFF.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace weightfs {

/// Bytes of the character that `text` begins with, 1 to 4; 0 when it begins with none (or is empty).
size_t Utf8SequenceLength(std::string_view text);

/// `text` for messages: in quotes, control characters and bytes that are not UTF-8 as `\xHH`, long text cut.
std::string Quoted(std::string_view text);

/// How many names a message lists; of more it says how many there are.
inline constexpr size_t kListedNamesMax = 8;

/// `names` for messages: "a, b and 5 more".
std::string ListNames(std::span<const std::string> names);

/// The same of names that a file chose: "'a', 'b' and 5 more".
std::string ListQuoted(std::span<const std::string> names);

/// True when all of `text` is UTF-8.
bool IsUtf8(std::string_view text);

}  // namespace weightfs
