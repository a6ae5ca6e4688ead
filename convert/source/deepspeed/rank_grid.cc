#include "convert/source/deepspeed/rank_grid.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <optional>
#include <set>

#include "convert/base/bytes.h"
#include "convert/base/relative_path.h"

namespace weightfs {
namespace {

constexpr uint64_t kRanksMax = 1 << 20;
constexpr uint64_t kGroupsMax = 1 << 24;
constexpr size_t kNamesShownMax = 16;
/// Up to so many data ranks the model states of all are read to compare their steps, although nothing else of
/// them is needed.
constexpr uint64_t kStepsComparedMax = 64;

/// "layer" of a parameter's name `3.weight`, or nothing.
std::optional<uint32_t> LayerOf(std::string_view name) {
  uint32_t layer = 0;
  size_t digits = 0;
  for (; digits < name.size() && digits < 9 && name[digits] >= '0' && name[digits] <= '9'; ++digits)
    layer = layer * 10 + static_cast<uint32_t>(name[digits] - '0');
  if (digits == 0 || digits == name.size() || name[digits] != '.') return std::nullopt;
  return layer;
}

}  // namespace

OptimizerRanks RankGrid::optimizers(uint64_t model_rank) const {
  OptimizerRanks ranks(has_optimizers() ? world_size_ : 0, nullptr);
  for (uint64_t rank = 0; rank < ranks.size(); ++rank)
    if (const auto found = optimizers_.find({model_rank, rank}); found != optimizers_.end())
      ranks[rank] = &found->second;
  return ranks;
}

std::vector<const ModelStates*> RankGrid::partitions(uint64_t model_rank) const {
  std::vector<const ModelStates*> ranks(is_partitioned_ ? world_size_ : 0, nullptr);
  for (uint64_t rank = 0; rank < ranks.size(); ++rank)
    if (const auto found = later_states_.find({model_rank, rank}); found != later_states_.end())
      ranks[rank] = &found->second;
  return ranks;
}

const std::vector<PipelineLayer>& RankGrid::layers(uint64_t tensor_rank) const {
  static const std::vector<PipelineLayer> none;
  return tensor_rank < layers_.size() ? layers_[tensor_rank] : none;
}

std::vector<const DeepSpeedFile*> RankGrid::experts(uint64_t tensor_rank) const {
  const auto found = experts_.find(tensor_rank);
  return found == experts_.end() ? std::vector<const DeepSpeedFile*>() : found->second;
}

/// Reads the files of a save in order of their ranks.
class GridReader {
 public:
  GridReader(const DeepSpeedSave& save, const DeepSpeedOptions& options, const SourceContext& context)
      : save_(save), options_(options), context_(context) {}

  Result<RankGrid> Run() {
    WEIGHTFS_CHECK(SortFiles());
    WEIGHTFS_CHECK(ReadFirstStates());
    WEIGHTFS_CHECK(ReadOptimizers());
    WEIGHTFS_CHECK(ReadLaterStates());
    WEIGHTFS_CHECK(CheckSizes());
    ListMissing();
    if (!missing_.empty()) WEIGHTFS_CHECK(SayMissing());
    return std::move(grid_);
  }

 private:
  using Ranks = RankGrid::Ranks;

  Status SortFiles() {
    for (const auto& [name, file] : save_.files) {
      const Ranks ranks{name.model_rank, name.data_rank};
      switch (name.kind) {
        case DeepSpeedFileKind::kModel:
          plain_.emplace(ranks, &file);
          break;
        case DeepSpeedFileKind::kPartition:
          partitions_.emplace(ranks, &file);
          break;
        case DeepSpeedFileKind::kOptimizer:
          optimizer_files_.emplace(ranks, &file);
          break;
        case DeepSpeedFileKind::kExpert:
          expert_numbers_.emplace(name.layer, name.expert);
          grid_.experts_[name.model_rank].push_back(&file);
          break;
        case DeepSpeedFileKind::kLayer:
          if (name.model_rank >= kRanksMax) continue;
          grid_.layers_.resize(std::max<size_t>(grid_.layers_.size(), name.model_rank + 1));
          grid_.layers_[name.model_rank].emplace_back(name.layer, &file);
          break;
        case DeepSpeedFileKind::kExpertOptimizer:
          break;
      }
    }
    if (!plain_.empty() && !partitions_.empty())
      return Fail(
          ErrorCode::kCorrupt,
          fmt::format("{}: model states of ZeRO-3 ({}) beside others ({}); expected the files of one save",
                      save_.shown, partitions_.begin()->second->shown, plain_.begin()->second->shown));
    grid_.is_partitioned_ = !partitions_.empty();
    if (plain_.empty() && partitions_.empty())
      return Fail(
          ErrorCode::kNotFound,
          fmt::format("{}: no *_model_states.pt; expected those of every rank, which name the parameters",
                      save_.shown),
          "copy them from the other nodes, or name their folders with --also DIR");
    return {};
  }

  const std::map<Ranks, const DeepSpeedFile*>& model_files() const {
    return grid_.is_partitioned_ ? partitions_ : plain_;
  }

  /// The first file of each rank of the model.
  Status ReadFirstStates() {
    uint64_t model_ranks = 0;
    for (const auto& [ranks, file] : model_files()) {
      if (ranks.first >= kRanksMax)
        return Fail(ErrorCode::kCorrupt, fmt::format("{}: rank {} of the model; expected less than {}",
                                                     file->shown, ranks.first, kRanksMax));
      if (ranks.first < grid_.states_.size() && grid_.states_[ranks.first] != nullptr) continue;
      WEIGHTFS_TRY(ModelStates states, ReadModelStates(*file, ModelStatesScope::kAll, context_));
      WEIGHTFS_CHECK(CheckSteps(states));
      if (grid_.states_.empty()) {
        WEIGHTFS_TRY(model_ranks, FindDegrees(states));
        grid_.states_.resize(model_ranks);
      }
      if (ranks.first >= model_ranks)
        return Fail(
            ErrorCode::kCorrupt,
            fmt::format("{}: rank {} of the model; expected one of {} (pipeline {} x "
                        "tensor {})",
                        file->shown, ranks.first, model_ranks, grid_.pipeline_degree_, grid_.tensor_degree_));
      grid_.states_[ranks.first] = std::make_unique<ModelStates>(std::move(states));
      first_ranks_.insert(ranks);
    }
    return {};
  }

  /// How many ranks the model has, over pipeline stages and tensor-parallel ranks.
  Result<uint64_t> FindDegrees(const ModelStates& states) {
    if (states.pipeline_degree && states.tensor_degree) {
      grid_.pipeline_degree_ = *states.pipeline_degree;
      grid_.tensor_degree_ = *states.tensor_degree;
    } else {
      uint64_t count = 1;
      for (const auto* files : {&plain_, &partitions_, &optimizer_files_})
        for (const auto& [ranks, file] : *files) count = std::max(count, ranks.first + 1);
      const bool is_pipeline = !grid_.layers_.empty();
      count = std::max(count, states.model_world_size.value_or(1));
      grid_.tensor_degree_ = is_pipeline ? grid_.layers_.size() : count;
      grid_.pipeline_degree_ = (count + grid_.tensor_degree_ - 1) / grid_.tensor_degree_;
    }
    const std::optional<uint64_t> count = CheckedMultiply(grid_.pipeline_degree_, grid_.tensor_degree_);
    if (!count || *count == 0 || *count > kRanksMax)
      return Fail(ErrorCode::kCorrupt,
                  fmt::format("{}: pipeline {} x tensor {} ranks of the model; expected 1 to {}", states.file,
                              grid_.pipeline_degree_, grid_.tensor_degree_, kRanksMax));
    return *count;
  }

  Status CheckSteps(const ModelStates& states) {
    if (!steps_) {
      steps_ = states.global_steps;
      steps_file_ = states.file;
      return {};
    }
    if (!states.global_steps || states.global_steps == steps_) return {};
    return Fail(ErrorCode::kCorrupt,
                fmt::format("{}: of step {}; expected step {}, as {}: files of different saves", states.file,
                            *states.global_steps, *steps_, steps_file_));
  }

  Status ReadOptimizers() {
    if (options_.weights == DeepSpeedWeights::kModule || save_.is_universal) return {};
    for (const auto& [ranks, file] : optimizer_files_) {
      WEIGHTFS_TRY(OptimizerStates states, ReadOptimizerStates(*file, context_));
      grid_.optimizer_metadata_bytes_ += states.metadata_bytes;
      if (grid_.optimizers_.empty()) {
        grid_.world_size_ = states.data_world_size();
        if (grid_.world_size_ == 0)
          return Fail(ErrorCode::kCorrupt,
                      fmt::format("{}: no partition_count; expected the number of ranks", states.shown));
      }
      WEIGHTFS_CHECK(CheckOptimizer(ranks, states));
      grid_.optimizers_.emplace(ranks, std::move(states));
    }
    return {};
  }

  /// Whether `states` is of the same save as the first.
  Status CheckOptimizer(const Ranks& ranks, const OptimizerStates& states) {
    if (states.data_world_size() != grid_.world_size_)
      return Fail(
          ErrorCode::kCorrupt,
          fmt::format("{}: one of {} ranks; expected {}, as in {}: files of different saves", states.shown,
                      states.data_world_size(), grid_.world_size_, grid_.optimizers_.begin()->second.shown));
    if (ranks.second >= grid_.world_size_)
      return Fail(
          ErrorCode::kCorrupt,
          fmt::format(
              "{}: data rank {}; expected 0 to {}, as partition_count says: a file of a run with more "
              "ranks?",
              states.shown, ranks.second, grid_.world_size_ - 1));
    if (ranks.first >= grid_.states_.size())
      return Fail(ErrorCode::kCorrupt, fmt::format("{}: rank {} of the model; expected 0 to {}", states.shown,
                                                   ranks.first, grid_.states_.size() - 1));
    if ((states.cut == DeepSpeedCut::kParameters) != grid_.is_partitioned_)
      return Fail(
          ErrorCode::kCorrupt,
          fmt::format("{}: masters of {}; expected those of {}, as the model states are: files of different "
                      "saves",
                      states.shown, grid_.is_partitioned_ ? "ZeRO-1 or 2" : "ZeRO-3",
                      grid_.is_partitioned_ ? "ZeRO-3" : "ZeRO-1 or 2"));
    if (grid_.optimizers_.empty()) return {};
    const OptimizerStates& first = grid_.optimizers_.begin()->second;
    for (const auto& [key, value] : states.marks)
      for (const auto& [other_key, other] : first.marks)
        if (key == other_key && value != other)
          return Fail(ErrorCode::kCorrupt,
                      fmt::format("{}: {} {}; expected {}, as in {}: files of different saves", states.shown,
                                  key, value, other, first.shown));
    return {};
  }

  /// ZeRO-3: what the other data ranks hold.
  Status ReadLaterStates() {
    if (!grid_.is_partitioned_) return {};
    uint64_t ranks_there = 0;
    for (const auto& [ranks, file] : partitions_) ranks_there = std::max(ranks_there, ranks.second + 1);
    if (grid_.world_size_ == 0) grid_.world_size_ = ranks_there;
    if (ranks_there > grid_.world_size_)
      return Fail(
          ErrorCode::kCorrupt,
          fmt::format("{}: model states of data rank {}; expected 0 to {}: files of a run with more ranks?",
                      save_.shown, ranks_there - 1, grid_.world_size_ - 1));
    for (const auto& [ranks, file] : partitions_) {
      const bool has_frozen = !grid_.states_[ranks.first]->frozen_shapes.empty();
      if (!has_frozen && grid_.world_size_ > kStepsComparedMax) continue;
      WEIGHTFS_TRY(ModelStates states, ReadModelStates(*file, ModelStatesScope::kRank, context_));
      WEIGHTFS_CHECK(CheckSteps(states));
      if (!first_ranks_.contains(ranks))
        grid_.states_[ranks.first]->module.metadata_bytes += states.module.metadata_bytes;
      states.module = {};
      grid_.later_states_.emplace(ranks, std::move(states));
    }
    return {};
  }

  /// What is missing costs nothing to claim, so all ranks together are bounded, and so are the groups of all.
  Status CheckSizes() const {
    uint64_t groups = 1;
    for (const auto& [ranks, states] : grid_.optimizers_)
      groups = std::max<uint64_t>(groups, states.groups.size());
    // Each factor is at most 2^20.
    if (grid_.states_.size() * grid_.world_size_ <= kRanksMax && groups * grid_.world_size_ <= kGroupsMax)
      return {};
    return Fail(
        ErrorCode::kLimitExceeded,
        fmt::format("{}: {} ranks of the model x {} data ranks with {} groups; the limit is {} ranks and {} "
                    "groups of ranks",
                    save_.shown, grid_.states_.size(), grid_.world_size_, groups, kRanksMax, kGroupsMax));
  }

  void ListMissing() {
    for (uint64_t model_rank = 0; model_rank < grid_.states_.size(); ++model_rank) {
      const uint64_t data_ranks = grid_.is_partitioned_ ? grid_.world_size_ : 1;
      for (uint64_t rank = 0; rank < data_ranks; ++rank)
        if (!model_files().contains({model_rank, rank}))
          Miss(grid_.is_partitioned_ ? DeepSpeedFileKind::kPartition : DeepSpeedFileKind::kModel, model_rank,
               rank);
      if (options_.weights == DeepSpeedWeights::kModule || save_.is_universal) continue;
      if (optimizer_files_.empty() && !grid_.is_partitioned_) continue;
      for (uint64_t rank = 0; rank < grid_.world_size_; ++rank)
        if (!optimizer_files_.contains({model_rank, rank}))
          Miss(DeepSpeedFileKind::kOptimizer, model_rank, rank);
    }
    ListMissingLayers();
    ListMissingExperts();
  }

  void Miss(DeepSpeedFileKind kind, uint64_t model_rank, uint64_t data_rank) {
    DeepSpeedFileName name{kind, static_cast<uint32_t>(data_rank), static_cast<uint32_t>(model_rank), 0, 0};
    missing_.push_back(name);
  }

  /// Layers that the stages list parameters of.
  void ListMissingLayers() {
    if (grid_.layers_.empty()) return;
    for (uint64_t model_rank = 0; model_rank < grid_.states_.size(); ++model_rank) {
      const ModelStates* states = grid_.states_[model_rank].get();
      if (states == nullptr || !states->param_shapes) continue;
      const uint64_t tensor_rank = model_rank % grid_.tensor_degree_;
      std::set<uint32_t> numbers;
      for (const ShapeGroup& group : *states->param_shapes)
        for (const NamedShape& named : group)
          if (const auto layer = LayerOf(named.name)) numbers.insert(*layer);
      for (const auto& [number, file] : grid_.layers_[tensor_rank]) numbers.erase(number);
      for (const uint32_t number : numbers)
        missing_.push_back({DeepSpeedFileKind::kLayer, 0, static_cast<uint32_t>(tensor_rank), number, 0});
    }
  }

  /// Experts are numbered from 0 on in each layer, all ranks together.
  void ListMissingExperts() {
    const ModelStates* states = grid_.states_.front().get();
    if (states == nullptr || expert_numbers_.empty()) return;
    for (size_t layer = 0; layer < states->expert_counts.size(); ++layer)
      for (uint64_t expert = 0; expert < states->expert_counts[layer] && missing_.size() < kRanksMax;
           ++expert)
        if (!expert_numbers_.contains({static_cast<uint32_t>(layer), static_cast<uint32_t>(expert)}))
          missing_.push_back({DeepSpeedFileKind::kExpert, 0, 0, static_cast<uint32_t>(layer),
                              static_cast<uint32_t>(expert)});
  }

  Status SayMissing() {
    // Names of optimizer files begin as those that are there do.
    std::string prefix;
    if (!optimizer_files_.empty()) {
      const std::string_view name = LastComponent(optimizer_files_.begin()->second->path);
      prefix = name.substr(0, name.find("zero_pp_rank_"));
    }
    std::vector<std::string> names;
    for (size_t i = 0; i < missing_.size() && i < kNamesShownMax; ++i)
      names.push_back((missing_[i].kind == DeepSpeedFileKind::kOptimizer ? prefix : "") +
                      DeepSpeedFileNameText(missing_[i]));
    std::string text = fmt::format("{}: {} file{} missing: {}", save_.shown, missing_.size(),
                                   missing_.size() == 1 ? "" : "s", fmt::join(names, ", "));
    if (missing_.size() > names.size()) text += fmt::format(" and {} more", missing_.size() - names.size());
    const std::string ranks =
        grid_.world_size_ == 0 ? "every rank" : fmt::format("all {} data ranks", grid_.world_size_);
    text += fmt::format("; expected the files of {}", ranks);
    const bool can_name_parameters =
        std::ranges::none_of(grid_.states_, [](const auto& s) { return s == nullptr; });
    if (options_.partial && can_name_parameters) {
      grid_.is_partial_ = true;
      grid_.warnings_.push_back(text + "; what is whole is served (--partial)");
      return {};
    }
    std::string remedy = "copy them from the other nodes, or name their folders with --also DIR";
    if (can_name_parameters) remedy += "; --partial serves what is whole";
    if (!grid_.is_partitioned_ && options_.weights == DeepSpeedWeights::kMaster && can_name_parameters)
      remedy += "; --weights module serves the 16-bit copy";
    return Fail(ErrorCode::kNotFound, std::move(text), std::move(remedy));
  }

  const DeepSpeedSave& save_;
  const DeepSpeedOptions& options_;
  const SourceContext& context_;
  std::map<Ranks, const DeepSpeedFile*> plain_, partitions_, optimizer_files_;
  std::set<std::pair<uint32_t, uint32_t>> expert_numbers_;
  std::set<Ranks> first_ranks_;
  std::optional<uint64_t> steps_;
  std::string steps_file_;
  std::vector<DeepSpeedFileName> missing_;
  RankGrid grid_;
};

Result<RankGrid> RankGrid::Read(const DeepSpeedSave& save, const DeepSpeedOptions& options,
                                const SourceContext& context) {
  return GridReader(save, options, context).Run();
}

}  // namespace weightfs
