/// \file
/// config.json and generation_config.json from the values of a table.
#pragma once

#include <string>
#include <vector>

#include "convert/base/result.h"
#include "convert/family/environment.h"
#include "convert/family/table.h"

namespace weightfs::family {

/// The text of `config` as Python's `json.dump(..., indent=2)` writes it, with a newline at the end.
/// \param torch_dtype  added at the end under that name when neither it nor `dtype` is there; empty: not
/// added
/// \error kCorrupt        a value that does not evaluate, or that JSON does not have
/// \error kLimitExceeded  more than 16 MiB
Result<std::string> WriteConfig(const NamedList<ConfigValuePtr>& config, std::string_view torch_dtype,
                                ScopedEnvironment& environment);

/// The torch name of the served dtype that most elements have; empty when there are no tensors.
std::string MostServedDType(const std::vector<ProducedTensor>& tensors, const FamilyOptions& options);

}  // namespace weightfs::family
