#include "convert/view/piece_map.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <utility>

namespace weightfs {
namespace {

Status CheckCount(size_t count, uint64_t pieces_max) {
  if (count <= pieces_max) return {};
  return Fail(
      ErrorCode::kLimitExceeded,
      fmt::format("a view of more than {} pieces; expected one that its axes cut less finely", pieces_max));
}

/// Moves the first corner of a box by `digits` along `mode`.
void Advance(Piece& piece, size_t mode, uint64_t digits) {
  PieceMode& m = piece.modes[mode];
  // Within the storage by construction, so wrapping arithmetic gives the right position.
  piece.position_bytes += digits * static_cast<uint64_t>(m.stride_bytes);
  m.begin += digits;
}

void SetExtent(PieceMode& mode, uint64_t extent) {
  mode.extent = extent;
  if (extent == 1) mode.stride_bytes = 0;
}

}  // namespace

RandomAccessFile::Location OriginOf(const FilePtr& storage) {
  const RandomAccessFile::Location location = storage->location();
  return location.file != nullptr ? location : RandomAccessFile::Location{storage.get(), 0};
}

PieceMap PieceMap::FromLayout(FilePtr storage, const Layout& layout) {
  PieceMap map;
  map.unit_bytes_ = layout.unit_bytes();
  Piece piece{std::move(storage), layout.offset_bytes(), {}};
  for (const Mode& mode : layout.modes()) {
    map.extents_.push_back(mode.extent);
    piece.modes.push_back({0, mode.extent, static_cast<int64_t>(mode.stride_bytes)});
  }
  map.pieces_.push_back(std::move(piece));
  return map;
}

uint64_t PieceMap::unit_count() const {
  return std::accumulate(extents_.begin(), extents_.end(), uint64_t{1}, std::multiplies<>());
}

uint64_t PieceMap::InnerOf(size_t mode) const {
  return std::accumulate(extents_.begin() + static_cast<ptrdiff_t>(mode) + 1, extents_.end(), uint64_t{1},
                         std::multiplies<>());
}

std::vector<uint64_t> PieceMap::Boundaries() const {
  std::vector<uint64_t> boundaries;
  uint64_t inner = 1;
  for (size_t i = extents_.size(); i-- > 1;) boundaries.push_back(inner *= extents_[i]);
  return boundaries;
}

/// An interval of a mode becomes, in the two modes it is split into: the end of a row, whole rows, the start
/// of a row, as far as there are such.
Status PieceMap::SplitMode(size_t mode, uint64_t inner_extent, uint64_t pieces_max) {
  const uint64_t q = inner_extent;
  std::vector<Piece> split;
  split.reserve(pieces_.size());
  const auto add = [&](const Piece& piece, uint64_t begin, uint64_t rows, uint64_t columns) {
    Piece part = piece;
    Advance(part, mode, begin - piece.modes[mode].begin);
    const int64_t stride = piece.modes[mode].stride_bytes;
    PieceMode outer{begin / q, rows, rows == 1 ? 0 : stride * static_cast<int64_t>(q)};
    PieceMode inner{begin % q, columns, columns == 1 ? 0 : stride};
    part.modes[mode] = outer;
    part.modes.insert(part.modes.begin() + static_cast<ptrdiff_t>(mode) + 1, inner);
    split.push_back(std::move(part));
  };
  for (const Piece& piece : pieces_) {
    uint64_t begin = piece.modes[mode].begin;
    const uint64_t end = piece.modes[mode].end();
    if (begin % q != 0 || end - begin < q) {
      const uint64_t columns = std::min(end - begin, q - begin % q);
      add(piece, begin, 1, columns);
      begin += columns;
    }
    if (const uint64_t rows = (end - begin) / q; rows > 0) {
      add(piece, begin, rows, q);
      begin += rows * q;
    }
    if (begin < end) add(piece, begin, 1, end - begin);
    WEIGHTFS_CHECK(CheckCount(split.size(), pieces_max));
  }
  pieces_ = std::move(split);
  extents_[mode] /= q;
  extents_.insert(extents_.begin() + static_cast<ptrdiff_t>(mode) + 1, q);
  return {};
}

/// A box of two modes becomes one interval where it holds whole rows that continue each other, or a single
/// row; else an interval for each row.
Status PieceMap::JoinModes(size_t outer_mode, uint64_t pieces_max) {
  const uint64_t q = extents_[outer_mode + 1];
  std::vector<Piece> joined;
  joined.reserve(pieces_.size());
  for (Piece& piece : pieces_) {
    const PieceMode outer = piece.modes[outer_mode], inner = piece.modes[outer_mode + 1];
    piece.modes.erase(piece.modes.begin() + static_cast<ptrdiff_t>(outer_mode) + 1);
    PieceMode& mode = piece.modes[outer_mode];
    mode = {outer.begin * q + inner.begin, inner.extent, inner.stride_bytes};
    if (outer.extent == 1) {
      joined.push_back(std::move(piece));
    } else if (inner.extent == q &&
               (q == 1 || outer.stride_bytes == inner.stride_bytes * static_cast<int64_t>(q))) {
      mode = {outer.begin * q, outer.extent * q, q == 1 ? outer.stride_bytes : inner.stride_bytes};
      joined.push_back(std::move(piece));
    } else {
      WEIGHTFS_CHECK(CheckCount(joined.size() + outer.extent, pieces_max));
      for (uint64_t row = 0; row < outer.extent; ++row) {
        Piece part = piece;
        part.position_bytes += row * static_cast<uint64_t>(outer.stride_bytes);
        part.modes[outer_mode].begin += row * q;
        joined.push_back(std::move(part));
      }
    }
    WEIGHTFS_CHECK(CheckCount(joined.size(), pieces_max));
  }
  pieces_ = std::move(joined);
  extents_[outer_mode] *= q;
  extents_.erase(extents_.begin() + static_cast<ptrdiff_t>(outer_mode) + 1);
  return {};
}

Status PieceMap::AddBoundary(uint64_t inner, uint64_t pieces_max) {
  if (inner == 1 || inner == unit_count()) return {};
  while (true) {
    size_t mode = extents_.size() - 1;
    uint64_t below = 1;
    while (below * extents_[mode] < inner) below *= extents_[mode--];
    if (below * extents_[mode] == inner) return {};
    if (inner % below != 0) {
      WEIGHTFS_CHECK(JoinModes(mode, pieces_max));
    } else if (const uint64_t q = inner / below; extents_[mode] % q != 0) {
      WEIGHTFS_CHECK(JoinModes(mode - 1, pieces_max));
    } else {
      return SplitMode(mode, q, pieces_max);
    }
  }
}

/// Gives the map just these boundaries, ascending, each a divisor of the next.
Status PieceMap::Rebase(std::span<const uint64_t> boundaries, uint64_t pieces_max) {
  for (const uint64_t boundary : boundaries) WEIGHTFS_CHECK(AddBoundary(boundary, pieces_max));
  uint64_t inner = 1;
  for (size_t mode = extents_.size(); mode-- > 1;) {
    inner *= extents_[mode];
    // A mode of extent 1 repeats its boundary.
    if (extents_[mode] != 1 && inner != 1 && std::ranges::binary_search(boundaries, inner)) continue;
    inner /= extents_[mode];
    WEIGHTFS_CHECK(JoinModes(mode - 1, pieces_max));
    // The joined mode took the place of `mode - 1`; its extent is counted when the loop gets there.
  }
  return {};
}

Status PieceMap::Permute(std::span<const uint64_t> shape, std::span<const size_t> order,
                         uint64_t pieces_max) {
  uint64_t inner = 1;
  for (size_t axis = shape.size(); axis-- > 0;) {
    WEIGHTFS_CHECK(AddBoundary(inner, pieces_max));
    inner *= shape[axis];
  }
  // Which modes make up each axis: none for an axis of extent 1.
  std::vector<std::pair<size_t, size_t>> groups(shape.size());
  size_t end = extents_.size();
  for (size_t axis = shape.size(); axis-- > 0;) {
    size_t begin = end;
    for (uint64_t extent = 1; extent < shape[axis];) extent *= extents_[--begin];
    groups[axis] = {begin, end};
    end = begin;
  }
  std::vector<size_t> modes;
  for (const size_t axis : order)
    for (size_t mode = groups[axis].first; mode < groups[axis].second; ++mode) modes.push_back(mode);
  const auto reorder = [&](auto& list) {
    auto old = std::move(list);
    list.clear();
    for (const size_t mode : modes) list.push_back(old[mode]);
  };
  // Modes in no group have extent 1 and go away.
  for (Piece& piece : pieces_) reorder(piece.modes);
  reorder(extents_);
  return {};
}

void PieceMap::NarrowMode(size_t mode, uint64_t begin, uint64_t count) {
  std::erase_if(pieces_, [&](Piece& piece) {
    PieceMode& m = piece.modes[mode];
    const uint64_t from = std::max(m.begin, begin), to = std::min(m.end(), begin + count);
    if (from >= to) return true;
    Advance(piece, mode, from - m.begin);
    m.begin -= begin;
    SetExtent(m, to - from);
    return false;
  });
  extents_[mode] = count;
}

void PieceMap::FlipMode(size_t mode) {
  for (Piece& piece : pieces_) {
    PieceMode& m = piece.modes[mode];
    piece.position_bytes += (m.extent - 1) * static_cast<uint64_t>(m.stride_bytes);
    m.begin = extents_[mode] - m.end();
    m.stride_bytes = -m.stride_bytes;
  }
}

/// Keeps digits 0, step, 2 * step, ... of `mode`.
void PieceMap::StrideMode(size_t mode, uint64_t step) {
  std::erase_if(pieces_, [&](Piece& piece) {
    PieceMode& m = piece.modes[mode];
    const uint64_t first = (m.begin + step - 1) / step, last = (m.end() - 1) / step;
    if (first > last) return true;
    Advance(piece, mode, first * step - m.begin);
    m.begin = first;
    m.stride_bytes *= static_cast<int64_t>(step);
    SetExtent(m, last - first + 1);
    return false;
  });
  extents_[mode] = (extents_[mode] + step - 1) / step;
}

/// Keeps the indices `[begin, begin + count)` of the axis that modes `[first, last)` make up. Narrows the
/// outermost mode where the cut allows it, goes inside where the range lies within one of its digits, and
/// joins it with the next mode otherwise.
Status PieceMap::NarrowGroup(size_t first, size_t last, uint64_t begin, uint64_t count, uint64_t pieces_max) {
  while (true) {
    uint64_t inner = 1;
    for (size_t mode = first + 1; mode < last; ++mode) inner *= extents_[mode];
    if (begin % inner == 0 && count % inner == 0) {
      NarrowMode(first, begin / inner, count / inner);
      return {};
    }
    if (begin / inner == (begin + count - 1) / inner) {
      NarrowMode(first, begin / inner, 1);
      begin %= inner;
      ++first;
      continue;
    }
    WEIGHTFS_CHECK(JoinModes(first, pieces_max));
    --last;
  }
}

Status PieceMap::Slice(uint64_t inner, uint64_t extent, uint64_t begin, int64_t step, uint64_t count,
                       uint64_t pieces_max) {
  WEIGHTFS_CHECK(AddBoundary(inner, pieces_max));
  WEIGHTFS_CHECK(AddBoundary(inner * extent, pieces_max));
  const auto group = [&]() {
    size_t last = extents_.size();
    for (uint64_t below = 1; below < inner;) below *= extents_[--last];
    size_t first = last;
    for (uint64_t covered = 1; covered < extent;) covered *= extents_[--first];
    return std::pair{first, last};
  };
  if (extent == 1) return {};
  if (count == 1) step = 1;
  const uint64_t distance = step < 0 ? 0 - static_cast<uint64_t>(step) : static_cast<uint64_t>(step);
  const uint64_t low = step < 0 ? begin - (count - 1) * distance : begin;
  const uint64_t reach = (count - 1) * distance + 1;
  auto [first, last] = group();
  if (distance > 1)
    for (; last - first > 1; --last) WEIGHTFS_CHECK(JoinModes(first, pieces_max));
  const size_t modes_before = extents_.size() - last;
  WEIGHTFS_CHECK(NarrowGroup(first, last, low, reach, pieces_max));
  last = extents_.size() - modes_before;
  if (distance > 1) StrideMode(first, distance);
  if (step < 0)
    for (size_t mode = first; mode < last; ++mode) FlipMode(mode);
  return {};
}

Status PieceMap::Repeat(uint64_t inner, uint64_t count, uint64_t pieces_max) {
  WEIGHTFS_CHECK(AddBoundary(inner, pieces_max));
  size_t place = extents_.size();
  for (uint64_t below = 1; below < inner;) below *= extents_[--place];
  extents_.insert(extents_.begin() + static_cast<ptrdiff_t>(place), count);
  for (Piece& piece : pieces_)
    piece.modes.insert(piece.modes.begin() + static_cast<ptrdiff_t>(place), PieceMode{0, count, 0});
  return {};
}

Result<PieceMap> PieceMap::Concat(std::vector<PieceMap> maps, std::span<const uint64_t> axis_extents,
                                  uint64_t inner, uint64_t pieces_max) {
  // Outside the axis all maps need the same boundaries. Counted in units of one index of the outer axes,
  // boundaries above the axis differ with its extent, so they are compared by what lies between them and the
  // axis.
  std::vector<uint64_t> below, above;
  for (size_t k = 0; k < maps.size(); ++k) {
    WEIGHTFS_CHECK(maps[k].AddBoundary(inner, pieces_max));
    WEIGHTFS_CHECK(maps[k].AddBoundary(inner * axis_extents[k], pieces_max));
    const uint64_t outside = inner * axis_extents[k];
    for (const uint64_t boundary : maps[k].Boundaries()) {
      const bool in_every =
          std::ranges::all_of(axis_extents, [&](uint64_t extent) { return inner * extent % boundary == 0; });
      if (boundary < outside && in_every) below.push_back(boundary);
      if (boundary > outside) above.push_back(boundary / outside);
    }
  }
  const auto make_chain = [](std::vector<uint64_t>& boundaries, std::span<const uint64_t> fixed) {
    boundaries.insert(boundaries.end(), fixed.begin(), fixed.end());
    std::ranges::sort(boundaries);
    std::vector<uint64_t> chain;
    for (const uint64_t boundary : boundaries) {
      // A boundary that has to stay drives out those before it that it cannot follow.
      const bool stays = std::ranges::find(fixed, boundary) != fixed.end();
      while (stays && !chain.empty() && boundary % chain.back() != 0) chain.pop_back();
      if (boundary > 1 && (chain.empty() || (boundary % chain.back() == 0 && boundary != chain.back())))
        chain.push_back(boundary);
    }
    boundaries = std::move(chain);
  };
  const uint64_t fixed[] = {inner};
  make_chain(below, fixed);
  make_chain(above, {});
  // Innermost boundary of the axis that all share: the axis mode to join along is the one that ends there.
  const uint64_t axis_inner = below.empty() ? 1 : below.back();
  PieceMap result;
  result.unit_bytes_ = maps.front().unit_bytes_;
  uint64_t offset = 0;
  size_t axis_mode = 0;
  for (size_t k = 0; k < maps.size(); ++k) {
    PieceMap& map = maps[k];
    const uint64_t outside = inner * axis_extents[k];
    std::vector<uint64_t> boundaries = below;
    if (outside > axis_inner) boundaries.push_back(outside);
    for (const uint64_t boundary : above) boundaries.push_back(boundary * outside);
    WEIGHTFS_CHECK(map.Rebase(boundaries, pieces_max));
    axis_mode = map.extents_.size();
    for (uint64_t covered = 1; covered < outside;) covered *= map.extents_[--axis_mode];
    if (outside == axis_inner) {
      map.extents_.insert(map.extents_.begin() + static_cast<ptrdiff_t>(axis_mode), 1);
      for (Piece& piece : map.pieces_)
        piece.modes.insert(piece.modes.begin() + static_cast<ptrdiff_t>(axis_mode), PieceMode{});
    }
    for (Piece& piece : map.pieces_) {
      piece.modes[axis_mode].begin += offset;
      result.pieces_.push_back(std::move(piece));
    }
    WEIGHTFS_CHECK(CheckCount(result.pieces_.size(), pieces_max));
    offset += outside / axis_inner;
  }
  result.extents_ = std::move(maps.front().extents_);
  result.extents_[axis_mode] = offset;
  return result;
}

}  // namespace weightfs
