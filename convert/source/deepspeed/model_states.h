/// \file
/// A `*_model_states.pt` file: what a rank of the model holds beside the masters.
///
/// Follows docs/formats/deepspeed.md, "Model states".
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "convert/base/result.h"
#include "convert/source/checkpoint.h"
#include "convert/source/deepspeed/pickled_values.h"
#include "convert/source/deepspeed/save.h"
#include "convert/source/torch/torch_object.h"

namespace weightfs {

/// What the settings of the run (`ds_config`) say that the layout depends on.
struct DeepSpeedSettings {
  bool zenflow = false;      ///< Matrices lie transposed in the flat vectors.
  bool round_robin = false;  ///< Parameters were dealt to the partitions in turn.
  bool data_before_experts =
      false;  ///< `use_data_before_expert_parallelism`: how ranks of experts are counted.
};

/// How the parts of tensor-parallel ranks join, as the run recorded it (`universal_checkpoint_info`).
/// Patterns are matched at the start of a name.
struct TensorParallelInfo {
  std::vector<std::string> replicated;      ///< Equal on every rank.
  std::vector<std::string> averaged;        ///< The mean of the ranks.
  std::vector<std::string> row_parallel;    ///< Joined along axis 1.
  std::vector<std::string> two_parts;       ///< Two halves, each joined along axis 0.
  std::vector<std::string> vocabulary;      ///< Joined along axis 0, rows beyond the vocabulary dropped.
  std::vector<std::string> not_supported;   ///< Uneven or nested parts.
  std::optional<uint64_t> vocabulary_size;  ///< `original_vocab_size`
};

/// One file, read. A value; what it holds does not need the file's pickle.
struct ModelStates {
  std::string file;  ///< As provenance (DeepSpeedFile::shown).
  /// The tensors of `module`, values beside it and what was left out; no tensors when it is None.
  Checkpoint module;
  bool has_module = false;
  std::optional<std::vector<std::string>> buffer_names;
  std::optional<std::vector<ShapeGroup>> param_shapes;  ///< Nothing without ZeRO.
  ShapeGroup frozen_shapes;
  std::vector<SourceTensor> frozen_fragments;
  /// Alias and the name whose tensor it shares; nothing in files before 0.9.2.
  std::optional<std::vector<std::pair<std::string, std::string>>> shared_params;
  std::optional<uint64_t> global_steps, data_world_size, model_world_size;
  std::optional<uint64_t> pipeline_degree, tensor_degree;  ///< `checkpoint_parallel_dimensions`
  std::vector<uint64_t> expert_counts;  ///< `num_experts`: of each mixture-of-experts layer.
  DeepSpeedSettings settings;
  std::optional<TensorParallelInfo> tensor_parallel;
  std::string version;  ///< `ds_version`
};

/// Which parts of a file are read.
enum class ModelStatesScope : uint8_t {
  kAll,
  kRank,  ///< What later ranks have of their own: frozen fragments, step, sizes. `module` stays empty.
};

/// Reads one file; no tensor byte.
/// \error kUnsupported  experts partitioned by AutoEP
/// \error kCorrupt      not such a file, or a value of another type than it must have: names file and key
/// \error as OpenTorchObject, ReadStateDict and RebuildTensor
Result<ModelStates> ReadModelStates(const DeepSpeedFile& file, ModelStatesScope scope,
                                    const SourceContext& context);

/// Reads a file that is nothing but a mapping of names to tensors: a layer, an expert.
/// \error as OpenTorchObject and ReadNamedTensors
Result<Checkpoint> ReadStateFile(const DeepSpeedFile& file, const SourceContext& context);

/// The tensors of a mapping of names, in its order.
/// \param into  receives tensors, those that safetensors cannot carry, and what is no tensor
/// \error as RebuildTensor, naming the tensor; kCorrupt for keys that are no text
Status ReadNamedTensors(const pickle::Node& mapping, const TorchObject& object, const std::string& file,
                        const Limits& limits, Checkpoint& into);

}  // namespace weightfs
