/// \file
/// Writes small safetensors files for tests, independently of what weightfs emits.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace weightfs::testing {

/// A tensor of rank 1; `bytes` are its elements.
struct SmallTensor {
  std::string name;
  std::string dtype;  ///< "F16"
  uint64_t extent = 0;
  std::string bytes;
};

/// A safetensors file of `tensors`, in this order; `metadata` is a JSON object or empty.
inline std::string WriteSafetensors(const std::vector<SmallTensor>& tensors, std::string_view metadata = {}) {
  std::string json = "{", data;
  if (!metadata.empty()) json.append("\"__metadata__\":").append(metadata);
  for (const SmallTensor& tensor : tensors) {
    if (json.size() > 1) json += ',';
    json += "\"" + tensor.name + "\":{\"dtype\":\"" + tensor.dtype + "\",\"shape\":[" +
            std::to_string(tensor.extent) + "],\"data_offsets\":[" + std::to_string(data.size()) + "," +
            std::to_string(data.size() + tensor.bytes.size()) + "]}";
    data += tensor.bytes;
  }
  json += '}';
  while (json.size() % 8 != 0) json += ' ';
  std::string file;
  for (int i = 0; i < 8; ++i) file += static_cast<char>(json.size() >> (8 * i) & 0xFF);
  return file + json + data;
}

}  // namespace weightfs::testing
