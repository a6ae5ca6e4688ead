/// \file
/// What `mount` and `run` share: from settings to the options of a session.
#pragma once

#include <string>

#include "cli/options.h"
#include "fs/session.h"

namespace weightfs::cli {

/// The options of a session at `mountpoint`; its notices go to stderr.
MountOptions MakeMountOptions(const Settings& settings, const std::string& mountpoint);

}  // namespace weightfs::cli
