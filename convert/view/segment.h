/// \file
/// What a view file is made of: its data section cut into segments, each produced in one way.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "convert/base/result.h"
#include "convert/view/kernels/element_ops.h"
#include "convert/view/panel.h"
#include "convert/view/strip.h"
#include "convert/view/sum_file.h"
#include "convert/view/tensor_view.h"

namespace weightfs {

/// How the bytes of a segment come about.
enum class SegmentKind : uint8_t {
  kIdentity,  ///< Source bytes, as they are; several views where they adjoin in the source too.
  kPacked,    ///< Elements packed in the source, something done to each.
  kConstant,  ///< One element over and over.
  kRuns,      ///< A strip, in runs long enough to be read on their own.
  kPanels,    ///< A strip, through panels.
};

/// A range of a view file. Elements are those of the pipeline (element_ops.h).
struct Segment {
  uint64_t begin;                ///< Of its bytes in the view file; it ends where the next begins.
  const RandomAccessFile* file;  ///< Identity, packed. Kept alive by the views.
  uint64_t source_begin;         ///< Identity, packed: of the first byte in `file`.
  uint32_t strip;                ///< Number of its strip (runs, panels) or of its constant.
  uint32_t panels;               ///< Number of its PanelPlan (panels).
  uint16_t pipeline;             ///< Number of its ElementPipeline.
  SegmentKind kind;
};

/// One served element.
using ServedElement = std::array<std::byte, 8>;

/// The segments of a view file in order, and what they refer to. Immutable once built; thread-safe.
struct SegmentTable {
  std::vector<TensorView> views;
  std::vector<FilePtr> sums;      ///< Files that views which are sums are read from.
  std::vector<Segment> segments;  ///< Without empty ones.
  std::vector<ElementPipeline> pipelines;
  std::vector<Strip> strips;
  std::vector<ServedElement> constants;
  std::vector<PanelPlan> panel_plans;
  std::vector<uint64_t> first_panels;  ///< Per plan: the number of its first panel among those of the file.
  uint64_t end = 0;                    ///< Where the last segment ends.

  /// Number of the segment that holds byte `position`, which lies within one.
  size_t Find(uint64_t position) const;
  /// Where segment `index` ends.
  uint64_t EndOf(size_t index) const { return index + 1 < segments.size() ? segments[index + 1].begin : end; }
};

/// Lays `views` end to end from byte `begin` on.
/// \param cache  for panels and sums
/// \error kLimitExceeded  the end does not fit 63 bits, or pieces are too many (strip.h)
Result<SegmentTable> BuildSegments(std::vector<TensorView> views, uint64_t begin,
                                   const std::shared_ptr<BlockCache>& cache);

}  // namespace weightfs
