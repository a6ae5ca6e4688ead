#include "convert/source/deepspeed/pipeline.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <string_view>
#include <unordered_map>

namespace weightfs {
namespace {

constexpr std::string_view kTied = "tied_modules.";

/// The parameters that the stages list, and those of them that are tied, by key.
class PipelineNames {
 public:
  explicit PipelineNames(std::span<const ModelStates* const> stages) {
    for (const ModelStates* stage : stages) {
      if (stage->param_shapes)
        for (const ShapeGroup& group : *stage->param_shapes) AddGroup(group);
      AddGroup(stage->frozen_shapes);
    }
  }

  /// The name prefix of the tensors of a layer: `LAYER.`, or that of the one tied module whose parameters the
  /// layer has all; empty when several do.
  std::string PrefixOf(uint32_t layer, const std::vector<SourceTensor>& tensors) const {
    std::string own = fmt::format("{}.", layer);
    const auto first = names_.lower_bound(own);
    if (first != names_.end() && first->first.starts_with(own)) return own;
    std::unordered_map<std::string_view, const SourceTensor*> by_name;
    for (const SourceTensor& tensor : tensors) by_name.emplace(tensor.name, &tensor);
    std::vector<std::string> fitting;
    for (const std::string& key : tied_keys_) {
      const std::string prefix = fmt::format("{}{}.", kTied, key);
      if (HasAll(prefix, by_name)) fitting.push_back(prefix);
    }
    if (fitting.empty()) return own;
    return fitting.size() == 1 ? fitting.front() : std::string();
  }

 private:
  void AddGroup(const ShapeGroup& group) {
    for (const NamedShape& named : group) {
      names_.emplace(named.name, &named.shape);
      std::string_view name = named.name;
      if (!name.starts_with(kTied)) continue;
      name.remove_prefix(kTied.size());
      if (const size_t dot = name.find('.'); dot != std::string_view::npos)
        tied_keys_.emplace(name.substr(0, dot));
    }
  }

  /// Every listed parameter under `prefix` is a tensor of the layer, in its shape.
  bool HasAll(const std::string& prefix,
              const std::unordered_map<std::string_view, const SourceTensor*>& tensors) const {
    for (auto name = names_.lower_bound(prefix); name != names_.end() && name->first.starts_with(prefix);
         ++name) {
      const auto tensor = tensors.find(std::string_view(name->first).substr(prefix.size()));
      if (tensor == tensors.end() || tensor->second->view.shape() != *name->second) return false;
    }
    return true;
  }

  std::map<std::string, const Shape*> names_;  ///< Shapes are those of the stages.
  std::set<std::string> tied_keys_;
};

}  // namespace

Result<Checkpoint> ReadPipelineLayers(std::span<const PipelineLayer> layers,
                                      std::span<const ModelStates* const> stages,
                                      const SourceContext& context) {
  const PipelineNames names(stages);
  Checkpoint joined;
  joined.format = "deepspeed";
  std::set<std::string> seen;
  for (const auto& [number, file] : layers) {
    WEIGHTFS_TRY(Checkpoint layer, ReadStateFile(*file, context));
    joined.metadata_bytes += layer.metadata_bytes;
    const std::string prefix = names.PrefixOf(number, layer.tensors);
    for (UnsupportedTensor& tensor : layer.unsupported) {
      tensor.name = prefix + tensor.name;
      joined.unsupported.push_back(std::move(tensor));
    }
    for (LeftOut& left_out : layer.left_out)
      joined.left_out.push_back({fmt::format("{}.{}", number, left_out.path), std::move(left_out.reason)});
    for (SourceTensor& tensor : layer.tensors) {
      if (prefix.empty()) {
        joined.left_out.push_back(
            {fmt::format("{}.{}", number, tensor.name), "of a tied module, and several could be meant"});
        continue;
      }
      tensor.name = prefix + tensor.name;
      if (!seen.insert(tensor.name).second) {
        joined.left_out.push_back(
            {fmt::format("{} in layer {}", tensor.name, number), "a tied copy of what another layer holds"});
        continue;
      }
      joined.tensors.push_back(std::move(tensor));
    }
  }
  return joined;
}

}  // namespace weightfs
