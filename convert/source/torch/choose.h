/// \file
/// Which mapping of a pickled file is the state dict.
///
/// Follows docs/formats/torch.md, "Which mapping is the state dict".
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "convert/base/result.h"
#include "convert/pickle/value.h"
#include "convert/source/checkpoint.h"
#include "convert/source/torch/branch.h"

namespace weightfs {

/// The branch that was chosen, and the way to it.
struct StateDictChoice {
  /// Branches from the root to the chosen one; never empty.
  std::vector<pickle::NodePtr> trail;
  std::string path;  ///< Key path of the chosen one; empty for the root.

  pickle::NodePtr chosen() const { return trail.back(); }
};

/// Chooses by the rules, or by `weights_key_path` when that is not empty ("." names the root).
/// \error kUnsupported      the root is one tensor, a list, a tuple, a torch.fx module or holds no tensors;
/// names its type
/// \error kAmbiguous        tensors only in mappings none of which has a known name; lists them
/// \error kInvalidArgument  `weights_key_path` names no mapping that holds tensors; lists those that do
Result<StateDictChoice> ChooseStateDict(const pickle::Node& root, const Census& census,
                                        const StorageSource& storages, std::string_view weights_key_path);

/// The branches that `weights_key_path` could name, nearest to the root first: at most 64, and the chosen
/// one.
std::vector<MappingCandidate> ListCandidates(const pickle::Node& root, const Census& census,
                                             const StateDictChoice* choice);

}  // namespace weightfs
