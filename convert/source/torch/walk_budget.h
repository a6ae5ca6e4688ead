/// \file
/// What walking a pickled value may cost: shared mappings let a small file describe millions of entries.
///
/// Follows docs/formats/torch.md, "The state dict".
#pragma once

#include <cstdint>
#include <string_view>

#include "convert/base/limits.h"
#include "convert/base/result.h"

namespace weightfs {

/// The entries that a walk may still meet, and the bytes that their names may still take. Used by one walk.
class WalkBudget {
 public:
  /// \param pickle_bytes  size of the pickle: the more of it there is, the more an honest file can have
  WalkBudget(uint64_t pickle_bytes, const Limits& limits);

  /// How many entries a pickle of this size may describe.
  static uint64_t EntriesMax(uint64_t pickle_bytes);

  /// \param at  the name of the entry at hand, for messages
  /// \error kLimitExceeded  more than is left
  Status SpendEntries(uint64_t count, std::string_view at);
  /// \error kLimitExceeded  more than is left
  Status SpendNameBytes(uint64_t count, std::string_view at);

 private:
  uint64_t entries_left_;
  uint64_t name_bytes_left_;
};

}  // namespace weightfs
