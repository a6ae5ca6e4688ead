#include "convert/view/segment.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace weightfs {
namespace {

/// Runs of a strided view from this size on are read on their own, without a panel.
constexpr uint64_t kDirectRunBytesMin = 16_KiB;

SegmentKind KindOf(const TensorView& view, const ElementPipeline& pipeline) {
  const Layout& layout = view.layout();
  if (layout.contiguous()) return pipeline.is_copy() ? SegmentKind::kIdentity : SegmentKind::kPacked;
  const bool long_runs = layout.run_units() * layout.unit_bytes() >= kDirectRunBytesMin;
  return long_runs ? SegmentKind::kRuns : SegmentKind::kPanels;
}

uint16_t PipelineNumber(std::vector<ElementPipeline>& pipelines, const ElementPipeline& pipeline) {
  const auto found = std::ranges::find(pipelines, pipeline);
  const auto number = static_cast<uint16_t>(found - pipelines.begin());
  if (found == pipelines.end()) pipelines.push_back(pipeline);
  return number;
}

/// The same bytes of the same file directly after `last`: the two are one segment.
bool Continues(const Segment& last, const Segment& next) {
  return last.kind == SegmentKind::kIdentity && next.kind == SegmentKind::kIdentity &&
         last.file == next.file && next.source_begin - last.source_begin == next.begin - last.begin;
}

}  // namespace

size_t SegmentTable::Find(uint64_t position) const {
  const auto after = std::ranges::upper_bound(segments, position, {}, &Segment::begin);
  return static_cast<size_t>(after - segments.begin()) - 1;
}

Result<SegmentTable> BuildSegments(std::vector<TensorView> views, uint64_t begin, uint64_t cache_bytes) {
  SegmentTable table;
  uint64_t panel_count = 0;
  for (size_t i = 0; i < views.size(); ++i) {
    const TensorView& view = views[i];
    if (view.size_bytes() == 0) continue;
    const std::optional<uint64_t> end = CheckedAdd(begin, view.size_bytes());
    if (!end || *end > INT64_MAX)
      return Fail(ErrorCode::kLimitExceeded,
                  fmt::format("{} tensors of which the first {} end past 2^63 bytes", views.size(), i + 1));
    // Read where the bytes lie on disk, so that neighbours in one file share a read whatever names they go
    // by.
    const RandomAccessFile::Location location = view.storage()->location();
    const bool on_disk = location.file != nullptr;
    Segment segment{};
    segment.begin = begin;
    segment.file = on_disk ? location.file : view.storage().get();
    segment.source_begin = on_disk ? location.offset_bytes : 0;
    segment.view = static_cast<uint32_t>(i);
    const ElementPipeline pipeline(view);
    segment.pipeline = PipelineNumber(table.pipelines, pipeline);
    segment.kind = KindOf(view, pipeline);
    if (view.layout().contiguous()) segment.source_begin += view.layout().offset_bytes();
    if (segment.kind == SegmentKind::kPanels) {
      segment.panels = static_cast<uint32_t>(table.panel_plans.size());
      table.panel_plans.emplace_back(view.layout(), cache_bytes);
      table.first_panels.push_back(panel_count);
      panel_count += table.panel_plans.back().panel_count();
    }
    if (table.segments.empty() || !Continues(table.segments.back(), segment))
      table.segments.push_back(segment);
    begin = *end;
  }
  table.end = begin;
  table.views = std::move(views);
  return table;
}

}  // namespace weightfs
