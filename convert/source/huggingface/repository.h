/// \file
/// A folder tree as a set of models: which files are weights, which are passed through, which are hidden, and
/// why.
///
/// Follows docs/formats/huggingface.md.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "convert/base/result.h"
#include "convert/source/checkpoint.h"
#include "convert/source/source_files.h"

namespace weightfs {

struct DeepSpeedSave;

/// The weights of one (stem, variant) in one folder, in the one form that is served from.
struct WeightSet {
  std::string folder;   ///< Relative to the root, "" for the root.
  std::string stem;     ///< As served: "model", "diffusion_pytorch_model", "adapter_model".
  std::string variant;  ///< "fp16" for pytorch_model.fp16.bin; usually empty.
  bool is_safetensors = false;
  std::string index_path;  ///< Relative path of the index file; empty for a single file.
  std::vector<std::string>
      shards;  ///< Relative paths, sorted, so in the order of their numbers; one for a single file.
  /// The shards are files of ranks: each holds parts of the tensors, not tensors of its own.
  bool are_ranks = false;
  std::string number;                    ///< Digits of a numbered save in its file name; usually empty.
  std::shared_ptr<SourceFiles> overlay;  ///< The files are in this overlay; nullptr: in the source.
  /// The set is this save, and the shards are its files; else nullptr.
  std::shared_ptr<const DeepSpeedSave> deepspeed;
  /// The set is the distributed checkpoint (source/dcp/) in this folder, and the shards are its files.
  std::optional<std::string> dcp_folder;
  /// Weight files beside a training state, which are served when it is not whole.
  std::vector<WeightSet> beside;
};

/// A file that appears in the view as it is.
struct PassThrough {
  std::string path;  ///< Relative to the root.
  uint64_t size_bytes = 0;
  int64_t mtime_nanoseconds = 0;
};

/// A file of the source that is not shown.
struct HiddenFile {
  std::string path;
  std::string reason;  ///< "training state", "another form of the weights is served: model.safetensors", ...
  bool is_torch_file =
      false;  ///< Likely weights, under a name that no loader looks for: can be mounted by itself.
};

/// A model of the tree that cannot be served (`--partial`).
struct UnservedModel {
  std::string folder;  ///< Relative to the root.
  Error error;
};

/// What a tree holds. Nothing in it was opened but index files.
struct Repository {
  std::vector<std::string>
      folders;  ///< Relative, parents first, without the root; only those that are shown.
  std::vector<WeightSet> weights;
  std::vector<PassThrough> files;  ///< config.json included.
  std::vector<HiddenFile> hidden;
  std::vector<UnservedModel> unserved;  ///< Only with `partial`.
  std::vector<std::string> warnings;    ///< Things a user should be told, one line each.
  bool has_numbered_saves = false;      ///< `--tag` has saves to choose from.
};

/// Whether one bad model makes the scan fail.
enum class ScanMode : uint8_t {
  kStrict,   ///< The first bad model of the tree is an error.
  kPartial,  ///< Bad models are listed in `Repository::unserved`.
};

/// How a tree is read.
struct ScanOptions {
  ScanMode mode = ScanMode::kStrict;
  bool may_lack_weights =
      false;  ///< A tree without any is no error; no file under another name is taken for them.
  /// File names under which weights lie where no Hugging Face name is (native_weights.h).
  std::vector<std::string> weight_patterns;
  std::string tag;      ///< `--tag`: which of several numbered saves.
  std::string weights;  ///< `--weights`: "files" are the weights beside a training state.
};

/// Sorts the files of `source` (a folder) into the classes above.
///
/// A folder without weights under a name of Hugging Face, and none of whose parents has weights, has those
/// that match a pattern. When there are none in the whole tree, a single torch file in its root is the
/// weights. Files that weights of another format were recognised by are never shown.
/// A training state (a save of DeepSpeed, a distributed checkpoint) is one set, and has the weight files
/// beside it; other distributed checkpoints beside or below it (of an optimizer) are hidden.
/// \error kNotFound  no weights anywhere: the message lists what is there
/// \error kUnsupported  a checkpoint of a format that is not served (Megatron, NeMo): named
/// \error kAmbiguous  the root of a Hugging Face cache repository: the message lists its snapshots; several
/// saves
/// \error kInvalidArgument  a tag that no save has
/// \error kCorrupt   an index that is not valid, has duplicate keys, or names a path outside its folder
/// \error kNotFound  an index names a shard that is absent (all of them are listed)
/// \error kLimitExceeded, kIo
Result<Repository> ScanRepository(SourceFiles& source, const Limits& limits, const ScanOptions& options = {});

/// The files of an overlay folder that are served, at every depth: all but weights, indexes and hidden kinds.
/// \error kLimitExceeded, kIo
Result<std::vector<PassThrough>> ScanOverlay(SourceFiles& overlay, const Limits& limits);

/// Opens the weights of one set that is not of ranks: all shards joined in source order. Names of the index
/// that no shard holds are warnings; a tensor in a shard that the index maps elsewhere is left out with a
/// reason; a name in two shards is an error unless the index chooses.
/// \error as OpenCheckpointFile, with the file named
Result<Checkpoint> OpenWeightSet(const WeightSet& set, SourceFiles& source, const SourceContext& context);

/// Opens the files of a set of ranks, in their order: each a checkpoint that holds parts of the same tensors.
/// \error as OpenCheckpointFile, with the file named
Result<std::vector<Checkpoint>> OpenRankFiles(const WeightSet& set, SourceFiles& source,
                                              const SourceContext& context);

}  // namespace weightfs
