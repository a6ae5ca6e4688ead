/// \file
/// What the names of the files of a DeepSpeed save say.
///
/// Follows docs/formats/deepspeed.md, "Files".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace weightfs {

/// What a file of a tag folder holds.
enum class DeepSpeedFileKind : uint8_t {
  kModel,            ///< `mp_rank_00_model_states.pt`: what a rank of the model holds.
  kPartition,        ///< `zero_pp_rank_0_mp_rank_00_model_states.pt`: the same of ZeRO-3.
  kOptimizer,        ///< `[bf16_]zero_pp_rank_0_mp_rank_00_optim_states.pt`: the masters of a rank.
  kExpert,           ///< `layer_0_expert_3_mp_rank_00_model_states.pt`: weights of one expert.
  kExpertOptimizer,  ///< `expp_rank_0_mp_rank_00_optim_states.pt`: has no weights.
  kLayer,            ///< `layer_03-model_00-model_states.pt`: a layer of a pipeline.
};

/// A file name, taken apart. Numbers that the name does not have are 0.
struct DeepSpeedFileName {
  DeepSpeedFileKind kind = DeepSpeedFileKind::kModel;
  uint32_t data_rank = 0;   ///< The part of the ZeRO partitions.
  uint32_t model_rank = 0;  ///< `mp_rank`; of a layer, `model`.
  uint32_t layer = 0;       ///< Of the pipeline, or the number of the MoE layer.
  uint32_t expert = 0;      ///< Counted over all ranks.
  friend auto operator<=>(const DeepSpeedFileName&, const DeepSpeedFileName&) = default;
};

/// Takes `name` apart; nothing for other names. `.lz4` at its end does not count.
std::optional<DeepSpeedFileName> ParseDeepSpeedFileName(std::string_view name);

/// The usual name of such a file, for messages.
std::string DeepSpeedFileNameText(const DeepSpeedFileName& name);

}  // namespace weightfs
