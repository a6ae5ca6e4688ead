/// \file
/// Panels: the boxes that a strided strip is cut into, so that a column walk becomes row reads.
///
/// A panel is a range of units that are consecutive as served: some indices of one mode (the split mode),
/// with all of the modes inside it. Where a panel's source bytes lie apart from those of its neighbours,
/// panels are small; where neighbours share source rows (a transpose), they are as large as the cache allows,
/// so that each row is read in long pieces. A panel holds units as stored, from whatever pieces the strip has
/// there.
///
/// **Amplification.** Read front to back, every panel is made once. Making it reads the bytes it wants and
/// holes between them of at most 1/16 of what they part, or of 256 bytes; so rows of which a panel wants 4
/// KiB and more are read 1.07 times at most, and shorter ones at most (256 + n) / n times. A read at random
/// makes one panel.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "convert/base/result.h"
#include "convert/view/kernels/strided_copy.h"
#include "convert/view/strip.h"

namespace weightfs {

/// How one strip is cut. A value; thread-safe.
class PanelPlan {
 public:
  /// \param strip        has at least one mode
  /// \param cache_bytes  capacity of the cache that panels are kept in
  PanelPlan(const Strip& strip, uint64_t cache_bytes);

  /// Units `[begin, begin + count)` of the strip, and the number of the panel that holds them.
  struct Panel {
    uint64_t index = 0;
    uint64_t begin = 0;
    uint64_t count = 0;
  };
  /// The panel that holds unit `unit`.
  Panel PanelOf(uint64_t unit) const;
  uint64_t panel_count() const { return panel_count_; }

  /// Bytes that `Gather` reads for `panel`, with a scratch buffer of `scratch_bytes`.
  uint64_t SourceBytes(const Strip& strip, const Panel& panel, uint64_t scratch_bytes) const;

  /// Fills `destination` with the units of `panel`.
  /// \param strip    the one that the plan was made for
  /// \param scratch  a read buffer: aligned, ReadWithin's slack included
  /// \error as RandomAccessFile::ReadAt
  Status Gather(const Strip& strip, const Panel& panel, std::span<std::byte> destination,
                std::span<std::byte> scratch) const;

 private:
  /// The part of one piece that lies in a panel.
  struct Part {
    std::vector<CopyMode> modes;
    uint64_t position_bytes = 0;    ///< Of its first unit, in the file.
    int64_t destination_bytes = 0;  ///< Of its first unit, in the panel.
  };
  std::optional<Part> PartOf(const Strip& strip, const StripPiece& piece, const Panel& panel) const;

  size_t split_mode_ = 0;
  uint64_t split_extent_ = 1;       ///< Of the split mode.
  uint64_t indices_per_panel_ = 1;  ///< Of the split mode.
  uint64_t inner_units_ = 1;        ///< Units for one index of the split mode.
  uint64_t panels_per_outer_ = 1;
  uint64_t panel_count_ = 1;
};

}  // namespace weightfs
