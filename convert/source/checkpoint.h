/// \file
/// What a format reader yields: named tensors with provenance, and all that is known besides.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "convert/base/limits.h"
#include "convert/base/result.h"
#include "convert/io/block_cache.h"
#include "convert/io/random_access_file.h"
#include "convert/view/tensor_view.h"

namespace weightfs {

/// One tensor of a source, under the name it has there.
struct SourceTensor {
  std::string name;  ///< Valid UTF-8, unique within the checkpoint.
  TensorView view;
  std::string
      storage;  ///< What messages and manifests call its storage: a zip member, a storage key; may be empty.
  std::string
      file;  ///< Name of the file that holds it, relative to the source root (or as the user wrote it).
};

/// A tensor that the view cannot carry (quantized, sparse, complex128, ...). The mount is refused unless a
/// filter of the user's excludes its name.
struct UnsupportedTensor {
  std::string name;
  std::string reason;  ///< "torch.sparse_coo tensor; safetensors has no sparse layout"
  std::string file;
};

/// A value that is not a tensor, or a part of the file that was not chosen. Listed, never an error.
struct LeftOut {
  std::string path;    ///< Key path from the root, components joined by '.'.
  std::string reason;  ///< "int", "dict of 3 tensors, not the state dict", "opaque: argparse.Namespace"
};

/// A mapping of a pickled file that could be served as the state dict (`--weights KEY.PATH`).
struct MappingCandidate {
  std::string path;  ///< Key path; empty for the root.
  uint64_t tensor_count = 0;
  uint64_t size_bytes = 0;
  bool chosen = false;
};

/// One checkpoint. A value; immutable once returned.
struct Checkpoint {
  std::string format;  ///< "torch-zip", "torch-legacy", "torch-tar", "safetensors"; docs/formats/.
  std::vector<SourceTensor> tensors;  ///< In source order.
  std::vector<UnsupportedTensor> unsupported;
  std::vector<LeftOut> left_out;
  std::vector<MappingCandidate> candidates;     ///< Empty for formats that hold just one mapping.
  std::map<std::string, std::string> metadata;  ///< safetensors `__metadata__` and its like.
  /// Values beside the tensors, an object: what a pickle holds beside its state dict (docs/formats/torch.md),
  /// or
  /// `{"__metadata__": {...}}` of a safetensors file. nullptr when there are none.
  std::shared_ptr<const nlohmann::json> values;
  std::vector<std::string> warnings;  ///< Things a user should be told, one line each.
  uint64_t metadata_bytes = 0;        ///< Bytes of pickle, header and directory that were parsed.
};

/// What every reader needs. Lives as long as the readers run; not kept by what they return.
struct SourceContext {
  Limits limits;
  std::shared_ptr<BlockCache> cache;  ///< For inflated members; never null.
  std::string weights_key_path;       ///< `--weights KEY.PATH`; empty: choose by the rules.
};

/// Refuses duplicate names, `__metadata__`, names that are not UTF-8 or hold lone surrogates, and too many
/// tensors. Every reader calls it last.
/// \error kCorrupt, kLimitExceeded  naming `file` and the names
Status CheckTensorNames(const Checkpoint& checkpoint, std::string_view file, const Limits& limits);

}  // namespace weightfs
