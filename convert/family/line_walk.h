/// \file
/// Walks the combinations of the indices of a line.
#pragma once

#include <functional>
#include <vector>

#include "convert/base/result.h"
#include "convert/family/environment.h"
#include "convert/family/table.h"

namespace weightfs::family {

/// Calls `visit` for every combination, the last group fastest, with `environment.indices` set.
/// \error kCorrupt  a range that is none; whatever `visit` returns
Status ForEachCombination(const std::vector<Indices>& groups, ScopedEnvironment& environment,
                          const std::function<Status()>& visit);

/// Calls `visit` for every combination of the indices of `line` for which it exists (`when`), with the
/// indices and sizes of the line in `environment`.
Status ForEachOf(const Line& line, ScopedEnvironment& environment, const std::function<Status()>& visit);

}  // namespace weightfs::family
