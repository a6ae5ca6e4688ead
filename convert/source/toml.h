/// \file
/// TOML documents of settings, into JSON.
///
/// Follows docs/families.md, "Places of metadata".
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string_view>

#include "convert/base/limits.h"
#include "convert/base/result.h"

namespace weightfs {

/// Reads a document of TOML 1.0. Dates and times become texts; letters beyond ASCII become `?`. Thread-safe.
/// \param name  names the text in messages
/// \return an object
/// \error kCorrupt        not TOML (the message has line and column)
/// \error kLimitExceeded  larger than `limits.toml_bytes_max`, or deeper than `limits.json_depth_max`
Result<nlohmann::json> ParseToml(std::string_view text, std::string_view name, const Limits& limits);

}  // namespace weightfs
