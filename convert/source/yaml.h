/// \file
/// YAML documents of settings, read as PyYAML's safe loader reads them, into JSON.
///
/// Follows docs/families.md, "Places of metadata". Nothing is constructed: a tag of a class
/// (`!!python/object:...`) is passed over, what it marks stays a mapping, a list or a text.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string_view>

#include "convert/base/limits.h"
#include "convert/base/result.h"

namespace weightfs {

/// Reads one document. Plain scalars resolve as YAML 1.1 and PyYAML have it: `1e-5` is a text, `1.0e-5` a
/// number, `yes` is true, `010` is 8. Integers that 64 bits cannot hold become doubles, timestamps stay
/// texts. Keys are the texts of their scalars; of equal keys the last wins; `<<` merges. Aliases are copies.
/// Thread-safe.
/// \param name  names the text in messages
/// \return null for an empty document
/// \error kCorrupt        not YAML or not UTF-8 (the message has line and column), more than one document, an
/// alias
///                        within what it stands for, a key that is a list or a mapping
/// \error kLimitExceeded  larger than `limits.yaml_bytes_max`, deeper than `limits.json_depth_max`, or more
/// values
///                        than `limits.metadata_values_max`, those that aliases repeat included
Result<nlohmann::json> ParseYaml(std::string_view text, std::string_view name, const Limits& limits);

}  // namespace weightfs
