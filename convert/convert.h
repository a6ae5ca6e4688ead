/// \file
/// The door to the library: a source and options in, a virtual Hugging Face directory out.
///
/// \code
///   WEIGHTFS_TRY(weightfs::OpenedSource opened, weightfs::Open("pytorch_model.bin", {}));
///   const weightfs::VirtualNode& file = opened.tree.node(opened.tree.FindPath("model.safetensors"));
///   weightfs::ReadScratch scratch;
///   auto bytes = file.file->Read({0, 8}, scratch);
/// \endcode
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "convert/base/dtype.h"
#include "convert/base/limits.h"
#include "convert/base/result.h"
#include "convert/io/block_cache.h"
#include "convert/io/local_file.h"
#include "convert/source/checkpoint.h"
#include "convert/step_folder.h"
#include "convert/virtual_tree.h"

namespace weightfs {

class FamilyRegistry;

/// What the command line can say about a view. Paths are as the user wrote them.
struct OpenOptions {
  std::optional<DType> dtype;                         ///< `--dtype`; nothing is `keep`.
  std::optional<uint64_t> max_shard_size_bytes;       ///< `--max-shard-size`; nothing is one file per set.
  std::string family = "auto";                        ///< `--family`: `auto`, `none` or the name of a table.
  std::map<std::string, std::string> family_options;  ///< `--family NAME:KEY=VALUE`
  std::string rules_path;                      ///< `--rules FILE`: family tables beside the built-in ones.
  std::optional<uint64_t> vocab_size;          ///< `--vocab-size`
  bool trim_vocab = false;                     ///< `--trim-vocab`
  std::string tag;                             ///< `--tag`: which of several saves.
  std::vector<std::string> also;               ///< `--also DIR`: rank files of other nodes.
  std::string config_path;                     ///< `--config FILE`
  std::vector<std::string> overlays;           ///< `--overlay DIR`, the last wins.
  std::vector<std::string> include;            ///< RE2 patterns on served names, unanchored.
  std::vector<std::string> exclude;            ///< Wins over `include`.
  std::string weights_key_path;                ///< `--weights KEY.PATH`
  std::vector<std::string> allowed_link_dirs;  ///< `--allow-links DIR`
  bool partial = false;                        ///< `--partial`: serve what is whole.
  SourceIo source_io = SourceIo::kAuto;        ///< `--source-io`
  Limits limits;                               ///< `limits.cache_bytes` is `--cache`.
};

/// A part of the source that a served tensor is made from: a tensor, or the part of it that one rank holds.
struct TensorOrigin {
  std::string name;     ///< In the source.
  std::string file;     ///< Source file, relative to the source root.
  std::string storage;  ///< Zip member or storage key; may be empty.
  TensorView view;      ///< All of the part, as stored.
};

/// One served tensor, for people and scripts.
struct TensorReport {
  std::string name;
  std::string file;                ///< Served file, relative path.
  uint64_t file_offset_bytes = 0;  ///< Where its bytes begin in the served file.
  TensorView view;
  std::vector<TensorOrigin> sources;  ///< By tensor, then by rank; empty for a constant fill.
  std::string rule;                   ///< Of the family's table: "(n k j) D -> (n j k) D"; empty without one.
  bool is_alias = false;              ///< Serves the same stored elements as an earlier tensor.
};

/// A tensor of the source that is not served, and the rule that dropped it.
struct DroppedTensor {
  std::string name;
  std::string file;
  std::string rule;  ///< "--exclude REGEX", "not matched by --include", or why the family's table drops it
};

/// One set of weights in the view: a single file, or shards and an index.
struct WeightSetReport {
  std::string folder;              ///< Relative, "" for the root.
  std::vector<std::string> files;  ///< Served files, relative paths, shards in order.
  std::string format;              ///< Source format, "torch-zip" etc.
  std::vector<std::string> source_files;
  uint64_t rank_count = 1;                   ///< Files that hold parts of the tensors.
  bool passed_through = false;               ///< Byte for byte the source file.
  std::string family;                        ///< The table's name; empty when there is none.
  std::vector<std::string> family_evidence;  ///< What the table's conditions saw.
  uint64_t tensor_count = 0;
  uint64_t tensor_bytes = 0;  ///< As served.
  uint64_t alias_bytes = 0;   ///< Of them, bytes of tensors that repeat another.
  std::vector<MappingCandidate> candidates;
  std::vector<LeftOut> left_out;
  std::map<std::string, std::string> metadata;
};

/// What was found and decided: `weightfs inspect`, the manifest and the lines that `mount` prints.
struct Report {
  std::string source;                        ///< As the user wrote it.
  std::string family;                        ///< Names of tables, else "identity" or "none".
  std::vector<std::string> family_evidence;  ///< What the choice was made from, one line each.
  std::string dtype = "keep";
  std::vector<WeightSetReport> sets;
  std::vector<TensorReport> tensors;  ///< Of all sets, in set order then served order.
  std::vector<DroppedTensor> dropped;
  std::vector<std::pair<std::string, std::string>> passed_through;  ///< Other files: path and origin.
  std::vector<std::pair<std::string, std::string>> hidden;          ///< Path and reason.
  std::vector<std::string> notes;  ///< Lines that `mount` and `inspect` print: less is served than expected.
  uint64_t metadata_bytes = 0;     ///< Pickle, header, directory and JSON bytes parsed.
};

/// A source that was opened: the tree to serve and what is known of it. Movable. The tree keeps what it needs
/// alive.
struct OpenedSource {
  VirtualTree tree;
  Report report;
  std::shared_ptr<BlockCache> cache;
  std::vector<std::shared_ptr<const LocalFile>> source_files;
  /// For a folder of training steps: finds the ones that become whole later, to be shown as folders of the
  /// root beside those of the tree. Otherwise nullptr.
  std::shared_ptr<StepFolder> steps;
};

/// Opens `source` (a file or a folder) and builds its view. Reads metadata only, and no tensor byte but those that a
/// family's table compares: replicas that must be equal, tensors that may be tied.
///
/// The tree holds `/.weightfs/manifest.json` and `/.weightfs/tensors/`; a server adds `status.json`.
/// \error kInvalidArgument  an option that does not fit: a bad pattern, an unknown key path, a missing config
/// file
/// \error kAmbiguous        several readings fit; the message lists them and the option that chooses
/// \error kNotFound, kIo, kCorrupt, kUnsupported, kLimitExceeded  the source; the message names file, place,
/// remedy
Result<OpenedSource> Open(const std::string& source, const OpenOptions& options);

/// The JSON of `weightfs inspect --json` (docs/inspect.schema.json): the report without per-byte detail.
std::string InspectJson(const Report& report);

/// The JSON of `/.weightfs/manifest.json` (docs/manifest.schema.json).
std::string ManifestJson(const Report& report);

/// The families that are known: the built-in tables, and those of a rules file. convert/family/family.h has
/// the type.
/// \param rules_path  `--rules`; may be empty
/// \error kInvalidArgument  the rules file is absent, or as FamilyRegistry::AddRules
Result<FamilyRegistry> LoadFamilies(const std::string& rules_path);

/// One source format for `weightfs formats`.
struct FormatInfo {
  std::string_view name;
  std::string_view description;
  std::string_view documentation;  ///< Page below docs/.
};

/// The formats that this version reads, in the order in which they are tried.
std::vector<FormatInfo> SupportedFormats();

}  // namespace weightfs
