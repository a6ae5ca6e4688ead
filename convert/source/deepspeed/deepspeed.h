/// \file
/// Reads DeepSpeed saves: the masters that ZeRO cuts over ranks, put together as views, or the copy in
/// `module`.
///
/// Follows docs/formats/deepspeed.md. Only metadata is read, and the few bytes that tell saves apart.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "convert/base/result.h"
#include "convert/source/checkpoint.h"
#include "convert/source/deepspeed/save.h"

namespace weightfs {

/// Which copy of the weights is read.
enum class DeepSpeedWeights : uint8_t {
  kMaster,  ///< What the optimizer trains; where it has none, `module`.
  kModule,  ///< The copy in the model's own type.
};

struct DeepSpeedOptions {
  DeepSpeedWeights weights = DeepSpeedWeights::kMaster;
  bool partial = false;  ///< Files may be missing: what is whole is read, the rest is left out by name.
};

/// What a save holds. A value.
struct DeepSpeedCheckpoint {
  /// One for each tensor-parallel rank, in order: each holds its parts of the same tensors. One when the
  /// tensors are whole, or the save says how their parts join.
  std::vector<Checkpoint> ranks;
  bool are_masters =
      false;  ///< The optimizer's masters, whose type differs from the one that the model runs in.
  bool is_partial = false;  ///< Files are missing.
};

/// Reads `save`. Tensors are named as in the model's `state_dict()`; of a pipeline, as its PipelineModule
/// names them.
///
/// Masters have the type they are stored in (float32, mostly), floating buffers are served as float32, frozen
/// parameters and other buffers as they are stored.
/// \error kNotFound         files of ranks are missing: lists them; a parameter that no file holds
/// \error kCorrupt          files of different saves (step, settings or group layout disagree), more files
/// than ranks,
///                          a layout that its parameters contradict
/// \error kInvalidArgument  `module` of a save whose parameters are partitioned
/// \error kUnsupported      layouts that are not read: AutoEP under ZeRO-3, ZenFlow, NVMe swap files,
/// quantized
///                          frozen parameters, ZeRO-1 before 0.5.9
/// \error as OpenTorchObject, ReadStateDict and RebuildTensor
Result<DeepSpeedCheckpoint> ReadDeepSpeed(const DeepSpeedSave& save, const DeepSpeedOptions& options,
                                          const SourceContext& context);

}  // namespace weightfs
