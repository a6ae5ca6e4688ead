/// \file
/// The kernel's read-ahead window of a mount: a request of a mount's own can only lower it, sysfs can raise
/// it.
#pragma once

#include <cstdint>
#include <string>

#include "convert/base/result.h"

namespace weightfs {

/// Sets the window for files of the mount at `absolute_mountpoint` that are opened from now on.
/// \error kIo  not permitted; the remedy is the command for root
Status SetReadAhead(const std::string& absolute_mountpoint, uint64_t bytes);

}  // namespace weightfs
