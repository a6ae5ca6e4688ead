/// \file
/// What the name of a file in a model folder says about it.
///
/// Follows docs/formats/huggingface.md, "Names". Content is never looked at here.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace weightfs {

enum class FileRole : uint8_t {
  kWeights,  ///< A whole weight file or one shard of several.
  kIndex,    ///< The index of a sharded form.
  kHidden,   ///< Never shown; `hidden_reason` says why.
  kPlain,    ///< Passed through.
};

/// A value.
struct FileClass {
  FileRole role = FileRole::kPlain;
  std::string stem;     ///< As served: "model" for pytorch_model.bin. Weights and indexes.
  std::string variant;  ///< "fp16" for pytorch_model.fp16.bin; usually empty.
  bool is_safetensors = false;
  bool is_lz4 = false;
  uint32_t shard_number = 0;  ///< 1 to `shard_count`; 0 for a whole file.
  uint32_t shard_count = 0;
  std::string_view hidden_reason;  ///< A literal.
  bool is_torch_file = false;      ///< Hidden, and likely to be weights that can be mounted as a bare file.
};

/// Classifies a file name (no folder). Thread-safe.
FileClass ClassifyFileName(std::string_view name);

}  // namespace weightfs
