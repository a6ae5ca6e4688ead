/// \file
/// The text of `/.weightfs/status.json` (docs/status.schema.json).
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "convert/convert.h"
#include "fs/counters.h"
#include "fs/error_log.h"
#include "fs/session.h"

namespace weightfs {

/// What a status text is made of. Does not own what it points to.
struct StatusInput {
  const OpenedSource* source = nullptr;
  const MountOptions* options = nullptr;
  std::string mountpoint;
  std::chrono::system_clock::time_point started;
  uint32_t reads_per_group = 0;
  uint32_t threads_max = 0;
  uint64_t readahead_bytes = 0;  ///< 0: as the kernel chose.
  Counters::Snapshot counters;
  std::vector<ErrorRecord> errors;
};

/// A JSON document that ends with a newline. Bytes that are no UTF-8 are replaced.
std::string StatusJson(const StatusInput& input);

}  // namespace weightfs
