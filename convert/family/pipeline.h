/// \file
/// What a table says of its model's surroundings: the folder it is served in, what a user is told, the
/// pipeline that it is part of.
#pragma once

#include <string_view>

#include "convert/base/result.h"
#include "convert/family/environment.h"
#include "convert/family/table.h"

namespace weightfs::family {

/// Values of `target`.
inline constexpr std::string_view kHuggingFace = "hf", kDiffusers = "diffusers";

/// Fills in target, folder, pipeline of `result`, and adds notes: of the table, and of options whose default
/// is a guess that nobody confirmed.
/// \error kCorrupt  an expression that does not evaluate
Status DescribeSurroundings(const FamilyTable& table, const FamilyOptions& options,
                            ScopedEnvironment& environment, FamilyResult& result);

}  // namespace weightfs::family
