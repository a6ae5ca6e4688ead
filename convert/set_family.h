/// \file
/// The family of one weight set: which it is, why, and what it makes of the tensors. Internal to `convert`.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "convert/base/result.h"
#include "convert/convert.h"
#include "convert/family/family.h"
#include "convert/opened_weights.h"
#include "convert/source/metadata_files.h"

namespace weightfs {

inline constexpr std::string_view kAutoFamily = "auto";
inline constexpr std::string_view kNoFamily = "none";

/// Refuses a `--family` that no table has, and options that nothing would take.
/// \error kInvalidArgument  lists the families that there are
Status CheckFamilyOption(const FamilyRegistry& registry, const OpenOptions& options);

/// What is served of a weight set, before filters and `--dtype`.
struct SetFamily {
  std::string name{kNoFamily};
  std::vector<std::string> evidence;  ///< What the choice was made from, one line each.
  std::vector<ProducedTensor> tensors;
  std::vector<FamilyDrop> dropped;
  std::string config_json;             ///< Empty when none is derived.
  std::string generation_config_json;  ///< Likewise.
  bool has_training_config = false;    ///< A config.json of the source may be the trainer's own.
  std::vector<std::string> notes;
  std::string target;  ///< The layout; empty without a family.
  std::string folder;  ///< In which the model is served; empty: where it lies.
  FamilyPipeline pipeline;
};

/// What is known of a weight set beside its own weights and settings.
struct SetSurroundings {
  /// Options that another model of the tree says of this one.
  std::map<std::string, std::string> told;
  /// The tree has other models: `--family NAME` is for those that NAME fits.
  bool is_one_of_several = false;
};

/// Chooses the family of `weights` and applies it. Without one the tensors stay what they are.
/// \param files   settings beside the weights
/// \param source  SOURCE as the user wrote it
/// \param shown   the weight set for messages
/// \error kUnsupported  files of ranks that no family joins
/// \error as DetectFamily and ApplyFamily, each cause within `shown`
Result<SetFamily> FindSetFamily(const OpenedWeights& weights, MetadataFiles& files, const std::string& source,
                                const std::string& shown, const FamilyRegistry& registry,
                                const OpenOptions& options, const SetSurroundings& surroundings = {});

}  // namespace weightfs
