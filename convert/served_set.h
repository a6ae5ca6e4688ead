/// \file
/// From the checkpoint of one weight set to the files and tensors of the view. Internal to `convert`.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "convert/convert.h"
#include "convert/name_filter.h"
#include "convert/opened_weights.h"
#include "convert/set_family.h"
#include "convert/source/huggingface/repository.h"

namespace weightfs {

/// The served side of one weight set.
struct ServedSet {
  WeightSetReport report;
  std::vector<TensorReport> tensors;  ///< In served order: file by file, by offset.
  std::vector<DroppedTensor> dropped;
  /// Paths in the view and what is there: weight files, and an index when there are shards.
  std::vector<std::pair<std::string, VirtualFilePtr>> files;
  std::vector<std::string> notes;
};

/// Every tensor that no target can carry must have been dropped by the user; those that are, are added to
/// `dropped`.
/// \error kUnsupported  names all others
Status CheckUnsupported(const OpenedWeights& weights, const NameFilter& filter,
                        std::vector<DroppedTensor>& dropped);

/// Applies filters and the cast to what `family` makes of `weights`, and lays the rest out as files.
/// \param set           where the weights were found; its shards are files of the source
/// \param pass_through  the source file itself, when it is one safetensors file, else nullptr
/// \error kInvalidArgument  the filters drop every tensor
/// \error kLimitExceeded    a header or a total is too large
Result<ServedSet> ServeSet(const WeightSet& set, const OpenedWeights& weights, const SetFamily& family,
                           const FilePtr& pass_through, const NameFilter& filter, const OpenOptions& options,
                           const std::shared_ptr<BlockCache>& cache);

}  // namespace weightfs
