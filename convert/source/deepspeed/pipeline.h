/// \file
/// The layer files of a pipeline, joined as the state dict of its PipelineModule.
///
/// Follows docs/formats/deepspeed.md, "Pipelines".
#pragma once

#include <span>
#include <string>
#include <utility>
#include <vector>

#include "convert/base/result.h"
#include "convert/source/checkpoint.h"
#include "convert/source/deepspeed/model_states.h"
#include "convert/source/deepspeed/save.h"

namespace weightfs {

/// One layer file and its number.
using PipelineLayer = std::pair<uint32_t, const DeepSpeedFile*>;

/// Reads the layers of one tensor-parallel rank. A tensor is called `LAYER.name`, or `tied_modules.KEY.name`
/// where the parameters that the stages list say so; a tied one that several layers hold is taken from the
/// first.
/// \param layers  in order of their numbers
/// \param stages  the model states of all stages of that rank
/// \error as OpenTorchObject and ReadNamedTensors
Result<Checkpoint> ReadPipelineLayers(std::span<const PipelineLayer> layers,
                                      std::span<const ModelStates* const> stages,
                                      const SourceContext& context);

}  // namespace weightfs
