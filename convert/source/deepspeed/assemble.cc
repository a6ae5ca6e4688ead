#include "convert/source/deepspeed/assemble.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "convert/base/bytes.h"
#include "convert/source/deepspeed/experts.h"
#include "convert/source/utf8.h"
#include "convert/view/algebra.h"

namespace weightfs {
namespace {

constexpr std::string_view kTied = "tied_modules.";

std::string ShapeText(const Shape& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

/// Where the elements of a tensor lie, when it is one strided piece: tied tensors of `module` have the same
/// place.
using Place = std::tuple<const RandomAccessFile*, uint64_t, uint64_t>;
std::optional<Place> PlaceOf(const TensorView& view) {
  if (view.storage() == nullptr || view.element_count() == 0) return std::nullopt;
  const RandomAccessFile::Location origin = OriginOf(view.storage());
  return Place{origin.file, origin.offset_bytes + view.layout().offset_bytes(), view.element_count()};
}

class Assembler {
 public:
  Assembler(Checkpoint module, const std::vector<StageInput>& stages, bool partial)
      : module_(std::move(module)), stages_(stages), partial_(partial) {}

  Result<Checkpoint> Run() {
    for (const StageInput& stage : stages_) WEIGHTFS_CHECK(AddTrained(stage));
    for (const StageInput& stage : stages_) WEIGHTFS_CHECK(AddFrozen(stage));
    for (const StageInput& stage : stages_) CollectNames(stage);
    WEIGHTFS_CHECK(AddRest());
    AddAliases();
    ListLostBuffers();
    WEIGHTFS_CHECK(SayMissing());
    Checkpoint result = std::move(module_);
    result.tensors = std::move(rest_);
    std::ranges::move(frozen_, std::back_inserter(result.tensors));
    std::ranges::move(trained_, std::back_inserter(result.tensors));
    std::ranges::move(aliases_, std::back_inserter(result.tensors));
    std::ranges::move(left_out_, std::back_inserter(result.left_out));
    return result;
  }

 private:
  Status AddTrained(const StageInput& stage) {
    const auto found =
        std::ranges::find_if(stage.optimizers, [](const auto* states) { return states != nullptr; });
    if (found == stage.optimizers.end()) return AddGiven(stage);
    const OptimizerStates& first = **found;
    const std::optional<std::vector<ShapeGroup>>& shapes =
        stage.states->param_shapes ? stage.states->param_shapes : first.param_shapes;
    if (!shapes)
      return Fail(ErrorCode::kCorrupt,
                  fmt::format("{}: no param_shapes; expected them beside the masters of {}",
                              stage.states->file, first.shown));
    std::vector<RebuiltParameter> parameters;
    if (first.cut == DeepSpeedCut::kParameters) {
      WEIGHTFS_CHECK(JoinPartitions(stage.optimizers, *shapes, parameters));
    } else {
      WEIGHTFS_CHECK(CutGroups(stage, first, *shapes, parameters));
    }
    for (RebuiltParameter& parameter : parameters) WEIGHTFS_CHECK(AddParameter(std::move(parameter)));
    return {};
  }

  /// Parameters that were put together before, or the names of those whose masters are missing.
  Status AddGiven(const StageInput& stage) {
    if (stage.parameters) {
      for (const RebuiltParameter& parameter : *stage.parameters) WEIGHTFS_CHECK(AddParameter(parameter));
      return {};
    }
    if (!stage.states->param_shapes) return {};
    for (const ShapeGroup& group : *stage.states->param_shapes)
      for (const NamedShape& named : group) WEIGHTFS_CHECK(AddParameter({named.name, std::nullopt, {}, {}}));
    return {};
  }

  static Status CutGroups(const StageInput& stage, const OptimizerStates& first,
                          const std::vector<ShapeGroup>& shapes, std::vector<RebuiltParameter>& parameters) {
    if (shapes.size() != first.groups.size())
      return Fail(
          ErrorCode::kCorrupt,
          fmt::format("{}: {} groups; expected {}, as in param_shapes of {}: files of different saves?",
                      first.shown, first.groups.size(), shapes.size(), stage.states->file));
    if (!first.alignment_paddings.empty() && first.alignment_paddings.size() != shapes.size())
      return Fail(ErrorCode::kCorrupt,
                  fmt::format("{}: param_alignment_paddings of {} groups; expected {}", first.shown,
                              first.alignment_paddings.size(), shapes.size()));
    const uint64_t world_size = stage.optimizers.size();
    for (size_t group = 0; group < shapes.size(); ++group) {
      std::span<const uint64_t> paddings;
      if (!first.alignment_paddings.empty()) paddings = first.alignment_paddings[group];
      const std::vector<uint64_t>& counts = first.partition_counts;
      const uint64_t count = counts.size() > 1 ? counts[group] : world_size;
      if (count < world_size) {
        WEIGHTFS_CHECK(CutExpertGroup(stage.optimizers, group, count,
                                      stage.states->settings.data_before_experts, shapes[group], paddings,
                                      parameters));
      } else {
        WEIGHTFS_CHECK(
            CutGroup(stage.optimizers, group, shapes[group], paddings, 2 * world_size, parameters));
      }
    }
    return {};
  }

  Status AddParameter(RebuiltParameter parameter) {
    if (!names_.insert(parameter.name).second) {
      // A module that several stages use is trained by each of them, alike.
      if (parameter.name.starts_with(kTied)) return {};
      return Fail(ErrorCode::kCorrupt, fmt::format("{}: parameter {} twice in param_shapes; expected it once",
                                                   parameter.file, Quoted(parameter.name)));
    }
    if (!parameter.view) {
      missing_.push_back(std::move(parameter.name));
      return {};
    }
    trained_.push_back({std::move(parameter.name), *std::move(parameter.view), std::move(parameter.storage),
                        std::move(parameter.file)});
    return {};
  }

  Status AddFrozen(const StageInput& stage) {
    const ModelStates& states = *stage.states;
    if (stage.partitions.empty()) {
      for (const SourceTensor& fragment : states.frozen_fragments)
        if (names_.insert(fragment.name).second) frozen_.push_back(fragment);
      return {};
    }
    std::vector<FragmentsByName> fragments(stage.partitions.size());
    for (size_t rank = 0; rank < fragments.size(); ++rank)
      if (stage.partitions[rank] != nullptr)
        for (const SourceTensor& fragment : stage.partitions[rank]->frozen_fragments)
          fragments[rank].emplace(fragment.name, &fragment);
    for (const NamedShape& named : states.frozen_shapes) {
      if (!names_.insert(named.name).second) continue;
      WEIGHTFS_TRY(std::optional<SourceTensor> joined, JoinFragments(stage, fragments, named));
      if (joined) {
        frozen_.push_back(*std::move(joined));
      } else {
        missing_.push_back(named.name);
      }
    }
    return {};
  }

  using FragmentsByName = std::unordered_map<std::string_view, const SourceTensor*>;

  /// A frozen parameter of ZeRO-3: a piece of each rank, the last ones padded.
  static Result<std::optional<SourceTensor>> JoinFragments(const StageInput& stage,
                                                           const std::vector<FragmentsByName>& fragments,
                                                           const NamedShape& named) {
    const uint64_t world_size = stage.partitions.size();
    const uint64_t each = named.element_count / world_size + (named.element_count % world_size != 0 ? 1 : 0);
    SourceTensor joined{named.name, {}, {}, {}};
    std::vector<TensorView> parts;
    std::string last_file;
    DType dtype = DType::kF32;
    uint64_t left = named.element_count;
    for (size_t rank = 0; rank < world_size && (left > 0 || rank == 0); ++rank) {
      if (stage.partitions[rank] == nullptr) return std::nullopt;
      const ModelStates& states = *stage.partitions[rank];
      const auto found = fragments[rank].find(named.name);
      if (found == fragments[rank].end())
        return Fail(ErrorCode::kCorrupt,
                    fmt::format("{}: no frozen_param_fragments of {}; expected {} elements", states.file,
                                Quoted(named.name), each));
      const SourceTensor* fragment = found->second;
      if (rank == 0)
        joined.file = states.file, joined.storage = fragment->storage, dtype = fragment->view.dtype();
      last_file = states.file;
      if (fragment->view.dtype() == DType::kI8)
        return Fail(
            ErrorCode::kUnsupported,
            fmt::format("{}: frozen parameter {} is quantized, and its scale is not in the file; expected "
                        "a run without zero_quantized_nontrainable_weights",
                        states.file, Quoted(named.name)));
      if (fragment->view.dtype() != dtype || fragment->view.element_count() < std::min(each, left))
        return Fail(
            ErrorCode::kCorrupt,
            fmt::format(
                "{}: {} elements of {} in frozen_param_fragments of {}; expected {} of {}, a part of {}",
                states.file, fragment->view.element_count(), TorchName(fragment->view.dtype()),
                Quoted(named.name), each, TorchName(dtype), ShapeText(named.shape)));
      if (left == 0) break;
      const uint64_t count = std::min(each, left);
      WEIGHTFS_TRY(const TensorView flat, Reshape(fragment->view, {fragment->view.element_count()}));
      WEIGHTFS_TRY(TensorView part, Narrow(flat, 0, 0, count));
      parts.push_back(std::move(part));
      left -= count;
    }
    joined.file = NameRange(joined.file, last_file);
    WEIGHTFS_TRY(joined.view, JoinParts(parts, dtype, named.shape));
    return joined;
  }

  void CollectNames(const StageInput& stage) {
    const ModelStates& states = *stage.states;
    if (states.buffer_names) buffers_.insert(states.buffer_names->begin(), states.buffer_names->end());
    is_partitioned_ |= !stage.partitions.empty();
    knows_aliases_ &= states.shared_params.has_value();
    if (!states.shared_params) return;
    for (const auto& [alias, source] : *states.shared_params) alias_sources_.emplace(alias, source);
  }

  /// What only `module` holds.
  Status AddRest() {
    std::map<Place, std::string> trained_places;
    if (!knows_aliases_)
      for (const SourceTensor& tensor : module_.tensors)
        if (const auto place = PlaceOf(tensor.view); place && names_.contains(tensor.name))
          trained_places.emplace(*place, tensor.name);
    for (SourceTensor& tensor : module_.tensors) {
      if (names_.contains(tensor.name) || alias_sources_.contains(tensor.name)) continue;
      const bool is_buffer = buffers_.contains(tensor.name);
      if (is_partitioned_ && !is_buffer && IsPlaceholder(tensor)) {
        NoteLost(tensor.name);
        continue;
      }
      const auto place = knows_aliases_ ? std::nullopt : PlaceOf(tensor.view);
      if (place && trained_places.contains(*place)) {
        alias_sources_.emplace(tensor.name, trained_places.at(*place));
        continue;
      }
      if (is_buffer && IsCastable(tensor.view.dtype())) {
        WEIGHTFS_TRY(tensor.view, tensor.view.Cast(DType::kF32));
      }
      names_.insert(tensor.name);
      rest_.push_back(std::move(tensor));
    }
    return {};
  }

  /// ZeRO-3 leaves a tensor of no elements (one, before 0.6.0) where a parameter was.
  static bool IsPlaceholder(const SourceTensor& tensor) {
    return tensor.view.shape() == Shape{0} || tensor.view.shape() == Shape{1};
  }

  void NoteLost(const std::string& name) {
    // Old versions wrote neither frozen parameters nor which names are tied.
    if (knows_aliases_) {
      missing_.push_back(name);
    } else {
      lost_.push_back(name);
      left_out_.push_back(
          {name, "no data: this version of DeepSpeed saved neither tied names nor frozen parameters"});
    }
  }

  void AddAliases() {
    std::unordered_map<std::string_view, const SourceTensor*> sources;
    for (const auto* tensors : {&rest_, &frozen_, &trained_})
      for (const SourceTensor& tensor : *tensors) sources.emplace(tensor.name, &tensor);
    for (const auto& [alias, source] : alias_sources_) {
      if (names_.contains(alias)) continue;
      const auto found = sources.find(source);
      if (found == sources.end()) {
        left_out_.push_back({alias, fmt::format("shares {}, which is not served", Quoted(source))});
        continue;
      }
      SourceTensor tensor = *found->second;
      tensor.name = alias;
      aliases_.push_back(std::move(tensor));
    }
  }

  /// Universal checkpoints of pipelines lack the layer files, which held the buffers.
  void ListLostBuffers() {
    std::vector<std::string> lost;
    for (const std::string& name : buffers_)
      if (!names_.contains(name) && !alias_sources_.contains(name)) lost.push_back(name);
    if (lost.empty()) return;
    for (const std::string& name : lost) left_out_.push_back({name, "a buffer that no file holds"});
    module_.warnings.push_back(fmt::format("{}: {} buffers that no file holds: {}; they are left out",
                                           stages_.front().states->file, lost.size(), ListQuoted(lost)));
  }

  Status SayMissing() {
    if (!lost_.empty())
      module_.warnings.push_back(
          fmt::format("{}: {} parameters without data ({}): this version of DeepSpeed saved neither tied "
                      "names nor frozen "
                      "parameters; from_pretrained ties names again where config.json says so",
                      stages_.front().states->file, lost_.size(), ListQuoted(lost_)));
    if (missing_.empty()) return {};
    for (const std::string& name : missing_)
      left_out_.push_back({name, "--partial: a file that holds some of it is missing"});
    const std::string message =
        fmt::format("{}: {} parameters that the files do not hold whole: {}; expected all",
                    stages_.front().states->file, missing_.size(), ListQuoted(missing_));
    if (!partial_) return Fail(ErrorCode::kNotFound, message, "--partial leaves them out");
    module_.warnings.push_back(message + "; they are left out (--partial)");
    return {};
  }

  Checkpoint module_;
  const std::vector<StageInput>& stages_;
  const bool partial_;
  std::set<std::string> names_;  ///< Of what is served, and of what would be if it were whole.
  std::set<std::string> buffers_;
  std::map<std::string, std::string> alias_sources_;
  bool is_partitioned_ = false;  ///< ZeRO-3: `module` has placeholders.
  bool knows_aliases_ = true;    ///< The files say which names are tied.
  std::vector<SourceTensor> rest_, frozen_, trained_, aliases_;
  std::vector<std::string> missing_, lost_;
  std::vector<LeftOut> left_out_;
};

}  // namespace

Result<Checkpoint> AssembleMasters(Checkpoint module, const std::vector<StageInput>& stages, bool partial) {
  return Assembler(std::move(module), stages, partial).Run();
}

}  // namespace weightfs
