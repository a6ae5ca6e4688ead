#include "convert/source/deepspeed/experts.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <utility>

#include "convert/source/utf8.h"

namespace weightfs {
namespace {

constexpr std::string_view kExperts = ".deepspeed_moe.experts.deepspeed_experts.";
constexpr uint64_t kExpertsMax = 1 << 20;

/// How many experts each rank has, by the layer's part of the name.
using ExpertCounts = std::map<std::string_view, uint64_t>;

Result<ExpertCounts> CountExperts(const ShapeGroup& shapes, const std::string& file, size_t group) {
  ExpertCounts counts;
  for (const NamedShape& named : shapes) {
    const std::optional<ExpertName> name = ParseExpertName(named.name);
    if (!name)
      return Fail(
          ErrorCode::kCorrupt,
          fmt::format(
              "{}: parameter {} of group {}, which fewer ranks share; expected a parameter of an expert",
              file, Quoted(named.name), group));
    uint64_t& count = counts[name->before];
    count = std::max(count, name->expert + 1);
  }
  return counts;
}

}  // namespace

std::optional<ExpertName> ParseExpertName(std::string_view name) {
  const size_t at = name.find(kExperts);
  if (at == std::string_view::npos) return std::nullopt;
  ExpertName result;
  result.before = name.substr(0, at + kExperts.size());
  std::string_view rest = name.substr(result.before.size());
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), result.expert);
  if (error != std::errc() || result.expert > kExpertsMax) return std::nullopt;
  result.after = rest.substr(static_cast<size_t>(end - rest.data()));
  if (!result.after.empty() && result.after[0] != '.') return std::nullopt;
  return result;
}

Status CutExpertGroup(const OptimizerRanks& ranks, size_t group, uint64_t partition_count, bool data_first,
                      const ShapeGroup& shapes, std::span<const uint64_t> paddings,
                      std::vector<RebuiltParameter>& parameters) {
  const OptimizerStates& first =
      **std::ranges::find_if(ranks, [](const OptimizerStates* states) { return states != nullptr; });
  if (ranks.size() % partition_count != 0)
    return Fail(ErrorCode::kCorrupt,
                fmt::format("{}: partition_count {} of group {}; expected a divisor of the {} ranks",
                            first.shown, partition_count, group, ranks.size()));
  WEIGHTFS_TRY(const ExpertCounts counts, CountExperts(shapes, first.shown, group));
  const uint64_t expert_ranks = ranks.size() / partition_count;
  if (expert_ranks * shapes.size() > kExpertsMax)
    return Fail(ErrorCode::kLimitExceeded,
                fmt::format("{}: {} parameters of experts on {} ranks; the limit is {} in all", first.shown,
                            shapes.size(), expert_ranks, kExpertsMax));
  for (uint64_t expert_rank = 0; expert_rank < expert_ranks; ++expert_rank) {
    OptimizerRanks sharing;
    for (uint64_t i = 0; i < partition_count; ++i)
      sharing.push_back(
          ranks[data_first ? expert_rank * partition_count + i : i * expert_ranks + expert_rank]);
    ShapeGroup renamed = shapes;
    for (NamedShape& named : renamed) {
      const ExpertName name = *ParseExpertName(named.name);
      const uint64_t number = expert_rank * counts.at(name.before) + name.expert;
      named.name = fmt::format("{}{}{}", name.before, number, name.after);
    }
    const bool none_there =
        std::ranges::all_of(sharing, [](const auto* states) { return states == nullptr; });
    if (none_there) {
      for (NamedShape& named : renamed)
        parameters.push_back({std::move(named.name), std::nullopt, first.file, {}});
      continue;
    }
    WEIGHTFS_CHECK(CutGroup(sharing, group, renamed, paddings, 2 * partition_count, parameters));
  }
  return {};
}

}  // namespace weightfs
