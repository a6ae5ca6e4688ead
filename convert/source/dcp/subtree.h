/// \file
/// Which part of a distributed checkpoint is the model.
///
/// Follows docs/formats/dcp.md, "Which subtree is the model".
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "convert/base/result.h"
#include "convert/source/checkpoint.h"
#include "convert/source/dcp/metadata.h"

namespace weightfs {

/// The chosen subtree.
struct DcpSubtree {
  std::string path;                ///< Of the subtree, components joined by '.'; empty: the root.
  std::vector<size_t> tensors;     ///< Numbers of the tensors in it.
  std::vector<std::string> names;  ///< What they are called in it, in the same order.
  std::vector<LeftOut>
      left_out;  ///< Everything else: values of the subtree, and other subtrees as one line each.
  std::vector<MappingCandidate> candidates;
};

/// Chooses by the rules, or by `weights_key_path` when that is not empty ("." names the root).
/// \param folder  name of the checkpoint, for messages
/// \error kUnsupported      nothing but the state of an optimizer; flat parameters of FSDP's LOCAL state
/// \error kInvalidArgument  `weights_key_path` names no subtree with tensors, or the state of an optimizer
Result<DcpSubtree> ChooseDcpSubtree(const DcpMetadata& metadata, std::string_view weights_key_path,
                                    std::string_view folder);

/// \error kUnsupported  `name` is that of a buffer of flat parameters; the remedy says how to save them
/// otherwise
Status RefuseFlatParameter(std::string_view name, std::string_view folder);

}  // namespace weightfs
