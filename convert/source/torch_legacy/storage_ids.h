/// \file
/// The storages that a legacy pickle uses.
#pragma once

#include <vector>

#include "convert/pickle/value.h"

namespace weightfs {

/// Every kPersistent node that can be reached from the root of `tree`, each once, in no particular order.
/// Takes a sixteenth of the tree's memory for marks, and 4 bytes per node that is waiting.
std::vector<pickle::NodePtr> CollectPersistentIds(const pickle::Tree& tree);

}  // namespace weightfs
