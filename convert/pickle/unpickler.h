/// \file
/// Parses pickle streams of protocol 0 to 5 into a `Tree`. Executes nothing, resolves no name.
///
/// Follows docs/formats/pickle.md.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "convert/base/limits.h"
#include "convert/base/result.h"
#include "convert/pickle/value.h"

namespace weightfs::pickle {

/// Parses the first pickle of `stream`, up to its STOP; `Tree::size_bytes` tells where the next one begins.
/// Nodes are shared as the stream shares them: a memo entry is a reference, never a copy.
/// \param name  the name for messages: `name: offset N: what; expected what`
/// \error kCorrupt        an unknown opcode, a stack or memo that does not hold what an opcode needs, an argument
///                        that crosses the end of the stream or of its FRAME, text that is not UTF-8
/// \error kUnsupported    EXT1/2/4, NEXT_BUFFER, READONLY_BUFFER, INST, OBJ: never written by torch
/// \error kLimitExceeded  a pickle limit of `limits` (stream, opcodes, memo, nesting)
Result<Tree> Parse(std::span<const std::byte> stream, std::string_view name, const Limits& limits);

}  // namespace weightfs::pickle
