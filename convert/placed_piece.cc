#include "convert/placed_piece.h"

#include <algorithm>

#include "convert/view/algebra.h"
#include "convert/view/strip.h"

namespace weightfs {

PlacedPiece Place(const Piece& piece, uint32_t unit_bytes) {
  const RandomAccessFile::Location location = piece.storage->location();
  const StripPiece as_strip{nullptr, piece.position_bytes, piece.modes};
  const ByteRange span = Strip::SpanBytes(as_strip, unit_bytes);
  PlacedPiece placed;
  placed.is_on_disk = location.file != nullptr;
  placed.storage = placed.is_on_disk ? location.file->name() : piece.storage->name();
  placed.byte_range = {location.offset_bytes + span.begin, location.offset_bytes + span.end};
  placed.modes = piece.modes;
  return placed;
}

bool ServesSourceWhole(const TensorReport& tensor) {
  if (tensor.sources.size() != 1) return false;
  const TensorView &view = tensor.view, &source = tensor.sources[0].view;
  if (view.element_count() != source.element_count() || view.stored_dtype() != source.stored_dtype())
    return false;
  // The usual case, without the cost of the general one: there may be 100,000 tensors.
  if (view.pieces() == nullptr && source.pieces() == nullptr)
    return view.storage() == source.storage() && view.layout() == source.layout();
  const std::vector<PieceMap> a = view.Terms(), b = source.Terms();
  return std::ranges::equal(
      a, b, [](const PieceMap& x, const PieceMap& y) { return SameUnits(x, y, Limits{}.view_pieces_max); });
}

}  // namespace weightfs
