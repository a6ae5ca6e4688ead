// Boxes put together.
#include <fmt/format.h>

#include <utility>

#include "convert/view/piece_map.h"

namespace weightfs {

/// The result has one mode for each axis, in which the boxes of the parts lie as they do in the tensor. A
/// part whose own modes are finer than its axes (a permuted tensor that was reshaped) is brought to that form
/// first.
Result<PieceMap> PieceMap::Assemble(std::vector<Placed> parts, std::span<const uint64_t> shape,
                                    uint64_t pieces_max) {
  PieceMap result;
  result.unit_bytes_ = parts.front().map.unit_bytes_;
  result.extents_.assign(shape.begin(), shape.end());
  for (Placed& part : parts) {
    std::vector<uint64_t> boundaries;
    uint64_t inner = 1;
    for (size_t axis = shape.size(); axis-- > 1;) {
      if (part.sizes[axis] == 1) continue;
      boundaries.push_back(inner *= part.sizes[axis]);
    }
    const uint64_t whole = part.map.unit_count();
    while (!boundaries.empty() && boundaries.back() == whole) boundaries.pop_back();
    WEIGHTFS_CHECK(part.map.Rebase(boundaries, pieces_max));
    if (part.map.pieces_.size() > pieces_max - result.pieces_.size())
      return Fail(ErrorCode::kLimitExceeded,
                  fmt::format("a view of more than {} pieces; expected one of fewer boxes", pieces_max));
    for (Piece& piece : part.map.pieces_) {
      // Its modes are the axes of more than one index; one mode of a single index stands for none.
      std::vector<PieceMode> modes(shape.size());
      size_t mode = 0;
      while (mode < part.map.extents_.size() && part.map.extents_[mode] == 1) ++mode;
      for (size_t axis = 0; axis < shape.size(); ++axis) {
        if (part.sizes[axis] != 1) modes[axis] = piece.modes[mode++];
        modes[axis].begin += part.offsets[axis];
      }
      piece.modes = std::move(modes);
      result.pieces_.push_back(std::move(piece));
    }
  }
  return result;
}

}  // namespace weightfs
