/// \file
/// The pieces of a served tensor for people and scripts: which bytes of which file each is.
#pragma once

#include <string>
#include <vector>

#include "convert/convert.h"
#include "convert/view/piece_map.h"

namespace weightfs {

/// One piece. A value.
struct PlacedPiece {
  std::string storage;  ///< Name of the file on disk, or of what is decompressed or lies in memory.
  bool is_on_disk =
      false;             ///< `byte_range` counts from the start of the file, else from that of the storage.
  ByteRange byte_range;  ///< From the first to past the last byte that is used.
  std::vector<PieceMode> modes;
};

/// Where `piece`, of units of `unit_bytes`, lies.
PlacedPiece Place(const Piece& piece, uint32_t unit_bytes);

/// The tensor is one tensor of the source, all of it, in the order it is stored.
bool ServesSourceWhole(const TensorReport& tensor);

}  // namespace weightfs
