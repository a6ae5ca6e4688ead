/// \file
/// The texts of `convert/family/tables/*.json`, embedded by the build (EmbedTables.cmake).
#pragma once

#include <span>

#include "convert/family/table_loader.h"

namespace weightfs::family {

/// In order of their file names. Lives as long as the program.
std::span<const TableText> BuiltInTables();

}  // namespace weightfs::family
