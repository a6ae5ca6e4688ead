#include "convert/view/segment.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace weightfs {
namespace {

/// Runs of a strip from this size on are read on their own, without a panel.
constexpr uint64_t kDirectRunBytesMin = 128_KiB;
/// Shorter runs too, from this size on, when those of each piece follow each other in its file: neighbours
/// share a read then. Otherwise what lies between them is wanted by a later read, and a panel holds both.
constexpr uint64_t kSharedRunBytesMin = 256;

SegmentKind KindOf(const Strip& strip) {
  const uint64_t run_bytes = strip.run_units_min() * strip.unit_bytes();
  const bool is_direct =
      run_bytes >= kDirectRunBytesMin || (strip.is_in_order() && run_bytes >= kSharedRunBytesMin);
  return is_direct ? SegmentKind::kRuns : SegmentKind::kPanels;
}

/// The same bytes of the same file directly after `last`: the two are one segment.
bool Continues(const Segment& last, const Segment& next) {
  return last.kind == SegmentKind::kIdentity && next.kind == SegmentKind::kIdentity &&
         last.file == next.file && next.source_begin - last.source_begin == next.begin - last.begin;
}

class Builder {
 public:
  Builder(SegmentTable& table, uint64_t begin, const std::shared_ptr<BlockCache>& cache)
      : table_(table), cache_(cache) {
    table_.end = begin;
  }

  Status Add(const TensorView& view) {
    const ElementPipeline pipeline(view);
    const auto found = std::ranges::find(table_.pipelines, pipeline);
    pipeline_ = static_cast<uint16_t>(found - table_.pipelines.begin());
    if (found == table_.pipelines.end()) table_.pipelines.push_back(pipeline);
    if (view.pieces() == nullptr && view.layout().contiguous()) {
      const RandomAccessFile::Location location = view.storage()->location();
      const bool on_disk = location.file != nullptr;
      AddPacked(on_disk ? location.file : view.storage().get(),
                (on_disk ? location.offset_bytes : 0) + view.layout().offset_bytes(), view.element_units());
      return {};
    }
    if (view.pieces() != nullptr && view.pieces()->terms.size() > 1) {
      WEIGHTFS_TRY(FilePtr sum, MakeSumFile(view, cache_));
      AddPacked(sum.get(), 0, view.element_units());
      table_.sums.push_back(std::move(sum));
      return {};
    }
    WEIGHTFS_TRY(std::vector<Strip> strips, CutIntoStrips(view.Terms()[0]));
    for (Strip& strip : strips) WEIGHTFS_CHECK(AddStrip(std::move(strip)));
    return {};
  }

 private:
  Segment Start(SegmentKind kind) const {
    Segment segment{};
    segment.begin = table_.end;
    segment.pipeline = pipeline_;
    segment.kind = kind;
    return segment;
  }
  void Append(const Segment& segment, uint64_t units) {
    if (table_.segments.empty() || !Continues(table_.segments.back(), segment))
      table_.segments.push_back(segment);
    table_.end += units * table_.pipelines[pipeline_].served_bytes();
  }

  void AddPacked(const RandomAccessFile* file, uint64_t source_begin, uint64_t units) {
    Segment segment =
        Start(table_.pipelines[pipeline_].is_copy() ? SegmentKind::kIdentity : SegmentKind::kPacked);
    segment.file = file;
    segment.source_begin = source_begin;
    Append(segment, units);
  }

  Status AddStrip(Strip strip) {
    const uint64_t units = strip.unit_count();
    const StripPiece& first = strip.pieces()[0];
    if (strip.pieces().size() == 1 && strip.run_units_min() == units) {
      AddPacked(first.file, first.position_bytes, units);
      return {};
    }
    // What lies in memory is read now; nothing on disk is.
    if (strip.is_constant() && first.file->wait_group() == nullptr) return AddConstant(strip);
    Segment segment = Start(KindOf(strip));
    segment.strip = static_cast<uint32_t>(table_.strips.size());
    if (segment.kind == SegmentKind::kPanels) {
      segment.panels = static_cast<uint32_t>(table_.panel_plans.size());
      table_.panel_plans.emplace_back(strip, cache_->capacity_bytes());
      table_.first_panels.push_back(panel_count_);
      panel_count_ += table_.panel_plans.back().panel_count();
    }
    table_.strips.push_back(std::move(strip));
    Append(segment, units);
    return {};
  }

  Status AddConstant(const Strip& strip) {
    const ElementPipeline& pipeline = table_.pipelines[pipeline_];
    const StripPiece& piece = strip.pieces()[0];
    std::byte stored[8];
    WEIGHTFS_CHECK(
        piece.file->ReadAt(piece.position_bytes, std::span(stored).first(pipeline.stored_bytes())));
    Segment segment = Start(SegmentKind::kConstant);
    segment.strip = static_cast<uint32_t>(table_.constants.size());
    ServedElement& element = table_.constants.emplace_back();
    pipeline.Run(stored, 0, std::span(element).first(pipeline.served_bytes()));
    Append(segment, strip.unit_count());
    return {};
  }

  SegmentTable& table_;
  const std::shared_ptr<BlockCache>& cache_;
  uint16_t pipeline_ = 0;  ///< Of the view at hand.
  uint64_t panel_count_ = 0;
};

}  // namespace

size_t SegmentTable::Find(uint64_t position) const {
  const auto after = std::ranges::upper_bound(segments, position, {}, &Segment::begin);
  return static_cast<size_t>(after - segments.begin()) - 1;
}

Result<SegmentTable> BuildSegments(std::vector<TensorView> views, uint64_t begin,
                                   const std::shared_ptr<BlockCache>& cache) {
  SegmentTable table;
  Builder builder(table, begin, cache);
  for (size_t i = 0; i < views.size(); ++i) {
    if (views[i].size_bytes() == 0) continue;
    const std::optional<uint64_t> end = CheckedAdd(table.end, views[i].size_bytes());
    if (!end || *end > INT64_MAX)
      return Fail(ErrorCode::kLimitExceeded,
                  fmt::format("{} tensors of which the first {} end past 2^63 bytes", views.size(), i + 1));
    WEIGHTFS_CHECK(builder.Add(views[i]));
  }
  table.views = std::move(views);
  return table;
}

}  // namespace weightfs
