/// \file
/// The process's limit of open files.
#pragma once

#include <cstdint>

namespace weightfs {

/// Raises the soft limit of open files (`ulimit -n`) to the hard limit: a checkpoint may have thousands of
/// files, each held open once or twice. Call it once at program start, before threads; a child process
/// inherits it.
/// \return the limit now in force; when it cannot be raised, the one that was
uint64_t RaiseDescriptorLimit();

}  // namespace weightfs
