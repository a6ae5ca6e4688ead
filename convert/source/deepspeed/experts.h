/// \file
/// Experts of DeepSpeed's own mixture-of-experts layers: their names, and where their masters lie.
///
/// Follows docs/formats/deepspeed.md, "Experts".
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "convert/base/result.h"
#include "convert/source/deepspeed/partitions.h"

namespace weightfs {

/// The name of a parameter of an expert, taken apart at the number of the expert.
struct ExpertName {
  std::string_view before;  ///< Up to and with "deepspeed_experts.".
  uint64_t expert = 0;      ///< Counted on its rank, or over all ranks.
  std::string_view after;   ///< From the dot behind the number on.
};

/// Nothing for parameters of other layers. Points into `name`.
std::optional<ExpertName> ParseExpertName(std::string_view name);

/// Cuts the expert parameters of group number `group`: every expert-parallel rank holds experts of its own,
/// cut over `partition_count` data-parallel ranks. Names count experts over all ranks.
/// \param ranks           all data-parallel ranks
/// \param data_first      ranks that share experts have neighbouring numbers
/// \error kCorrupt      `partition_count` does not divide the ranks, a parameter that is of no expert, or as
/// CutGroup
Status CutExpertGroup(const OptimizerRanks& ranks, size_t group, uint64_t partition_count, bool data_first,
                      const ShapeGroup& shapes, std::span<const uint64_t> paddings,
                      std::vector<RebuiltParameter>& parameters);

}  // namespace weightfs
