/// \file
/// Universal checkpoints: what `ds_to_universal` makes of a save, a folder for each parameter.
///
/// Follows docs/formats/deepspeed.md, "Universal checkpoints".
#pragma once

#include <span>
#include <vector>

#include "convert/base/result.h"
#include "convert/source/checkpoint.h"
#include "convert/source/deepspeed/model_states.h"
#include "convert/source/deepspeed/partitions.h"
#include "convert/source/deepspeed/save.h"

namespace weightfs {

/// Reads `zero/NAME/fp32.pt` of every parameter, in the order of `param_shapes` and then by name. Folders of
/// tied names are passed over: their copies differ from what they share; so are those of what `module` holds
/// and nothing trains.
/// \param stages  the model states of all stages of a pipeline, or of the whole model
/// \param metadata_bytes  is added to
/// \error kNotFound  a parameter that `param_shapes` lists has no folder: lists them
/// \error kCorrupt   a file that holds neither a tensor nor a dict with `param`, or a flat tensor of another
/// size than
///                   its shape
/// \error as OpenTorchObject
Result<std::vector<RebuiltParameter>> ReadUniversalParameters(const DeepSpeedSave& save,
                                                              std::span<const ModelStates* const> stages,
                                                              const SourceContext& context,
                                                              uint64_t& metadata_bytes);

/// Compares the first elements of every parameter, rounded to the type of `module`, with those of `module`:
/// the tool permutes the weights of runs with `round_robin_gradients`.
/// \error kCorrupt  they differ: names the first parameter
/// \error kIo, kStale  as reads of views
Status CheckAgainstModule(const std::vector<RebuiltParameter>& parameters, const ModelStates& states,
                          const SourceContext& context);

}  // namespace weightfs
