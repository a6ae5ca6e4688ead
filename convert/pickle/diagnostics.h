/// \file
/// Builds the errors of the unpickler: `name: offset N: what; expected what`. Internal to `convert/pickle`.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string_view>

#include "convert/base/result.h"

namespace weightfs::pickle {

/// Where the unpickler stands. Used by one thread.
struct Diagnostics {
  std::string_view name;             ///< The name for messages.
  uint64_t base_bytes = 0;           ///< Added to every offset: where the pickle begins in its file.
  uint64_t opcode_offset_bytes = 0;  ///< Of the opcode being read, from the start of the pickle.

  [[gnu::cold]] std::unexpected<Error> Make(ErrorCode code, std::string_view what) const {
    return Fail(code, fmt::format("{}: offset {}: {}", name, base_bytes + opcode_offset_bytes, what));
  }
  [[gnu::cold]] std::unexpected<Error> Corrupt(std::string_view what) const {
    return Make(ErrorCode::kCorrupt, what);
  }
  [[gnu::cold]] std::unexpected<Error> Unsupported(std::string_view what) const {
    return Make(ErrorCode::kUnsupported, what);
  }
  [[gnu::cold]] std::unexpected<Error> Limit(std::string_view what) const {
    return Make(ErrorCode::kLimitExceeded, what);
  }
  [[gnu::cold]] std::unexpected<Error> OutOfMemory() const {
    return Limit(
        "the values need too much memory; expected at most a small multiple of the pickle's own size");
  }
};

}  // namespace weightfs::pickle
