/// \file
/// From the files of the ranks that share one part of the model to its tensors.
///
/// Follows docs/formats/deepspeed.md, "What is served".
#pragma once

#include <optional>
#include <vector>

#include "convert/base/result.h"
#include "convert/source/checkpoint.h"
#include "convert/source/deepspeed/model_states.h"
#include "convert/source/deepspeed/partitions.h"

namespace weightfs {

/// One stage of a pipeline, or the whole model.
struct StageInput {
  const ModelStates* states = nullptr;
  OptimizerRanks optimizers;  ///< By data rank.
  /// ZeRO-3: the model states of every data rank, where they were read; else empty.
  std::vector<const ModelStates*> partitions;
  std::optional<std::vector<RebuiltParameter>>
      parameters;  ///< What is trained, where no optimizer files hold it (universal saves).
};

/// Puts the masters of `stages` together and adds what only `module` holds: buffers and, of ZeRO-1, frozen
/// parameters. In order: the rest of `module`, frozen parameters, trained ones, aliases.
/// \param module   the tensors of `module` of all stages, the experts of expert files among them
/// \param partial  leaves out by name what is not whole
/// \error as ReadDeepSpeed, for the layout and for parameters that no file holds
Result<Checkpoint> AssembleMasters(Checkpoint module, const std::vector<StageInput>& stages, bool partial);

}  // namespace weightfs
