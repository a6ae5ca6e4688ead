/// \file
/// Files that are taken for checkpoints and are none: each has its message.
#pragma once

#include <string_view>

#include "convert/base/result.h"

namespace weightfs {

/// Why a file that begins with `head` is no checkpoint file: what it is, as far as its first bytes tell, and
/// what to do. kUnsupported when it is known, kCorrupt when it is not.
Error DescribeLookAlike(std::string_view head, std::string_view file);

}  // namespace weightfs
