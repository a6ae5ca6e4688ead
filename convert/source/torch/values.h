/// \file
/// The values that a pickled file holds beside its tensors, as JSON: settings, counters, hyperparameters.
///
/// Follows docs/formats/torch.md, "Values beside the tensors".
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "convert/base/limits.h"
#include "convert/source/checkpoint.h"
#include "convert/source/torch/branch.h"
#include "convert/source/torch/choose.h"

namespace weightfs {

/// What `ReadValues` found. A value.
struct PickledValues {
  std::shared_ptr<const nlohmann::json> values;  ///< An object, or nullptr when there are none.
  std::vector<LeftOut> left_out;                 ///< What is beyond the bounds, and which bound.
};

/// The values of every branch from the root to the chosen one, each at its place: `{"epoch": 3, "model":
/// {"version": 2}}` where `model` was chosen. Tensors, branches that hold tensors, and what is no plain value
/// are left out; in a list, null stands for them. Equal on every machine.
///
/// Costs time linear in the entries of these branches, and beside that at most in
/// `limits.metadata_values_max`. An entry that would exceed a bound is left out whole, and those after it are
/// still read. Never fails: no checkpoint is refused for its metadata.
PickledValues ReadValues(const StateDictChoice& choice, const Census& census, const StorageSource& storages,
                         const Limits& limits);

}  // namespace weightfs
