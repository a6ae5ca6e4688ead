/// \file
/// The normal form of a view: pieces, each a box of the output fed by a strided map over one storage.
///
/// Terms. The flat unit index (layout.h: a *unit* is what is moved) of the output is decomposed over the
/// map's *mode extents*, outermost first, into a digit per mode. A *piece* owns a *box*: an interval of
/// digits for every mode; its unit at digits d lies at `position_bytes + sum((d_m - begin_m) * stride_m)` of
/// its storage. The boxes of a map are disjoint and cover the output: every unit is defined once. A point p
/// is a *boundary* of a map when it is the product of the extents of its innermost modes: shapes are lined up
/// with modes by boundaries.
///
/// `Normalize` drops modes of extent 1, joins modes that no piece tells apart, and joins boxes that continue
/// each other, so a view that is one strided map ends as one piece. Equality does not depend on how far that
/// got: `SameUnits` compares what the maps say about every unit.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "convert/base/result.h"
#include "convert/io/random_access_file.h"
#include "convert/view/layout.h"

namespace weightfs {

/// An interval of digits of one mode, and how far apart in the storage two neighbouring digits are.
struct PieceMode {
  uint64_t begin = 0;
  uint64_t extent = 1;
  int64_t stride_bytes = 0;  ///< 0 when the extent is 1.
  uint64_t end() const { return begin + extent; }
  friend bool operator==(const PieceMode&, const PieceMode&) = default;
};

/// One box and what feeds it.
struct Piece {
  FilePtr storage;
  uint64_t position_bytes = 0;  ///< In the storage: of the unit at the first corner of the box.
  std::vector<PieceMode> modes;
};

/// A value. Operations return errors and leave the map in no particular state then.
/// \error kLimitExceeded  (of every operation) more than `pieces_max` pieces
class PieceMap {
 public:
  /// \param storage  holds every unit of `layout`
  /// \param layout   has at least one unit
  static PieceMap FromLayout(FilePtr storage, const Layout& layout);

  uint64_t unit_count() const;
  uint32_t unit_bytes() const { return unit_bytes_; }
  std::span<const uint64_t> extents() const { return extents_; }
  std::span<const Piece> pieces() const { return pieces_; }

  /// Makes `inner` a boundary: splits the mode that holds it, or first joins modes that stand in the way.
  /// \pre `inner` divides `unit_count()`
  Status AddBoundary(uint64_t inner, uint64_t pieces_max);
  /// Reorders axes of an output of shape `shape`; axis `order[k]` becomes axis k.
  Status Permute(std::span<const uint64_t> shape, std::span<const size_t> order, uint64_t pieces_max);
  /// Keeps indices begin, begin + step, ... of the axis that lies between boundary `inner` and `inner *
  /// extent`.
  /// \pre `count` is at least 1 and every index lies within the axis
  Status Slice(uint64_t inner, uint64_t extent, uint64_t begin, int64_t step, uint64_t count,
               uint64_t pieces_max);
  /// Each index of the axis whose units are `inner` apart, `count` times.
  Status Repeat(uint64_t inner, uint64_t count, uint64_t pieces_max);
  /// Joins maps along the axis whose units are `inner` apart; `axis_extents[k]` is the extent of it in
  /// `maps[k]`.
  static Result<PieceMap> Concat(std::vector<PieceMap> maps, std::span<const uint64_t> axis_extents,
                                 uint64_t inner, uint64_t pieces_max);

  struct Placed;
  /// Joins maps of boxes that cover an output of shape `shape` just once.
  static Result<PieceMap> Assemble(std::vector<Placed> parts, std::span<const uint64_t> shape,
                                   uint64_t pieces_max);

  void Normalize();

  /// The one piece as a layout of its storage, when there is just one and its strides are not negative.
  std::optional<Layout> AsLayout() const;
  /// Index of the piece that holds the unit `index`. \pre index < unit_count()
  uint64_t PositionOf(uint64_t index, size_t* piece) const;

 private:
  friend bool SameUnits(PieceMap a, PieceMap b, uint64_t pieces_max);
  uint64_t InnerOf(size_t mode) const;
  Status SplitMode(size_t mode, uint64_t inner_extent, uint64_t pieces_max);
  Status JoinModes(size_t outer_mode, uint64_t pieces_max);
  Status Rebase(std::span<const uint64_t> boundaries, uint64_t pieces_max);
  Status NarrowGroup(size_t first, size_t last, uint64_t begin, uint64_t count, uint64_t pieces_max);
  void NarrowMode(size_t mode, uint64_t begin, uint64_t count);
  void FlipMode(size_t mode);
  void StrideMode(size_t mode, uint64_t step);
  std::vector<uint64_t> Boundaries() const;
  bool CanJoinFreely(size_t outer_mode) const;
  bool JoinBoxesAlong(size_t mode);

  std::vector<uint64_t> extents_;  ///< Outermost first.
  std::vector<Piece> pieces_;
  uint32_t unit_bytes_ = 1;
};

/// A map and the box of the output that it defines.
struct PieceMap::Placed {
  PieceMap map;
  std::span<const uint64_t> offsets;
  std::span<const uint64_t> sizes;
};

/// Whether every unit of `a` is the same unit of the same storage in `b`. Exact, unless lining the two up
/// would take more than `pieces_max` pieces: then false.
bool SameUnits(PieceMap a, PieceMap b, uint64_t pieces_max);

/// Storages are the same when they are the same bytes: the file on disk and where in it, or the object
/// itself.
RandomAccessFile::Location OriginOf(const FilePtr& storage);

}  // namespace weightfs
