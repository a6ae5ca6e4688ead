// From the files of a save to its checkpoint: which ranks there are, whether they are all there and of one
// save.
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <set>
#include <utility>

#include "convert/source/deepspeed/assemble.h"
#include "convert/source/deepspeed/deepspeed.h"
#include "convert/source/deepspeed/pipeline.h"
#include "convert/source/deepspeed/rank_grid.h"
#include "convert/source/deepspeed/tensor_parallel.h"
#include "convert/source/deepspeed/universal.h"

namespace weightfs {
namespace {

class SaveReader {
 public:
  SaveReader(const DeepSpeedSave& save, const DeepSpeedOptions& options, const SourceContext& context)
      : save_(save), options_(options), context_(context) {}

  Result<DeepSpeedCheckpoint> Run() {
    WEIGHTFS_TRY(grid_, RankGrid::Read(save_, options_, context_));
    const bool want_masters = options_.weights == DeepSpeedWeights::kMaster;
    if (!want_masters && grid_.is_partitioned())
      return Fail(
          ErrorCode::kInvalidArgument,
          fmt::format("--weights module: {}: ZeRO-3 left placeholders in module; expected --weights master",
                      save_.shown));
    DeepSpeedCheckpoint result;
    result.is_partial = grid_.is_partial();
    result.are_masters =
        want_masters && ((grid_.has_optimizers() && !LacksExpertShapes()) || save_.is_universal);
    // A universal checkpoint holds whole parameters, whatever the run was cut into.
    const uint64_t tensor_ranks = save_.is_universal && result.are_masters ? 1 : grid_.tensor_degree();
    for (uint64_t tensor_rank = 0; tensor_rank < tensor_ranks; ++tensor_rank) {
      WEIGHTFS_TRY(Checkpoint rank, ReadTensorRank(tensor_rank, result.are_masters));
      result.ranks.push_back(std::move(rank));
    }
    WEIGHTFS_CHECK(JoinRanks(result));
    for (Checkpoint& rank : result.ranks) Describe(rank, result.are_masters);
    if (want_masters && !result.are_masters) SayNoMasters(result.ranks.front());
    return result;
  }

 private:
  /// The model states of every stage of a tensor-parallel rank.
  std::vector<const ModelStates*> Stages(uint64_t tensor_rank) const {
    std::vector<const ModelStates*> stages;
    stages.reserve(grid_.pipeline_degree());
    for (uint64_t stage = 0; stage < grid_.pipeline_degree(); ++stage)
      stages.push_back(grid_.states(stage * grid_.tensor_degree() + tensor_rank));
    return stages;
  }

  Result<Checkpoint> ReadTensorRank(uint64_t tensor_rank, bool as_masters) {
    const std::vector<const ModelStates*> stages = Stages(tensor_rank);
    WEIGHTFS_TRY(Checkpoint module, ReadModule(tensor_rank, stages));
    Checkpoint checkpoint = std::move(module);
    if (as_masters) {
      std::vector<StageInput> inputs;
      for (uint64_t stage = 0; stage < stages.size(); ++stage) {
        WEIGHTFS_TRY(StageInput input, MakeInput(stage * grid_.tensor_degree() + tensor_rank));
        inputs.push_back(std::move(input));
      }
      if (save_.is_universal) WEIGHTFS_CHECK(ReadUniversal(stages, inputs));
      WEIGHTFS_TRY(checkpoint, AssembleMasters(std::move(checkpoint), inputs, options_.partial));
    }
    WEIGHTFS_CHECK(CheckTensorNames(checkpoint, save_.shown, context_.limits));
    return checkpoint;
  }

  /// `module` of all stages and the experts: the copy in the model's own type.
  Result<Checkpoint> ReadModule(uint64_t tensor_rank, const std::vector<const ModelStates*>& stages) {
    Checkpoint module = stages.front()->module;
    if (!grid_.layers(tensor_rank).empty()) {
      WEIGHTFS_TRY(Checkpoint layers, ReadPipelineLayers(grid_.layers(tensor_rank), stages, context_));
      std::ranges::move(layers.tensors, std::back_inserter(module.tensors));
      std::ranges::move(layers.unsupported, std::back_inserter(module.unsupported));
      std::ranges::move(layers.left_out, std::back_inserter(module.left_out));
      module.metadata_bytes += layers.metadata_bytes;
    } else if (!stages.front()->has_module && !save_.is_universal) {
      return Fail(
          ErrorCode::kNotFound,
          fmt::format("{}: no layer files, and module of {} is empty; expected layer_*-model_states.pt of a "
                      "pipeline",
                      save_.shown, stages.front()->file));
    }
    for (size_t stage = 1; stage < stages.size(); ++stage)
      module.metadata_bytes += stages[stage]->module.metadata_bytes;
    for (const DeepSpeedFile* file : grid_.experts(tensor_rank)) WEIGHTFS_CHECK(AddExpert(*file, module));
    return module;
  }

  Status AddExpert(const DeepSpeedFile& file, Checkpoint& module) {
    WEIGHTFS_TRY(const Checkpoint expert, ReadStateFile(file, context_));
    std::ranges::copy(expert.tensors, std::back_inserter(module.tensors));
    std::ranges::copy(expert.unsupported, std::back_inserter(module.unsupported));
    module.metadata_bytes += expert.metadata_bytes;
    return {};
  }

  Result<StageInput> MakeInput(uint64_t model_rank) {
    StageInput input;
    input.states = grid_.states(model_rank);
    input.optimizers = grid_.optimizers(model_rank);
    input.partitions = grid_.partitions(model_rank);
    if (input.states->settings.zenflow && grid_.has_optimizers())
      return Fail(
          ErrorCode::kUnsupported,
          fmt::format("{}: ds_config turns ZenFlow on, which lays matrices out transposed; expected a run "
                      "without it",
                      input.states->file),
          grid_.is_partitioned() ? "" : "--weights module serves the 16-bit copy");
    return input;
  }

  Status ReadUniversal(const std::vector<const ModelStates*>& stages, std::vector<StageInput>& inputs) {
    for (StageInput& input : inputs) input.parameters.emplace();
    WEIGHTFS_TRY(inputs.front().parameters,
                 ReadUniversalParameters(save_, stages, context_, universal_bytes_));
    const ModelStates& states = *stages.front();
    const bool is_suspect = states.settings.round_robin && states.data_world_size.value_or(2) > 1;
    if (!is_suspect || grid_.is_partitioned()) return {};
    return CheckAgainstModule(*inputs.front().parameters, states, context_);
  }

  /// Saves of experts had no param_shapes, by which masters are told apart, in older releases (0.14 is one).
  bool LacksExpertShapes() const {
    const OptimizerRanks optimizers = grid_.optimizers(0);
    return !grid_.experts(0).empty() && !grid_.states(0)->param_shapes &&
           std::ranges::none_of(optimizers, [](const OptimizerStates* states) {
             return states != nullptr && states->param_shapes;
           });
  }

  /// Joins the parts of tensor-parallel ranks where the run said how.
  Status JoinRanks(DeepSpeedCheckpoint& result) {
    const ModelStates& first = *grid_.states(0);
    if (result.ranks.size() < 2 || !first.tensor_parallel) return {};
    std::set<std::string> buffers;
    if (first.buffer_names) buffers.insert(first.buffer_names->begin(), first.buffer_names->end());
    WEIGHTFS_TRY(Checkpoint joined,
                 JoinTensorParallel(std::move(result.ranks), *first.tensor_parallel, buffers));
    result.ranks.clear();
    result.ranks.push_back(std::move(joined));
    return {};
  }

  void Describe(Checkpoint& rank, bool are_masters) {
    rank.format = "deepspeed";
    rank.metadata_bytes += grid_.optimizer_metadata_bytes() / grid_.tensor_degree() + universal_bytes_;
    universal_bytes_ = 0;
    uint64_t size_bytes = 0;
    for (const SourceTensor& tensor : rank.tensors) size_bytes += tensor.view.size_bytes();
    const uint64_t count = rank.tensors.size();
    rank.candidates.clear();
    if (are_masters || grid_.has_optimizers())
      rank.candidates.push_back(
          {"master", are_masters ? count : 0, are_masters ? size_bytes : 0, are_masters});
    if (!grid_.is_partitioned())
      rank.candidates.push_back(
          {"module", are_masters ? 0 : count, are_masters ? 0 : size_bytes, !are_masters});
    std::ranges::copy(grid_.warnings(), std::back_inserter(rank.warnings));
  }

  void SayNoMasters(Checkpoint& rank) const {
    const ModelStates& states = *grid_.states(0);
    if (grid_.has_optimizers())
      rank.warnings.push_back(
          fmt::format("{}: no param_shapes, which this version of DeepSpeed did not write for experts: the "
                      "copy in `module` and the expert files is served, not the masters",
                      save_.shown));
    else if (states.param_shapes)
      rank.warnings.push_back(fmt::format(
          "{}: no optimizer files; the copy in `module` is served, not the masters", save_.shown));
  }

  const DeepSpeedSave& save_;
  const DeepSpeedOptions& options_;
  const SourceContext& context_;
  RankGrid grid_;
  uint64_t universal_bytes_ = 0;
};

}  // namespace

Result<DeepSpeedCheckpoint> ReadDeepSpeed(const DeepSpeedSave& save, const DeepSpeedOptions& options,
                                          const SourceContext& context) {
  return SaveReader(save, options, context).Run();
}

}  // namespace weightfs
