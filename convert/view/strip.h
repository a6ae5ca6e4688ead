/// \file
/// A flat range of a view, ready to be read: its pieces with the files behind them, and which piece holds a
/// unit.
///
/// The units of a view that is cut along its outermost mode lie in strips one after the other; within a strip
/// the boxes of its pieces span all digits of the outermost mode together (piece_map.h has the terms).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "convert/base/result.h"
#include "convert/io/random_access_file.h"
#include "convert/view/piece_map.h"

namespace weightfs {

/// A piece, read where its bytes lie on disk so that neighbours in one file share reads.
struct StripPiece {
  const RandomAccessFile* file = nullptr;  ///< Kept alive by the view.
  uint64_t position_bytes = 0;             ///< In `file`: of the unit at the first corner.
  std::vector<PieceMode> modes;
};

/// Immutable once made; thread-safe.
class Strip {
 public:
  /// \param pieces  disjoint boxes that cover the output of `extents`
  /// \error kLimitExceeded  boxes that cut each other so finely that finding one takes more than
  ///                        `Limits::view_pieces_max` steps to write down
  static Result<Strip> Make(uint32_t unit_bytes, std::vector<uint64_t> extents,
                            std::vector<StripPiece> pieces);

  uint32_t unit_bytes() const { return unit_bytes_; }
  uint64_t unit_count() const { return unit_count_; }
  std::span<const uint64_t> extents() const { return extents_; }
  std::span<const StripPiece> pieces() const { return pieces_; }
  /// Units of the output for one digit of `mode`.
  uint64_t inner_units(size_t mode) const { return inner_units_[mode]; }

  /// Packed units of one file, from unit `unit` on.
  struct Run {
    const RandomAccessFile* file = nullptr;
    uint64_t position_bytes = 0;
    uint64_t units = 0;  ///< At least 1.
  };
  /// No allocation. \pre unit < unit_count()
  Run RunAt(uint64_t unit) const;

  /// The length of the shortest run, counted from its own start.
  uint64_t run_units_min() const { return run_units_min_; }
  /// The bytes of every piece follow each other in its file in the order they are served.
  bool is_in_order() const { return is_in_order_; }
  /// The one piece has all strides 0: one unit over and over.
  bool is_constant() const;
  /// From the first to past the last byte that a piece uses of its file.
  static ByteRange SpanBytes(const StripPiece& piece, uint32_t unit_bytes);

 private:
  /// An interval of the digits of a node's mode, and what holds it: a piece, or a node of the next mode.
  struct Branch {
    uint64_t end;
    uint32_t target;
    bool is_piece;
  };
  /// Branches that cover all digits of one mode.
  struct Node {
    uint32_t first_branch;
    uint32_t branch_count;
  };
  struct PieceFacts {
    size_t run_mode = 0;    ///< From this mode inward the piece is packed, and whole but for this mode.
    bool has_runs = false;  ///< False: even neighbours of the innermost mode lie apart.
  };
  Result<uint32_t> AddNode(size_t mode, std::span<const uint32_t> members);
  void FindRuns();

  std::vector<uint64_t> extents_, inner_units_;
  std::vector<StripPiece> pieces_;
  std::vector<PieceFacts> facts_;
  std::vector<Node> nodes_;
  std::vector<Branch> branches_;
  uint64_t unit_count_ = 1;
  uint64_t run_units_min_ = 1;
  uint32_t root_ = 0;
  uint32_t unit_bytes_ = 1;
  bool is_in_order_ = false;
};

/// The strips of `map` in order. Those of one piece that fills them have it as their only piece.
/// \error as Strip::Make
Result<std::vector<Strip>> CutIntoStrips(const PieceMap& map);

}  // namespace weightfs
