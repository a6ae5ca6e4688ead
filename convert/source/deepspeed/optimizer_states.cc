#include "convert/source/deepspeed/optimizer_states.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "convert/base/bytes.h"
#include "convert/source/open_file.h"
#include "convert/source/torch/node_access.h"
#include "convert/source/torch/rebuild.h"
#include "convert/source/torch/tensor_form.h"
#include "convert/source/torch/torch_object.h"

namespace weightfs {
namespace {

using pickle::Kind;
using pickle::Node;
using pickle::NodePtr;

/// More ranks than this are a damaged number.
constexpr uint64_t kPartitionsMax = 1 << 20;

class OptimizerReader {
 public:
  OptimizerReader(const TorchObject& object, OptimizerStates& states, const SourceContext& context)
      : object_(object), states_(states), context_(context) {}

  Status Read() {
    const Node& root = *object_.tree.root();
    NodePtr found = FindValue(root, "optimizer_state_dict");
    if (found == nullptr || !found->IsMapping())
      return Fail(ErrorCode::kCorrupt,
                  fmt::format("a {} without the mapping `optimizer_state_dict`; expected the state of a ZeRO "
                              "optimizer",
                              ClassName(root)));
    const Node& state = *found;
    WEIGHTFS_CHECK(ReadGroups(state));
    WEIGHTFS_TRY(states_.partition_counts, FindCounts(state, "partition_count"));
    for (const uint64_t count : states_.partition_counts)
      if (count == 0 || count > kPartitionsMax)
        return Fail(ErrorCode::kCorrupt,
                    fmt::format("partition_count: {}; expected 1 to {}", count, kPartitionsMax));
    if (states_.partition_counts.size() > 1 && states_.partition_counts.size() != states_.groups.size())
      return Fail(ErrorCode::kCorrupt,
                  fmt::format("partition_count: {} numbers for {} groups; expected one for each",
                              states_.partition_counts.size(), states_.groups.size()));
    WEIGHTFS_CHECK(ReadPaddings(state));
    WEIGHTFS_TRY(states_.param_shapes, FindShapeGroups(root, "param_shapes", context_.limits));
    return ReadMarks(state);
  }

 private:
  Status ReadGroups(const Node& state) {
    WEIGHTFS_TRY(const std::optional<uint64_t> stage, FindZeroStage(state));
    NodePtr parameters = FindValue(state, "fp32_flat_groups");
    NodePtr groups = FindValue(state, "single_partition_of_fp32_groups");
    if (parameters == nullptr && groups == nullptr) return FailWithoutGroups(state);
    states_.cut = parameters != nullptr ? DeepSpeedCut::kParameters : DeepSpeedCut::kGroups;
    if (stage && (*stage == 3) != (states_.cut == DeepSpeedCut::kParameters))
      return Fail(
          ErrorCode::kCorrupt,
          fmt::format("zero_stage {} with {}; expected fp32_flat_groups of stage 3 alone", *stage,
                      parameters != nullptr ? "fp32_flat_groups" : "single_partition_of_fp32_groups"));
    const std::string_view key =
        parameters != nullptr ? "fp32_flat_groups" : "single_partition_of_fp32_groups";
    const Node& list = parameters != nullptr ? *parameters : *groups;
    if (!list.Is(Kind::kList) && !list.Is(Kind::kTuple))
      return Fail(ErrorCode::kCorrupt,
                  fmt::format("{}: {}; expected a list of vectors", key, DescribeValue(list)));
    for (NodePtr item : Items(list)) {
      const size_t number = states_.groups.size();
      Result<SourceTensor> group = ReadGroup(*item);
      if (!group) return std::unexpected(group.error().Within(fmt::format("{}[{}]", key, number)));
      states_.groups.push_back(*std::move(group));
      if (states_.groups.size() > context_.limits.view_pieces_max)
        return Fail(ErrorCode::kLimitExceeded,
                    fmt::format("{}: more than {} groups", key, context_.limits.view_pieces_max));
    }
    return {};
  }

  static std::unexpected<Error> FailWithoutGroups(const Node& state) {
    if (FindValue(state, "local_sub_partitions_of_fp32_groups") != nullptr)
      return Fail(
          ErrorCode::kUnsupported,
          "local_sub_partitions_of_fp32_groups: ZeRO-1 as DeepSpeed wrote it before 0.5.9; expected a "
          "save of 0.7 or later",
          "--weights module serves the 16-bit copy");
    return Fail(
        ErrorCode::kCorrupt,
        "neither single_partition_of_fp32_groups nor fp32_flat_groups; expected the masters of a ZeRO "
        "optimizer");
  }

  Result<SourceTensor> ReadGroup(const Node& node) {
    if (!IsTensor(node, *object_.storages))
      return Fail(ErrorCode::kCorrupt, fmt::format("{}; expected a vector", DescribeValue(node)));
    WEIGHTFS_TRY(RebuiltTensor rebuilt, RebuildTensor(node, *object_.storages, context_.limits));
    if (!rebuilt.view) return Fail(ErrorCode::kUnsupported, std::move(rebuilt.unsupported_reason));
    if (rebuilt.view->shape().size() != 1 || !IsCastable(rebuilt.view->dtype()))
      return Fail(ErrorCode::kCorrupt,
                  fmt::format("a tensor of {} dimensions of {}; expected a vector of a "
                              "floating type",
                              rebuilt.view->shape().size(), TorchName(rebuilt.view->dtype())));
    return SourceTensor{{}, *std::move(rebuilt.view), std::move(rebuilt.storage), states_.file};
  }

  Status ReadPaddings(const Node& state) {
    NodePtr paddings = FindValue(state, "param_alignment_paddings");
    if (paddings == nullptr) return {};
    if (!paddings->Is(Kind::kList))
      return Fail(ErrorCode::kCorrupt,
                  fmt::format("param_alignment_paddings: {}; expected a list for each group",
                              DescribeValue(*paddings)));
    uint64_t total = 0;
    for (NodePtr group : Items(*paddings)) {
      std::vector<uint64_t> counts;
      for (NodePtr item : Items(*group)) {
        const std::optional<uint64_t> count = UnsignedValue(*item);
        if (!count || ++total > context_.limits.tensors_max)
          return Fail(ErrorCode::kCorrupt,
                      fmt::format("param_alignment_paddings: {}; expected numbers from 0 on, one "
                                  "for each parameter",
                                  DescribeValue(*item)));
        counts.push_back(*count);
      }
      states_.alignment_paddings.push_back(std::move(counts));
    }
    return {};
  }

  Status ReadMarks(const Node& state) {
    if (NodePtr scaler = FindValue(state, "loss_scaler"); scaler != nullptr)
      if (NodePtr attributes = CallOf(*scaler).state; attributes != nullptr)
        for (const std::string_view key : {"cur_iter", "cur_scale"})
          if (NodePtr value = FindValue(*attributes, key); value != nullptr)
            WEIGHTFS_CHECK(Mark(key, *value));
    if (NodePtr step = FindValue(state, "base_optimizer_state_step"); step != nullptr)
      WEIGHTFS_CHECK(Mark("step", *step));
    for (const std::string_view key : {"base_optimizer_state", "optimizer_state_dict"}) {
      NodePtr base = FindValue(state, key);
      if (base == nullptr) continue;
      if (NodePtr states = FindValue(*base, "state"); states != nullptr)
        for (const auto [index, slots] : MappingPairs(*states)) {
          if (NodePtr step = FindValue(*slots, "step"); step != nullptr) WEIGHTFS_CHECK(Mark("step", *step));
          break;
        }
      if (NodePtr groups = FindValue(*base, "param_groups"); groups != nullptr && !Items(*groups).empty())
        if (NodePtr rate = FindValue(*Items(*groups)[0], "lr"); rate != nullptr)
          WEIGHTFS_CHECK(Mark("lr", *rate));
    }
    return {};
  }

  /// Notes a number, or a tensor of one number.
  Status Mark(std::string_view key, const Node& value) {
    std::string text;
    if (value.Is(Kind::kInt)) text = fmt::format("{}", value.integer());
    if (value.Is(Kind::kFloat)) text = fmt::format("{}", value.real());
    if (IsTensor(value, *object_.storages)) {
      WEIGHTFS_TRY(text, ReadScalar(value));
    }
    if (!text.empty()) states_.marks.emplace_back(key, std::move(text));
    return {};
  }

  Result<std::string> ReadScalar(const Node& node) {
    WEIGHTFS_TRY(const RebuiltTensor rebuilt, RebuildTensor(node, *object_.storages, context_.limits));
    if (!rebuilt.view || rebuilt.view->element_count() != 1) return std::string();
    const TensorView& view = *rebuilt.view;
    std::array<std::byte, 8> bytes{};
    const uint64_t size = view.stored_size_bytes();
    if (view.storage() == nullptr || size > bytes.size() || view.ops() != ElementOps{}) return std::string();
    WEIGHTFS_CHECK(view.storage()->ReadAt(view.layout().offset_bytes(), std::span(bytes).first(size)));
    const auto word = LoadLittleEndian<uint64_t>(bytes.data());
    switch (view.dtype()) {
      case DType::kF32:
        return fmt::format("{}", std::bit_cast<float>(static_cast<uint32_t>(word)));
      case DType::kF64:
        return fmt::format("{}", std::bit_cast<double>(word));
      default:
        return fmt::format("{}", word);
    }
  }

  const TorchObject& object_;
  OptimizerStates& states_;
  const SourceContext& context_;
};

}  // namespace

uint64_t OptimizerStates::data_world_size() const {
  return partition_counts.empty() ? 0 : *std::ranges::max_element(partition_counts);
}

Result<OptimizerStates> ReadOptimizerStates(const DeepSpeedFile& file, const SourceContext& context) {
  WEIGHTFS_TRY(const FilePtr opened, OpenDeepSpeedFile(file));
  WEIGHTFS_TRY(const TorchObject object, OpenTorchObject(opened, context));
  OptimizerStates states;
  states.file = file.shown;
  states.shown = opened->name();
  states.metadata_bytes = object.metadata_bytes;
  if (const Status read = OptimizerReader(object, states, context).Read(); !read)
    return std::unexpected(read.error().Within(opened->name()));
  return states;
}

}  // namespace weightfs
