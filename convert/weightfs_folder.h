/// \file
/// `/.weightfs/`: the manifest and one `.npy` file per tensor. Internal to `convert`.
#pragma once

#include "convert/convert.h"

namespace weightfs {

/// Adds the hidden folder `.weightfs` with `manifest.json` and `tensors/[COMPONENT/]NAME.npy` to `tree`,
/// whose weight files must be there already: an `.npy` file serves the bytes that lie in one of them.
/// \error kCorrupt  the source has a file of that name
Status AddWeightfsFolder(const Report& report, int64_t mtime_nanoseconds, VirtualTree& tree);

}  // namespace weightfs
