/// \file
/// The JSON header of a safetensors file as a list of entries: syntax and types only, no offset is checked
/// yet.
///
/// Follows docs/formats/safetensors.md, "The header".
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "convert/base/dtype.h"
#include "convert/base/limits.h"
#include "convert/base/result.h"

namespace weightfs {

/// One tensor of the header.
struct SafetensorsEntry {
  std::string name;
  DType dtype = DType::kU8;
  uint32_t rank = 0;
  uint64_t shape_begin = 0;  ///< Index of its first extent in `SafetensorsHeader::extents`.
  uint64_t begin = 0;        ///< `data_offsets`, counted from the end of the header.
  uint64_t end = 0;
};

/// A parsed header. Extents lie in one vector, since a vector per entry costs more than the header's text.
struct SafetensorsHeader {
  std::deque<SafetensorsEntry>
      entries;  ///< In header order. A deque, so that its memory goes as it is used up.
  std::vector<uint64_t> extents;
  std::map<std::string, std::string> metadata;

  std::span<const uint64_t> Extents(const SafetensorsEntry& entry) const {
    return std::span(extents).subspan(entry.shape_begin, entry.rank);
  }
};

/// Parses the JSON text of a header, which begins at byte 8 of the file `file`.
/// \error kCorrupt        not JSON, not UTF-8, a name that occurs twice, a missing field or a value of
/// another type
/// \error kLimitExceeded  too many tensors, or a rank above the limit
Result<SafetensorsHeader> ParseSafetensorsHeader(std::string_view text, std::string_view file,
                                                 const Limits& limits);

}  // namespace weightfs
