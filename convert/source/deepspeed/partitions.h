/// \file
/// From the vectors that ranks hold to the parameters that lie in them.
///
/// Follows docs/formats/deepspeed.md, "Where a parameter lies". Nothing is read: a parameter is a view of
/// parts.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "convert/base/result.h"
#include "convert/source/checkpoint.h"
#include "convert/source/deepspeed/optimizer_states.h"
#include "convert/source/deepspeed/pickled_values.h"

namespace weightfs {

/// Vectors laid end to end. Some may be missing: their lengths are known and their elements are not.
class FlatVector {
 public:
  /// \error kCorrupt  more elements than fit 64 bits
  Status Add(const TensorView& vector);
  Status AddMissing(uint64_t element_count);
  uint64_t size() const { return ends_.empty() ? 0 : ends_.back(); }

  /// Adds the elements [begin, begin + count) to `parts`, in order.
  /// \return false when some of them are missing; `parts` is of no use then
  /// \pre the range lies within the vector
  Result<bool> AppendRange(uint64_t begin, uint64_t count, std::vector<TensorView>& parts) const;

 private:
  std::vector<std::optional<TensorView>> vectors_;
  std::vector<uint64_t> ends_;  ///< Of each vector, in elements.
};

/// A parameter that was put together, or why it could not be.
struct RebuiltParameter {
  std::string name;
  std::optional<TensorView> view;  ///< Nothing when a file that holds some of it is missing.
  std::string file;                ///< Where it lies, as provenance.
  std::string storage;             ///< Of its first part.
};

/// The optimizer files of one model rank, by data rank; nullptr where one is missing (`--partial`).
using OptimizerRanks = std::vector<const OptimizerStates*>;

/// Cuts the flat vector of group number `group`, whose pieces lie in `ranks` in that order, into its
/// parameters.
/// \param paddings         elements after each parameter; empty: none
/// \param alignment        the vector ends at most this many elements, less one, after the last parameter
/// \error kCorrupt  the pieces are not those of one vector, or its length does not fit the parameters
Status CutGroup(const OptimizerRanks& ranks, size_t group, const ShapeGroup& shapes,
                std::span<const uint64_t> paddings, uint64_t alignment,
                std::vector<RebuiltParameter>& parameters);

/// Joins the pieces of every parameter of ZeRO-3: `ranks` are all ranks.
/// \error kCorrupt      the ranks do not agree on their groups, or these do not fit the parameters
/// \error kUnsupported  the groups are empty, as NVMe offload leaves them
Status JoinPartitions(const OptimizerRanks& ranks, std::span<const ShapeGroup> shapes,
                      std::vector<RebuiltParameter>& parameters);

/// One tensor from parts of it in order, of this shape; of no elements when there are no parts.
/// \error as Concat
Result<TensorView> JoinParts(std::span<const TensorView> parts, DType dtype, const Shape& shape);

/// "TAG/zero_pp_rank_{0..7}_mp_rank_00_optim_states.pt": files that differ in one number, for provenance.
std::string NameRange(const std::string& first, const std::string& last);

}  // namespace weightfs
