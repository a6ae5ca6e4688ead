// The normal form of piece maps, and their equality.
#include <algorithm>
#include <functional>
#include <iterator>
#include <tuple>
#include <utility>

#include "convert/view/piece_map.h"

namespace weightfs {

/// Joining the mode with the next one inside it makes no more pieces.
bool PieceMap::CanJoinFreely(size_t outer_mode) const {
  const uint64_t q = extents_[outer_mode + 1];
  return std::ranges::all_of(pieces_, [&](const Piece& piece) {
    const PieceMode &outer = piece.modes[outer_mode], &inner = piece.modes[outer_mode + 1];
    return outer.extent == 1 ||
           (inner.extent == q && outer.stride_bytes == inner.stride_bytes * static_cast<int64_t>(q));
  });
}

/// Joins boxes that differ in `mode` alone and continue each other there. True when there were any.
bool PieceMap::JoinBoxesAlong(size_t mode) {
  const auto key_less = [&](const Piece& a, const Piece& b, bool with_mode) {
    if (a.storage != b.storage) return std::less<>()(a.storage.get(), b.storage.get());
    for (size_t i = 0; i < a.modes.size(); ++i) {
      if (i == mode) continue;
      const PieceMode &x = a.modes[i], &y = b.modes[i];
      if (x != y)
        return std::tie(x.begin, x.extent, x.stride_bytes) < std::tie(y.begin, y.extent, y.stride_bytes);
    }
    return with_mode && a.modes[mode].begin < b.modes[mode].begin;
  };
  std::ranges::sort(pieces_, [&](const Piece& a, const Piece& b) { return key_less(a, b, true); });
  const auto continues = [&](const Piece& a, const Piece& b) {
    const PieceMode &x = a.modes[mode], &y = b.modes[mode];
    if (y.begin != x.end() || key_less(a, b, false) || key_less(b, a, false)) return false;
    const auto distance = static_cast<int64_t>(b.position_bytes - a.position_bytes);
    if (x.extent == 1 && y.extent == 1) return distance >= 0;
    const int64_t stride = x.extent > 1 ? x.stride_bytes : y.stride_bytes;
    return distance == stride * static_cast<int64_t>(x.extent) && (y.extent == 1 || y.stride_bytes == stride);
  };
  size_t kept = 0;
  for (size_t i = 1; i < pieces_.size(); ++i) {
    Piece& last = pieces_[kept];
    if (!continues(last, pieces_[i])) {
      if (++kept != i) pieces_[kept] = std::move(pieces_[i]);
      continue;
    }
    PieceMode& x = last.modes[mode];
    const auto distance = static_cast<int64_t>(pieces_[i].position_bytes - last.position_bytes);
    if (x.extent == 1) x.stride_bytes = distance;
    x.extent += pieces_[i].modes[mode].extent;
  }
  const bool joined = kept + 1 < pieces_.size();
  pieces_.resize(kept + 1);
  return joined;
}

void PieceMap::Normalize() {
  for (size_t mode = extents_.size(); mode-- > 0;) {
    if (extents_[mode] != 1) continue;
    extents_.erase(extents_.begin() + static_cast<ptrdiff_t>(mode));
    for (Piece& piece : pieces_) piece.modes.erase(piece.modes.begin() + static_cast<ptrdiff_t>(mode));
  }
  for (bool changed = true; changed;) {
    changed = false;
    // Boxes first: joined modes hide that boxes continue each other along one of them.
    if (pieces_.size() > 1)
      for (size_t mode = extents_.size(); mode-- > 0;) changed |= JoinBoxesAlong(mode);
    for (size_t mode = extents_.size(); mode-- > 1;) {
      if (!CanJoinFreely(mode - 1)) continue;
      // No more pieces than before, so no limit is in the way.
      (void)JoinModes(mode - 1, UINT64_MAX);
      changed = true;
    }
  }
  const auto corner_less = [](const Piece& a, const Piece& b) {
    return std::ranges::lexicographical_compare(a.modes, b.modes, {}, &PieceMode::begin, &PieceMode::begin);
  };
  std::ranges::sort(pieces_, corner_less);
}

std::optional<Layout> PieceMap::AsLayout() const {
  if (pieces_.size() != 1) return std::nullopt;
  std::vector<Mode> modes;
  for (const PieceMode& mode : pieces_[0].modes) {
    if (mode.stride_bytes < 0) return std::nullopt;
    modes.push_back({mode.extent, static_cast<uint64_t>(mode.stride_bytes)});
  }
  return Layout::FromModes(modes, unit_bytes_, pieces_[0].position_bytes);
}

uint64_t PieceMap::PositionOf(uint64_t index, size_t* piece) const {
  std::vector<uint64_t> digits(extents_.size());
  for (size_t mode = extents_.size(); mode-- > 0; index /= extents_[mode])
    digits[mode] = index % extents_[mode];
  const auto holds = [&](const Piece& candidate) {
    for (size_t mode = 0; mode < digits.size(); ++mode)
      if (digits[mode] < candidate.modes[mode].begin || digits[mode] >= candidate.modes[mode].end())
        return false;
    return true;
  };
  const auto found = std::ranges::find_if(pieces_, holds);
  *piece = static_cast<size_t>(found - pieces_.begin());
  uint64_t position = found->position_bytes;
  for (size_t mode = 0; mode < digits.size(); ++mode)
    position +=
        (digits[mode] - found->modes[mode].begin) * static_cast<uint64_t>(found->modes[mode].stride_bytes);
  return position;
}

namespace {

/// Where two boxes meet, both say the same; true too when they do not meet.
bool AgreeWhereTheyMeet(const Piece& a, const Piece& b) {
  uint64_t a_position = a.position_bytes, b_position = b.position_bytes;
  bool same_strides = true;
  for (size_t mode = 0; mode < a.modes.size(); ++mode) {
    const PieceMode &x = a.modes[mode], &y = b.modes[mode];
    const uint64_t begin = std::max(x.begin, y.begin), end = std::min(x.end(), y.end());
    if (begin >= end) return true;
    a_position += (begin - x.begin) * static_cast<uint64_t>(x.stride_bytes);
    b_position += (begin - y.begin) * static_cast<uint64_t>(y.stride_bytes);
    same_strides = same_strides && (end - begin == 1 || x.stride_bytes == y.stride_bytes);
  }
  if (!same_strides) return false;
  const RandomAccessFile::Location x = OriginOf(a.storage), y = OriginOf(b.storage);
  return x.file == y.file && x.offset_bytes + a_position == y.offset_bytes + b_position;
}

}  // namespace

bool SameUnits(PieceMap a, PieceMap b, uint64_t pieces_max) {
  if (a.unit_count() != b.unit_count() || a.unit_bytes_ != b.unit_bytes_) return false;
  std::vector<uint64_t> boundaries = a.Boundaries(), chain;
  std::ranges::move(b.Boundaries(), std::back_inserter(boundaries));
  std::ranges::sort(boundaries);
  for (const uint64_t boundary : boundaries)
    if (boundary > 1 && (chain.empty() || (boundary % chain.back() == 0 && boundary != chain.back())))
      chain.push_back(boundary);
  if (!a.Rebase(chain, pieces_max) || !b.Rebase(chain, pieces_max)) return false;
  // A mode of extent 1 that one of them has outermost says nothing.
  for (PieceMap* map : {&a, &b}) {
    if (map->extents_.empty() || map->extents_[0] != 1) continue;
    map->extents_.erase(map->extents_.begin());
    for (Piece& piece : map->pieces_) piece.modes.erase(piece.modes.begin());
  }
  if (a.extents_ != b.extents_) return false;
  return std::ranges::all_of(a.pieces_, [&](const Piece& x) {
    return std::ranges::all_of(b.pieces_, [&](const Piece& y) { return AgreeWhereTheyMeet(x, y); });
  });
}

}  // namespace weightfs
