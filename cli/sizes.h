/// \file
/// Sizes and times as people write and read them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "convert/base/result.h"

namespace weightfs::cli {

/// Parses a size: a number, perhaps with a decimal point, then a unit in any case. `KB MB GB TB` are powers
/// of 1000 (as Hugging Face writes shard sizes), `K M G T` and `KiB MiB GiB TiB` powers of 1024, `B` or
/// nothing is bytes. Fractions of a byte are cut off.
/// \error kInvalidArgument  anything else, or a size that does not fit 63 bits
Result<uint64_t> ParseSize(std::string_view text);

/// At most 9 characters: "0 B", "999 B", "1.23 kB", "45.6 GB" (powers of 1000, three digits).
std::string FormatSize(uint64_t bytes);

/// `1234567` as "1,234,567".
std::string FormatCount(uint64_t number);

/// Seconds as "12 s", "3:05" or "1:02:03"; "?" for more than 99 hours.
std::string FormatDuration(double seconds);

}  // namespace weightfs::cli
