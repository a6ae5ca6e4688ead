/// \file
/// How much of a file is in the page cache. Internal to convert/io.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <optional>

#include "convert/base/bytes.h"

namespace weightfs {

/// A way to ask.
enum class ResidencyProbe : uint8_t {
  kNone,       ///< Nobody tells: not ours to ask about, or neither call exists.
  kCachestat,  ///< cachestat(2), Linux 6.5.
  kMincore,    ///< mincore(2) over a mapping that is never touched.
};

/// Chooses the way for the open file `fd`. The kernel answers truthfully only to who owns the file or may
/// write it: to others cachestat says EPERM, and mincore that everything is resident, so it is not asked.
ResidencyProbe ChooseResidencyProbe(int fd, const struct stat& attributes);

struct Residency {
  uint64_t resident_pages = 0;
  uint64_t total_pages = 0;
};

/// The pages that `range` touches and how many of them are in the page cache. Causes no I/O, no read-ahead
/// and no allocation. Nothing when the probe is kNone or fails.
std::optional<Residency> ProbeResidency(ResidencyProbe probe, int fd, ByteRange range);

}  // namespace weightfs
