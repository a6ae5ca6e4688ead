/// \file
/// Writing the files of a tree to disk with several threads.
#pragma once

#include <cstdint>
#include <string>

#include "cli/terminal.h"
#include "convert/base/result.h"
#include "convert/convert.h"

namespace weightfs::cli {

/// Writes every file that `tree` lists below `folder`, which exists, and syncs each to disk. Memory: one
/// ReadScratch a thread. Stops early, with what it has written left in place, on the first error or when
/// `InterruptGuard` saw a signal (no error then: the caller looks).
/// \error kIo, kStale, kCorrupt  a source read or a write failed
Status WriteTree(const VirtualTree& tree, const std::string& folder, uint32_t threads, Progress& progress);

}  // namespace weightfs::cli
