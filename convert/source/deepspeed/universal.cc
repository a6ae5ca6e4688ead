#include "convert/source/deepspeed/universal.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>

#include "convert/base/relative_path.h"
#include "convert/source/open_file.h"
#include "convert/source/torch/node_access.h"
#include "convert/source/torch/rebuild.h"
#include "convert/source/torch/tensor_form.h"
#include "convert/source/utf8.h"
#include "convert/view/algebra.h"
#include "convert/view/virtual_file.h"

namespace weightfs {
namespace {

using pickle::NodePtr;

constexpr std::string_view kFolder = "zero", kMasterFile = "fp32.pt";
constexpr size_t kFilesHeldMax = 256;
/// Elements of each parameter that are compared.
constexpr uint64_t kElementsCompared = 64;

class UniversalReader {
 public:
  UniversalReader(const DeepSpeedSave& save, std::span<const ModelStates* const> stages,
                  const SourceContext& context, uint64_t& metadata_bytes)
      : save_(save), stages_(stages), context_(context), metadata_bytes_(metadata_bytes) {}

  Result<std::vector<RebuiltParameter>> Run() {
    root_ = save_.files.begin()->second.root;
    folder_ = JoinPath(save_.folder, kFolder);
    WEIGHTFS_CHECK(ListNames());
    std::vector<RebuiltParameter> parameters;
    std::vector<std::string> missing;
    std::set<std::string> seen;
    for (const ModelStates* stage : stages_)
      for (const ShapeGroup& group : stage->param_shapes.value_or(std::vector<ShapeGroup>()))
        for (const NamedShape& named : group) {
          if (!seen.insert(named.name).second) continue;
          if (names_.erase(named.name) == 0) {
            missing.push_back(named.name);
          } else {
            WEIGHTFS_CHECK(Read(named.name, &named, parameters));
          }
        }
    if (!missing.empty()) return FailMissing(missing);
    // What `module` holds besides, buffers and frozen parameters, the tool copies as float32.
    for (const ModelStates* stage : stages_)
      for (const SourceTensor& tensor : stage->module.tensors)
        if (tensor.view.element_count() != 0) names_.erase(tensor.name);
    for (const std::string& name : names_) WEIGHTFS_CHECK(Read(name, nullptr, parameters));
    return parameters;
  }

 private:
  Status ListNames() {
    WEIGHTFS_TRY(const std::vector<SourceEntry> entries, root_->List(folder_));
    for (const SourceEntry& entry : entries)
      if (entry.is_directory && !entry.name.starts_with('.')) names_.insert(entry.name);
    for (const ModelStates* stage : stages_)
      if (stage->shared_params)
        for (const auto& [alias, source] : *stage->shared_params)
          if (names_.contains(source)) names_.erase(alias);
    return {};
  }

  std::unexpected<Error> FailMissing(const std::vector<std::string>& missing) const {
    return Fail(ErrorCode::kNotFound,
                fmt::format("{}/{}: no folders of {} parameters: {}; expected one for each", root_->name(),
                            folder_, missing.size(), ListQuoted(missing)));
  }

  Status Read(const std::string& name, const NamedShape* named, std::vector<RebuiltParameter>& parameters) {
    const std::string path = JoinPath(JoinPath(folder_, name), kMasterFile);
    const auto policy = ++files_read_ > kFilesHeldMax ? DescriptorPolicy::kPerRead : DescriptorPolicy::kHeld;
    WEIGHTFS_TRY(const FilePtr file, root_->OpenWeights(path, policy));
    WEIGHTFS_TRY(const TorchObject object, OpenTorchObject(file, context_));
    metadata_bytes_ += object.metadata_bytes;
    NodePtr node = object.tree.root();
    const bool is_flat = !node->IsMapping();
    if (!is_flat) node = FindValue(*node, "param");
    if (node == nullptr || !IsTensor(*node, *object.storages))
      return Fail(ErrorCode::kCorrupt, fmt::format("{}: a {}; expected a tensor, or a dict with `param`",
                                                   file->name(), ClassName(*object.tree.root())));
    Result<RebuiltTensor> rebuilt = RebuildTensor(*node, *object.storages, context_.limits);
    if (!rebuilt) return std::unexpected(rebuilt.error().Within(file->name()));
    if (!rebuilt->view)
      return Fail(ErrorCode::kUnsupported, fmt::format("{}: {}", file->name(), rebuilt->unsupported_reason));
    TensorView view = *std::move(rebuilt->view);
    if (is_flat && named != nullptr) {
      Result<TensorView> shaped = Reshape(view, named->shape);
      if (!shaped)
        return Fail(ErrorCode::kCorrupt,
                    fmt::format("{}: {} elements; expected {}, as param_shapes of {} says", file->name(),
                                view.element_count(), named->element_count, stages_.front()->file));
      view = *std::move(shaped);
    }
    parameters.push_back({name, std::move(view), path, std::move(rebuilt->storage)});
    return {};
  }

  const DeepSpeedSave& save_;
  std::span<const ModelStates* const> stages_;
  const SourceContext& context_;
  uint64_t& metadata_bytes_;
  std::shared_ptr<SourceFiles> root_;
  std::string folder_;
  std::set<std::string> names_;
  size_t files_read_ = 0;
};

/// The first elements of `view`, as `dtype`.
Result<std::string> FirstElements(const TensorView& view, DType dtype, const SourceContext& context) {
  WEIGHTFS_TRY(const TensorView flat, Reshape(view, {view.element_count()}));
  WEIGHTFS_TRY(TensorView first, Narrow(flat, 0, 0, std::min(view.element_count(), kElementsCompared)));
  WEIGHTFS_TRY(first, first.Cast(dtype));
  WEIGHTFS_TRY(const VirtualFilePtr file, MakeViewFile({}, {std::move(first)}, context.cache));
  ReadScratch scratch;
  WEIGHTFS_TRY(const std::span<const std::byte> bytes, file->Read({0, file->size_bytes()}, scratch));
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

}  // namespace

Result<std::vector<RebuiltParameter>> ReadUniversalParameters(const DeepSpeedSave& save,
                                                              std::span<const ModelStates* const> stages,
                                                              const SourceContext& context,
                                                              uint64_t& metadata_bytes) {
  return UniversalReader(save, stages, context, metadata_bytes).Run();
}

Status CheckAgainstModule(const std::vector<RebuiltParameter>& parameters, const ModelStates& states,
                          const SourceContext& context) {
  std::unordered_map<std::string_view, const TensorView*> module;
  for (const SourceTensor& tensor : states.module.tensors) module.emplace(tensor.name, &tensor.view);
  for (const RebuiltParameter& parameter : parameters) {
    const auto copy = module.find(parameter.name);
    if (copy == module.end() || !IsCastable(copy->second->dtype()) ||
        copy->second->element_count() != parameter.view->element_count() ||
        parameter.view->element_count() == 0)
      continue;
    const DType dtype = copy->second->dtype();
    WEIGHTFS_TRY(const std::string master, FirstElements(*parameter.view, dtype, context));
    WEIGHTFS_TRY(const std::string other, FirstElements(*copy->second, dtype, context));
    if (master != other)
      return Fail(
          ErrorCode::kCorrupt,
          fmt::format("{}: other values of {} than {}: ds_to_universal permutes the weights of runs with "
                      "round_robin_gradients; expected equal ones",
                      parameter.file, Quoted(parameter.name), states.file),
          "mount the save it was made from; --weights module serves the 16-bit copy");
  }
  return {};
}

}  // namespace weightfs
