/// \file
/// Changes the dtype that a config.json states, and nothing else of it.
///
/// Follows docs/formats/huggingface.md, "config.json".
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "convert/base/dtype.h"
#include "convert/base/limits.h"
#include "convert/base/result.h"

namespace weightfs {

/// What weightfs needs to know of a config.json.
struct ConfigFacts {
  std::optional<std::string> model_type;  ///< The value of a root key that is a string.
  std::optional<std::string> class_name;  ///< `_class_name`, of diffusers.
  std::optional<std::string> dtype;       ///< `dtype`, else `torch_dtype`, of the root.
};

/// Reads a config.json as Python's json module does: NaN and Infinity are numbers, the last of equal keys
/// counts.
/// \param file  for messages
/// \error kCorrupt        not valid JSON (with the byte offset), or the root is not an object
/// \error kLimitExceeded  larger or deeper than the limits
Result<ConfigFacts> ReadConfigFacts(std::string_view text, std::string_view file, const Limits& limits);

/// `text` with the value of every `dtype` and `torch_dtype` key, nested ones too, that is a string naming a
/// torch dtype ("float16", "torch.float16") replaced by `dtype` in the same form; every other byte stays.
/// Values that name no dtype ("auto") and values that are not strings stay. When no such key occurs anywhere,
/// `torch_dtype` is added as the last member of the root, laid out like the member before it.
/// \error as ReadConfigFacts
/// \error kInvalidArgument  `dtype` has no torch name
Result<std::string> SetConfigDtype(std::string_view text, DType dtype, std::string_view file,
                                   const Limits& limits);

}  // namespace weightfs
