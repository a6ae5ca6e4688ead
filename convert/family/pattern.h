/// \file
/// Patterns of tables: RE2, whose time is linear in what it matches, with little memory.
#pragma once

#include <re2/re2.h>

#include <memory>
#include <string>
#include <string_view>

#include "convert/base/result.h"

namespace weightfs::family {

inline constexpr size_t kPatternBytesMax = 1024;

/// \error kInvalidArgument  it does not compile, is longer than `kPatternBytesMax`, or takes more than 1 MiB
Result<std::shared_ptr<const re2::RE2>> CompilePattern(std::string_view text);

}  // namespace weightfs::family
