/// \file
/// What a view file is made of: its data section cut into segments, each produced in one way.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "convert/base/result.h"
#include "convert/view/kernels/element_ops.h"
#include "convert/view/panel.h"
#include "convert/view/tensor_view.h"

namespace weightfs {

/// How the bytes of a segment come about.
enum class SegmentKind : uint8_t {
  kIdentity,  ///< Source bytes, as they are; several views where they adjoin in the source too.
  kPacked,    ///< Elements packed in the source, something done to each.
  kRuns,      ///< Strided, in runs long enough to be read on their own.
  kPanels,    ///< Strided, through panels.
};

/// A range of a view file. Elements are those of the pipeline (element_ops.h).
struct Segment {
  uint64_t begin;                ///< Of its bytes in the view file; it ends where the next begins.
  const RandomAccessFile* file;  ///< Kept alive by the views.
  /// In `file`: of the first byte (identity, packed) or of the storage (runs, panels).
  uint64_t source_begin;
  uint32_t view;      ///< The view, the first one for identity.
  uint32_t panels;    ///< Number of its PanelPlan (panels).
  uint16_t pipeline;  ///< Number of its ElementPipeline.
  SegmentKind kind;
};

/// The segments of a view file in order, and what they refer to. Immutable once built; thread-safe.
struct SegmentTable {
  std::vector<TensorView> views;
  std::vector<Segment> segments;  ///< Without empty ones.
  std::vector<ElementPipeline> pipelines;
  std::vector<PanelPlan> panel_plans;
  std::vector<uint64_t> first_panels;  ///< Per plan: the number of its first panel among those of the file.
  uint64_t end = 0;                    ///< Where the last segment ends.

  /// Number of the segment that holds byte `position`, which lies within one.
  size_t Find(uint64_t position) const;
  /// Where segment `index` ends.
  uint64_t EndOf(size_t index) const { return index + 1 < segments.size() ? segments[index + 1].begin : end; }
};

/// Lays `views` end to end from byte `begin` on.
/// \param cache_bytes  capacity of the cache for panels
/// \error kLimitExceeded  the end does not fit 63 bits
Result<SegmentTable> BuildSegments(std::vector<TensorView> views, uint64_t begin, uint64_t cache_bytes);

}  // namespace weightfs
