/// \file
/// The callbacks that libfuse calls, and the agreement with the kernel at the start.
#pragma once

#include "fs/fuse_api.h"

namespace weightfs {

/// The table of operations. The user data of the session must be a `Server`.
const fuse_lowlevel_ops& Operations();

}  // namespace weightfs
