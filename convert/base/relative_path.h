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

/// The name of a file or folder: what follows the last '/' of `path`.
inline std::string_view LastComponent(std::string_view path) { return path.substr(path.rfind('/') + 1); }

}  // namespace weightfs
