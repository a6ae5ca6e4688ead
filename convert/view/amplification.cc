#include "convert/view/amplification.h"

#include <memory>
#include <vector>

#include "convert/view/segment.h"
#include "convert/view/virtual_file.h"

namespace weightfs {
namespace {

/// Panels that are looked at: the shape of the others follows from them.
constexpr uint64_t kPanelsMax = 1000;

/// Source bytes for all units of a strip that goes through panels. Beyond kPanelsMax panels the rest is taken
/// to cost what those did.
double PanelBytes(const Strip& strip, const PanelPlan& plan) {
  uint64_t units = 0, bytes = 0, looked = 0;
  while (units < strip.unit_count() && looked++ < kPanelsMax) {
    const PanelPlan::Panel panel = plan.PanelOf(units);
    bytes += plan.SourceBytes(strip, panel, kReadBytesMax + kReadSlackBytes);
    units += panel.count;
  }
  return static_cast<double>(bytes) / static_cast<double>(units) * static_cast<double>(strip.unit_count());
}

}  // namespace

Result<double> ReadAmplification(const TensorView& view, uint64_t cache_bytes) {
  if (view.element_count() == 0) return 1.0;
  const bool is_sum = view.pieces() != nullptr && view.pieces()->terms.size() > 1;
  double source_bytes = 0, stored_bytes = 0;
  for (const PieceMap& term : view.Terms()) {
    WEIGHTFS_TRY(TensorView part, TensorView::FromPieces({{term}, false}, view.stored_dtype(), view.shape()));
    std::vector<TensorView> parts;
    parts.push_back(std::move(part));
    const auto cache = std::make_shared<BlockCache>(cache_bytes);
    WEIGHTFS_TRY(const SegmentTable table, BuildSegments(std::move(parts), 0, cache));
    for (size_t i = 0; i < table.segments.size(); ++i) {
      const Segment& segment = table.segments[i];
      const auto size = static_cast<double>(table.EndOf(i) - segment.begin);
      if (segment.kind == SegmentKind::kConstant) continue;
      const bool has_panels = segment.kind == SegmentKind::kPanels;
      source_bytes +=
          has_panels ? PanelBytes(table.strips[segment.strip], table.panel_plans[segment.panels]) : size;
      stored_bytes += size;
    }
  }
  // A constant costs nothing; a sum needs every term.
  if (stored_bytes == 0) return 0.0;
  return source_bytes / (is_sum ? static_cast<double>(view.stored_size_bytes()) : stored_bytes);
}

}  // namespace weightfs
