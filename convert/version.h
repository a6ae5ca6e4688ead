/// \file
/// The version of weightfs.
#pragma once

#include <string_view>

namespace weightfs {

/// "MAJOR.MINOR.PATCH", from the build.
inline constexpr std::string_view kVersion = "0.1.0";

}  // namespace weightfs
