/// \file
/// Reading the files of an opened source.
#pragma once

#include <string>
#include <string_view>

#include "convert/virtual_tree.h"

namespace weightfs::testing {

/// The bytes of the file at `path`; "(absent)", or the message of the error, when there are none.
inline std::string ReadWhole(const VirtualTree& tree, std::string_view path) {
  const NodeId id = tree.FindPath(path);
  if (id == kNoNode) return "(absent)";
  ReadScratch scratch;
  const VirtualNode& node = tree.node(id);
  const auto bytes = node.file->Read({0, node.size_bytes}, scratch);
  if (!bytes) return bytes.error().message;
  return {reinterpret_cast<const char*>(bytes->data()), bytes->size()};
}

}  // namespace weightfs::testing
