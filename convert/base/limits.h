/// \file
/// Bounds on what a source may make weightfs do. Each is tested at limit - 1, limit and limit + 1.
#pragma once

#include <cstdint>

#include "convert/base/bytes.h"

namespace weightfs {

/// Limits on hostile or damaged input. The defaults are the documented ones; tests lower them.
struct Limits {
  uint64_t emitted_header_bytes_max = 100'000'000;  ///< A safetensors header, read or written.
  uint64_t pickle_stream_bytes_max = 256_MiB;       ///< One pickle stream.
  uint64_t pickle_opcodes_max = 64u << 20;          ///< Opcodes in one pickle stream.
  uint64_t pickle_memo_entries_max = 16u << 20;     ///< Memo entries of one pickle stream.
  uint32_t nesting_depth_max = 1000;                ///< Containers within containers, in pickles.
  /// Parsing a pickle may take this much memory and three times the bytes parsed, those bytes included.
  uint64_t parse_memory_base_bytes = 64_MiB;
  uint64_t tensors_max = 4u << 20;  ///< Tensors of one checkpoint.
  uint32_t tensor_rank_max = 64;    ///< Dimensions of one tensor.
  /// A tensor that repeats its storage (stride 0) serves at most the larger of these two.
  uint64_t repeated_tensor_bytes_max = 1_GiB;
  uint64_t repeated_tensor_factor_max = 16;
  uint64_t metadata_values_max = 100'000;    ///< Values beside the tensors of a pickle, and of one YAML file.
  uint64_t metadata_text_bytes_max = 4_MiB;  ///< Bytes of text in the values beside the tensors.
  uint32_t metadata_depth_max = 16;          ///< Values within values beside the tensors.
  uint64_t view_pieces_max = 64u << 10;      ///< Pieces of one view (convert/view/piece_map.h).
  uint64_t zip_members_max = 4u << 20;
  uint64_t zip_directory_bytes_max = 512_MiB;
  uint64_t json_bytes_max = 64_MiB;
  uint64_t yaml_bytes_max = 1_MiB;          ///< The parser may take 240 times as much memory.
  uint64_t toml_bytes_max = 256_KiB;        ///< Likewise, 80 times.
  uint64_t index_json_bytes_max = 512_MiB;  ///< `*.index.json`
  uint32_t json_depth_max = 64;
  uint64_t lz4_table_bytes_max = 32_MiB;    ///< The block table of one lz4 file: 2.8 million blocks.
  uint64_t family_rules_bytes_max = 1_MiB;  ///< One rules file of model families.
  /// Steps that evaluating one family table may take, and 512 for each tensor besides: a node of an
  /// expression is one, so is an index of a line; matching a name is 8.
  uint64_t family_steps_max = 64u << 20;
  /// Bytes that one application of a table may read to compare tensors: replicas, and what the table asks
  /// for.
  uint64_t family_compared_bytes_max = 8_GiB;
  /// The `--cache` size: strided panels, inflated members, lz4 blocks.
  uint64_t cache_bytes = 64_MiB;
};

}  // namespace weightfs
