/// \file
/// The header and the tensor order of a safetensors file that is synthesized.
///
/// Follows docs/formats/safetensors.md, "Writing": byte for byte what the reference writer emits for the same
/// tensors with `__metadata__` {"format": "pt"}.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "convert/base/limits.h"
#include "convert/base/result.h"
#include "convert/target/hf/served_tensor.h"

namespace weightfs {

/// Above this many bytes of header, tools of the Hugging Face hub refuse to show a file (loaders accept it).
inline constexpr uint64_t kHubHeaderBytesMax = 25'000'000;

/// A safetensors file to be: `header`, then the bytes of the tensors in `order`, end to end.
struct SafetensorsLayout {
  std::string header;  ///< Length, JSON and padding: everything before the data. A multiple of 8 bytes.
  std::vector<size_t> order;  ///< Indices into the given tensors, in file order.
  std::vector<uint64_t>
      offsets_bytes;        ///< Where each tensor of `order` begins, counted from the start of the file.
  uint64_t size_bytes = 0;  ///< Of the whole file.
  std::vector<std::string> warnings;  ///< One line each: a header that hub tools refuse.
};

/// Lays out `tensors[i]` for every i of `chosen` as one file. Thread-safe.
/// \param chosen  distinct indices into `tensors`
/// \param file    the name of the file, for messages
/// \error kLimitExceeded  the header is larger than `limits.emitted_header_bytes_max` (the remedy names
///                        `--max-shard-size`), or the file does not fit 63 bits
Result<SafetensorsLayout> PlanSafetensors(std::span<const ServedTensor> tensors,
                                          std::span<const size_t> chosen, std::string_view file,
                                          const Limits& limits);

}  // namespace weightfs
