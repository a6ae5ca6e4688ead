/// \file
/// Python 2 names of what Python 3 calls otherwise. Internal to `convert/pickle`.
#pragma once

#include <string_view>
#include <utility>

namespace weightfs::pickle {

/// The Python 3 module and name of a global in a pickle of protocol 0 to 2; names that are equal in both are
/// returned as they are.
std::pair<std::string_view, std::string_view> MapPython2Name(std::string_view module, std::string_view name);

}  // namespace weightfs::pickle
