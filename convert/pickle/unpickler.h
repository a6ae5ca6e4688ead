/// \file
/// Parses pickle streams of protocol 0 to 5 into a `Tree`. Executes nothing, resolves no name.
///
/// Follows docs/formats/pickle.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "convert/base/limits.h"
#include "convert/base/result.h"
#include "convert/io/random_access_file.h"
#include "convert/pickle/value.h"

namespace weightfs::pickle {

/// Parses the first pickle of `stream`, up to its STOP; `Tree::size_bytes` tells where the next one begins.
/// Nodes are shared as the stream shares them: a memo entry is a reference, never a copy. The tree does not
/// refer to `stream`. Beside `stream`, takes at most `limits.parse_memory_base_bytes` + 2 x the bytes parsed.
/// \param name  the name for messages: `name: offset N: what; expected what`
/// \error kCorrupt        an unknown opcode, a stack or memo that does not hold what an opcode needs, an
/// argument
///                        that crosses the end of the stream or of its FRAME, text that is not UTF-8
/// \error kUnsupported    EXT1/2/4, PERSID, NEXT_BUFFER, READONLY_BUFFER, INST, OBJ: never written by torch;
/// a
///                        protocol after 5
/// \error kLimitExceeded  a pickle limit of `limits` (stream, opcodes, memo, nesting, memory)
Result<Tree> Parse(std::span<const std::byte> stream, std::string_view name, const Limits& limits);

/// Parses the pickle that begins at `offset_bytes` of `file`, reading it piece by piece: the file need not
/// end with the pickle. Takes at most `limits.parse_memory_base_bytes` + 3 x the bytes parsed. Messages give
/// offsets in `file`, nodes and `Tree::size_bytes` count from `offset_bytes`.
/// \error as above, and as RandomAccessFile::ReadAt
Result<Tree> Parse(const RandomAccessFile& file, uint64_t offset_bytes, std::string_view name,
                   const Limits& limits);

}  // namespace weightfs::pickle
