/// \file
/// The ranks of a save: which there must be, which files are there, and whether they are of one save.
///
/// Follows docs/formats/deepspeed.md, "Ranks".
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "convert/base/result.h"
#include "convert/source/deepspeed/deepspeed.h"
#include "convert/source/deepspeed/model_states.h"
#include "convert/source/deepspeed/optimizer_states.h"
#include "convert/source/deepspeed/partitions.h"
#include "convert/source/deepspeed/pipeline.h"

namespace weightfs {

/// The files of a save, read. Movable; refers to the save, which must outlive it.
class RankGrid {
 public:
  /// Reads the model states of every rank of the model, and the optimizer states when masters are wanted.
  /// \error kNotFound  files are missing, all are listed (unless `options.partial`)
  /// \error kCorrupt   files that are not of one save; more files than ranks
  /// \error as ReadModelStates and ReadOptimizerStates
  static Result<RankGrid> Read(const DeepSpeedSave& save, const DeepSpeedOptions& options,
                               const SourceContext& context);

  bool is_partitioned() const { return is_partitioned_; }  ///< ZeRO-3.
  bool has_optimizers() const { return !optimizers_.empty(); }
  bool is_partial() const { return is_partial_; }
  uint64_t tensor_degree() const { return tensor_degree_; }
  uint64_t pipeline_degree() const { return pipeline_degree_; }
  /// The first model states of a rank of the model. \pre model_rank < pipeline_degree * tensor_degree
  const ModelStates* states(uint64_t model_rank) const { return states_[model_rank].get(); }
  /// By data rank; nullptr where the file is missing.
  OptimizerRanks optimizers(uint64_t model_rank) const;
  /// ZeRO-3: by data rank, nullptr where the file is missing or has nothing of its own. Else empty.
  std::vector<const ModelStates*> partitions(uint64_t model_rank) const;
  /// In order of their numbers.
  const std::vector<PipelineLayer>& layers(uint64_t tensor_rank) const;
  std::vector<const DeepSpeedFile*> experts(uint64_t tensor_rank) const;
  const std::vector<std::string>& warnings() const { return warnings_; }
  uint64_t optimizer_metadata_bytes() const { return optimizer_metadata_bytes_; }

 private:
  friend class GridReader;
  using Ranks = std::pair<uint64_t, uint64_t>;  ///< Of the model, of the data.

  std::vector<std::unique_ptr<ModelStates>> states_;
  std::map<Ranks, ModelStates> later_states_;
  std::map<Ranks, OptimizerStates> optimizers_;
  std::vector<std::vector<PipelineLayer>> layers_;
  std::map<uint64_t, std::vector<const DeepSpeedFile*>> experts_;
  std::vector<std::string> warnings_;
  uint64_t world_size_ = 0;
  uint64_t tensor_degree_ = 1, pipeline_degree_ = 1;
  uint64_t optimizer_metadata_bytes_ = 0;
  bool is_partitioned_ = false;
  bool is_partial_ = false;
};

}  // namespace weightfs
