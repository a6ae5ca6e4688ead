#include "convert/source/deepspeed/model_states.h"

#include <fmt/format.h>

#include <algorithm>

#include "convert/source/open_file.h"
#include "convert/source/torch/node_access.h"
#include "convert/source/torch/rebuild.h"
#include "convert/source/torch/tensor_form.h"
#include "convert/source/torch/torch_object.h"
#include "convert/source/utf8.h"

namespace weightfs {
namespace {

using pickle::Kind;
using pickle::Node;
using pickle::NodePtr;

constexpr std::string_view kPartitioned = "zero3_partitioned";

std::vector<std::string> Texts(const Node& mapping, std::string_view key) {
  std::vector<std::string> texts;
  if (NodePtr list = FindValue(mapping, key); list != nullptr)
    for (NodePtr item : Items(*list))
      if (item->Is(Kind::kString)) texts.emplace_back(item->text());
  return texts;
}

/// True when `key` names something that is there and not empty.
bool HasContent(const Node& mapping, std::string_view key) {
  NodePtr value = FindValue(mapping, key);
  return value != nullptr && (!MappingPairs(*value).empty() || !Items(*value).empty());
}

DeepSpeedSettings ReadSettings(const Node& root) {
  DeepSpeedSettings settings;
  NodePtr config = FindValue(root, "ds_config");
  if (config == nullptr) return settings;
  settings.data_before_experts = FindFlag(*config, "use_data_before_expert_parallelism") ||
                                 FindFlag(*config, "use_data_before_expert_parallelism_");
  NodePtr zero = FindValue(*config, "zero_optimization");
  if (zero == nullptr) return settings;
  settings.zenflow = HasContent(*zero, "zenflow");
  settings.round_robin = FindFlag(*zero, "round_robin_gradients");
  return settings;
}

std::optional<TensorParallelInfo> ReadTensorParallelInfo(const Node& root) {
  NodePtr info = FindValue(root, "universal_checkpoint_info");
  if (info == nullptr || MappingPairs(*info).empty()) return std::nullopt;
  TensorParallelInfo result;
  result.replicated = Texts(*info, "tp_replicated_parameter_patterns");
  result.averaged = Texts(*info, "parameter_to_average_patterns");
  result.row_parallel = Texts(*info, "parameter_with_row_parallelism_patterns");
  result.two_parts = Texts(*info, "parameter_with_2_sub_params_cat_dim_0");
  result.vocabulary = Texts(*info, "vocabulary_parameter_patterns");
  result.not_supported = Texts(*info, "autotp_unsupported_parameter_patterns");
  if (NodePtr parts = FindValue(*info, "parameter_with_sub_params"); parts != nullptr)
    for (NodePtr part : Items(*parts))
      std::ranges::move(Texts(*part, "patterns"), std::back_inserter(result.not_supported));
  if (NodePtr maps = FindValue(*info, "affine_map"); maps != nullptr)
    if (NodePtr names = FindValue(*maps, "params"); names != nullptr)
      for (const auto [pattern, map] : MappingPairs(*names))
        if (pattern->Is(Kind::kString)) result.not_supported.emplace_back(pattern->text());
  if (const auto size = FindCount(*info, "original_vocab_size")) result.vocabulary_size = *size;
  return result;
}

/// Experts that ZeRO-3 partitions over groups of their own lie by rules that these readers do not know.
Status RefuseAutoExperts(const Node& root) {
  for (const std::string_view key : {"ds_autoep_layers", "autoep_layers"}) {
    NodePtr layers = FindValue(root, key);
    if (layers == nullptr) continue;
    for (NodePtr layer : Items(*layers))
      if (FindText(*layer, "checkpoint_format") == kPartitioned)
        return Fail(ErrorCode::kUnsupported,
                    fmt::format("{}: experts that AutoEP partitions under ZeRO-3; expected experts in files "
                                "of their own, or a universal checkpoint",
                                key),
                    "convert it with DeepSpeed's ds_to_universal and mount the result");
  }
  return {};
}

class StatesReader {
 public:
  StatesReader(const TorchObject& object, ModelStates& states, const SourceContext& context)
      : object_(object), root_(*object.tree.root()), states_(states), context_(context) {}

  Status Read(ModelStatesScope scope) {
    if (!root_.IsMapping() || (root_.Find("module") == nullptr && root_.Find("ds_version") == nullptr))
      return Fail(ErrorCode::kCorrupt,
                  fmt::format("a {}; expected a dict with `module`, as DeepSpeed writes", ClassName(root_)));
    WEIGHTFS_CHECK(RefuseAutoExperts(root_));
    WEIGHTFS_TRY(states_.global_steps, FindCount(root_, "global_steps"));
    WEIGHTFS_TRY(states_.data_world_size, FindCount(root_, "dp_world_size"));
    WEIGHTFS_TRY(states_.model_world_size, FindCount(root_, "mp_world_size"));
    states_.version = FindText(root_, "ds_version");
    WEIGHTFS_CHECK(ReadFrozen());
    if (scope == ModelStatesScope::kRank) return {};
    if (NodePtr dimensions = FindValue(root_, "checkpoint_parallel_dimensions"); dimensions != nullptr) {
      WEIGHTFS_TRY(states_.pipeline_degree, FindCount(*dimensions, "pp_degree"));
      WEIGHTFS_TRY(states_.tensor_degree, FindCount(*dimensions, "tp_degree"));
    }
    if (NodePtr counts = FindValue(root_, "num_experts"); counts != nullptr && counts->Is(Kind::kList)) {
      WEIGHTFS_TRY(states_.expert_counts, FindCounts(root_, "num_experts"));
    }
    states_.settings = ReadSettings(root_);
    states_.tensor_parallel = ReadTensorParallelInfo(root_);
    if (NodePtr names = FindValue(root_, "buffer_names"); names != nullptr)
      states_.buffer_names = Texts(root_, "buffer_names");
    WEIGHTFS_TRY(states_.param_shapes, FindShapeGroups(root_, "param_shapes", context_.limits));
    WEIGHTFS_CHECK(ReadSharedParams());
    return ReadModule();
  }

 private:
  Status ReadFrozen() {
    if (NodePtr shapes = FindValue(root_, "frozen_param_shapes"); shapes != nullptr) {
      WEIGHTFS_TRY(states_.frozen_shapes, ReadShapes(*shapes, "frozen_param_shapes", context_.limits));
    }
    NodePtr fragments = FindValue(root_, "frozen_param_fragments");
    if (fragments == nullptr) return {};
    if (!fragments->IsMapping())
      return Fail(ErrorCode::kCorrupt, fmt::format("frozen_param_fragments: {}; expected a mapping of names",
                                                   DescribeValue(*fragments)));
    Checkpoint read;
    WEIGHTFS_CHECK(ReadNamedTensors(*fragments, object_, states_.file, context_.limits, read));
    states_.frozen_fragments = std::move(read.tensors);
    std::ranges::move(read.unsupported, std::back_inserter(states_.module.unsupported));
    return {};
  }

  Status ReadSharedParams() {
    if (FindValue(root_, "shared_params") == nullptr) return {};
    WEIGHTFS_TRY(const NodePairs pairs, FindNamed(root_, "shared_params"));
    states_.shared_params.emplace();
    for (const auto [alias, source] : pairs) {
      if (!source->Is(Kind::kString))
        return Fail(ErrorCode::kCorrupt,
                    fmt::format("shared_params: {}; expected names as values", DescribeValue(*source)));
      states_.shared_params->emplace_back(alias->text(), source->text());
    }
    return {};
  }

  Status ReadModule() {
    NodePtr module = FindValue(root_, "module");
    if (module == nullptr) return {};
    states_.has_module = true;
    const bool has_tensors =
        !module->IsMapping() || std::ranges::any_of(MappingPairs(*module), [&](const pickle::NodePair& pair) {
          return IsTensor(*pair.value, *object_.storages) || pair.value->IsMapping();
        });
    if (!has_tensors) return {};
    std::vector<UnsupportedTensor> unsupported = std::move(states_.module.unsupported);
    SourceContext context = context_;
    context.weights_key_path = "module";
    WEIGHTFS_TRY(states_.module, ReadStateDict(object_, context));
    for (SourceTensor& tensor : states_.module.tensors) tensor.file = states_.file;
    for (UnsupportedTensor& tensor : states_.module.unsupported) tensor.file = states_.file;
    std::ranges::move(unsupported, std::back_inserter(states_.module.unsupported));
    return {};
  }

  const TorchObject& object_;
  const Node& root_;
  ModelStates& states_;
  const SourceContext& context_;
};

}  // namespace

Status ReadNamedTensors(const Node& mapping, const TorchObject& object, const std::string& file,
                        const Limits& limits, Checkpoint& into) {
  for (const auto [key, value] : MappingPairs(mapping)) {
    if (!key->Is(Kind::kString))
      return Fail(ErrorCode::kCorrupt,
                  fmt::format("{} as the name of a tensor; expected text", DescribeValue(*key)));
    std::string name(key->text());
    if (!IsTensor(*value, *object.storages)) {
      into.left_out.push_back({std::move(name), ClassName(*value)});
      continue;
    }
    Result<RebuiltTensor> rebuilt = RebuildTensor(*value, *object.storages, limits);
    if (!rebuilt) return std::unexpected(rebuilt.error().Within(fmt::format("tensor {}", Quoted(name))));
    if (rebuilt->view) {
      into.tensors.push_back({std::move(name), *std::move(rebuilt->view), std::move(rebuilt->storage), file});
    } else {
      into.unsupported.push_back({std::move(name), std::move(rebuilt->unsupported_reason), file});
    }
  }
  return {};
}

Result<Checkpoint> ReadStateFile(const DeepSpeedFile& file, const SourceContext& context) {
  WEIGHTFS_TRY(const FilePtr opened, OpenDeepSpeedFile(file));
  WEIGHTFS_TRY(const TorchObject object, OpenTorchObject(opened, context));
  Checkpoint checkpoint;
  checkpoint.format = "deepspeed";
  checkpoint.metadata_bytes = object.metadata_bytes;
  if (const Status read =
          ReadNamedTensors(*object.tree.root(), object, file.shown, context.limits, checkpoint);
      !read)
    return std::unexpected(read.error().Within(opened->name()));
  return checkpoint;
}

Result<ModelStates> ReadModelStates(const DeepSpeedFile& file, ModelStatesScope scope,
                                    const SourceContext& context) {
  WEIGHTFS_TRY(const FilePtr opened, OpenDeepSpeedFile(file));
  WEIGHTFS_TRY(const TorchObject object, OpenTorchObject(opened, context));
  ModelStates states;
  states.file = file.shown;
  Status read = StatesReader(object, states, context).Read(scope);
  if (!read && !read.error().message.starts_with(opened->name()))
    return std::unexpected(read.error().Within(opened->name()));
  if (!read) return std::unexpected(std::move(read).error());
  states.module.format = "deepspeed";
  states.module.metadata_bytes = object.metadata_bytes;
  return states;
}

}  // namespace weightfs
