/// \file
/// A `*_optim_states.pt` file: the masters that one data-parallel rank holds.
///
/// Follows docs/formats/deepspeed.md, "Optimizer states".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "convert/base/result.h"
#include "convert/source/checkpoint.h"
#include "convert/source/deepspeed/pickled_values.h"
#include "convert/source/deepspeed/save.h"

namespace weightfs {

/// How the masters of a save are cut.
enum class DeepSpeedCut : uint8_t {
  kGroups,      ///< ZeRO-1, ZeRO-2 and BF16_Optimizer: the flat vector of each group is cut in pieces.
  kParameters,  ///< ZeRO-3: every parameter is cut in pieces.
};

/// One file, read. A value; what it holds does not need the file's pickle.
struct OptimizerStates {
  std::string file;   ///< As provenance (DeepSpeedFile::shown).
  std::string shown;  ///< As messages call it.
  DeepSpeedCut cut = DeepSpeedCut::kGroups;
  std::vector<SourceTensor> groups;        ///< Vectors: this rank's piece of each group or sub-group.
  std::vector<uint64_t> partition_counts;  ///< One for each group, or one for all.
  /// Elements that follow each parameter of each group; empty where the run did not align parameters.
  std::vector<std::vector<uint64_t>> alignment_paddings;
  std::optional<std::vector<ShapeGroup>> param_shapes;  ///< Only before 0.6.0.
  /// Values that are equal on all ranks of one save: the step, the loss scale, the learning rate.
  std::vector<std::pair<std::string, std::string>> marks;
  uint64_t metadata_bytes = 0;

  /// The largest partition count: how many ranks share the dense parameters.
  uint64_t data_world_size() const;
};

/// Reads one file: metadata, and the four or eight bytes of its step.
/// \error kUnsupported  ZeRO-1 as it was before 0.5.9; masters that lie in the swap files of NVMe offload
/// \error kCorrupt      not such a file, or a value of another type than it must have: names file and key
/// \error as OpenTorchObject and RebuildTensor
Result<OptimizerStates> ReadOptimizerStates(const DeepSpeedFile& file, const SourceContext& context);

}  // namespace weightfs
