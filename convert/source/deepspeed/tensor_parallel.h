/// \file
/// Joins the parts of tensor-parallel ranks as the run recorded it.
///
/// Follows docs/formats/deepspeed.md, "Tensor parallelism".
#pragma once

#include <set>
#include <string>
#include <vector>

#include "convert/base/result.h"
#include "convert/source/checkpoint.h"
#include "convert/source/deepspeed/model_states.h"

namespace weightfs {

/// Joins `ranks`, in their order, into one checkpoint of whole tensors.
/// \param buffers  names of tensors that are equal on all ranks: the first rank's are taken
/// \error kNotFound     a rank lacks a tensor that another has
/// \error kCorrupt      shapes that do not join, or a pattern that is no regular expression
/// \error kUnsupported  parts that are nested or uneven
Result<Checkpoint> JoinTensorParallel(std::vector<Checkpoint> ranks, const TensorParallelInfo& info,
                                      const std::set<std::string>& buffers);

}  // namespace weightfs
