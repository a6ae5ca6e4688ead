/// \file
/// Paths within a source or a view: '/'-separated, relative to its root; "" is the root.
#pragma once

#include <string>
#include <string_view>

namespace weightfs {

/// The path of `name` below `folder`.
inline std::string JoinPath(std::string_view folder, std::string_view name) {
  std::string path(folder);
  if (!path.empty()) path += '/';
  return path.append(name);
}

}  // namespace weightfs
