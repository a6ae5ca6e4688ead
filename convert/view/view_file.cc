#include <algorithm>
#include <cstring>
#include <utility>

#include "convert/view/read_batch.h"
#include "convert/view/segment.h"
#include "convert/view/virtual_file.h"
#include "convert/view/wait_group.h"

namespace weightfs {
namespace {

/// What all of `views` wait for, or `several` when that is more than one file.
const void* WaitGroupOf(std::span<const TensorView> views, const void* several) {
  const void* common = nullptr;
  for (const TensorView& view : views) common = CommonWaitGroup(common, view.wait_group(several), several);
  return common;
}

/// A header and views, end to end.
class ViewFile final : public VirtualFile {
 public:
  ViewFile(std::string prefix, SegmentTable table, std::shared_ptr<BlockCache> cache)
      : VirtualFile(table.end),
        prefix_(std::move(prefix)),
        table_(std::move(table)),
        cache_(std::move(cache)),
        cache_owner_(cache_->NewOwner()),
        wait_group_(WaitGroupOf(table_.views, this)) {}

  Result<std::span<const std::byte>> Read(ByteRange range, ReadScratch& scratch) const override;
  const void* wait_group() const override { return wait_group_; }

 private:
  Status Collect(ByteRange range, std::span<std::byte> reply, ReadScratch& scratch) const;
  Status CollectSegment(const Segment& segment, ByteRange part, std::span<std::byte> reply, ReadBatch& batch,
                        ReadScratch& scratch) const;
  Status AddPacked(const Segment& segment, const RandomAccessFile* file, uint64_t source_begin,
                   ByteRange part, std::span<std::byte> reply, ReadBatch& batch) const;
  void FillConstant(const Segment& segment, ByteRange part, std::span<std::byte> reply) const;
  Status AddRuns(const Segment& segment, ByteRange part, std::span<std::byte> reply, ReadBatch& batch) const;
  Status CopyFromPanels(const Segment& segment, ByteRange part, std::span<std::byte> reply,
                        ReadScratch& scratch) const;
  Result<BlockPtr> GetPanel(const Segment& segment, const PanelPlan::Panel& panel,
                            ReadScratch& scratch) const;

  std::string prefix_;
  SegmentTable table_;
  std::shared_ptr<BlockCache> cache_;
  uint64_t cache_owner_;
  const void* wait_group_;
};

Result<std::span<const std::byte>> ViewFile::Read(ByteRange range, ReadScratch& scratch) const {
  WEIGHTFS_CHECK(CheckReadRange(range));
  if (range.empty()) return scratch.reply().first(0);
  if (range.begin >= prefix_.size()) {
    const size_t index = table_.Find(range.begin);
    const Segment& segment = table_.segments[index];
    if (segment.kind == SegmentKind::kIdentity && range.end <= table_.EndOf(index)) {
      const uint64_t source_begin = segment.source_begin + (range.begin - segment.begin);
      return segment.file->ReadWithin({source_begin, source_begin + range.size()}, scratch.reply());
    }
  }
  const std::span<std::byte> reply = scratch.reply().first(range.size());
  WEIGHTFS_CHECK(Collect(range, reply, scratch));
  return reply;
}

/// Fills `reply` with `range`, segment by segment.
Status ViewFile::Collect(ByteRange range, std::span<std::byte> reply, ReadScratch& scratch) const {
  uint64_t position = range.begin;
  if (position < prefix_.size()) {
    const uint64_t end = std::min<uint64_t>(range.end, prefix_.size());
    std::memcpy(reply.data(), prefix_.data() + position, end - position);
    position = end;
  }
  if (position == range.end) return {};
  ReadBatch batch(scratch.source());
  for (size_t index = table_.Find(position); position < range.end; ++index) {
    const ByteRange part{position, std::min(range.end, table_.EndOf(index))};
    WEIGHTFS_CHECK(CollectSegment(table_.segments[index], part,
                                  reply.subspan(part.begin - range.begin, part.size()), batch, scratch));
    position = part.end;
  }
  return batch.Flush();
}

/// Fills `reply` with the bytes `part` of the file, which lie within `segment`, or puts that into `batch`.
Status ViewFile::CollectSegment(const Segment& segment, ByteRange part, std::span<std::byte> reply,
                                ReadBatch& batch, ReadScratch& scratch) const {
  part = {part.begin - segment.begin, part.end - segment.begin};
  switch (segment.kind) {
    case SegmentKind::kIdentity:
    case SegmentKind::kPacked:
      return AddPacked(segment, segment.file, segment.source_begin, part, reply, batch);
    case SegmentKind::kConstant:
      FillConstant(segment, part, reply);
      return {};
    case SegmentKind::kRuns:
      return AddRuns(segment, part, reply, batch);
    case SegmentKind::kPanels:
      // Making a panel needs the source buffer, which jobs waiting in the batch do not hold yet.
      return CopyFromPanels(segment, part, reply, scratch);
  }
  return Fail(ErrorCode::kInternal, "a segment of no kind");
}

/// Fills `reply` with served bytes `part` of a constant.
void ViewFile::FillConstant(const Segment& segment, ByteRange part, std::span<std::byte> reply) const {
  const std::span<const std::byte> element =
      std::span(table_.constants[segment.strip]).first(table_.pipelines[segment.pipeline].served_bytes());
  uint64_t skip = part.begin % element.size();
  for (std::byte& byte : reply) {
    byte = element[skip];
    skip = skip + 1 == element.size() ? 0 : skip + 1;
  }
}

/// Adds jobs for served bytes `part` of elements that lie packed in `file` from `source_begin` on.
Status ViewFile::AddPacked(const Segment& segment, const RandomAccessFile* file, uint64_t source_begin,
                           ByteRange part, std::span<std::byte> reply, ReadBatch& batch) const {
  const ElementPipeline& pipeline = table_.pipelines[segment.pipeline];
  const uint64_t served = pipeline.served_bytes(), stored = pipeline.stored_bytes();
  // A copy needs no whole elements, so it takes bytes for elements.
  const uint64_t served_step = pipeline.is_copy() ? 1 : served, stored_step = pipeline.is_copy() ? 1 : stored;
  const uint64_t step_elements = ReadBatch::kStepBytesMax / stored_step;
  uint64_t element = part.begin / served_step;
  uint64_t skip = part.begin % served_step;
  while (!reply.empty()) {
    const uint64_t size = std::min<uint64_t>(reply.size(), step_elements * served_step - skip);
    const uint64_t elements = (skip + size + served_step - 1) / served_step;
    WEIGHTFS_CHECK(
        batch.Add({file, source_begin + element * stored_step, static_cast<uint32_t>(elements * stored_step),
                   static_cast<uint32_t>(skip), &pipeline, reply.first(size)}));
    reply = reply.subspan(size);
    element += elements;
    skip = 0;
  }
  return {};
}

/// Adds jobs for served bytes `part` of a strip, run by run.
Status ViewFile::AddRuns(const Segment& segment, ByteRange part, std::span<std::byte> reply,
                         ReadBatch& batch) const {
  const Strip& strip = table_.strips[segment.strip];
  const uint64_t served = table_.pipelines[segment.pipeline].served_bytes();
  while (!part.empty()) {
    const uint64_t unit = part.begin / served;
    const Strip::Run run = strip.RunAt(unit);
    const uint64_t end = std::min(part.end, (unit + run.units) * served);
    const ByteRange of_run{part.begin - unit * served, end - unit * served};
    WEIGHTFS_CHECK(
        AddPacked(segment, run.file, run.position_bytes, of_run, reply.first(of_run.size()), batch));
    reply = reply.subspan(of_run.size());
    part.begin = end;
  }
  return {};
}

/// Fills `reply` with served bytes `part` of a strip.
Status ViewFile::CopyFromPanels(const Segment& segment, ByteRange part, std::span<std::byte> reply,
                                ReadScratch& scratch) const {
  const PanelPlan& plan = table_.panel_plans[segment.panels];
  const ElementPipeline& pipeline = table_.pipelines[segment.pipeline];
  const uint64_t served = pipeline.served_bytes();
  while (!part.empty()) {
    const uint64_t unit = part.begin / served;
    const PanelPlan::Panel panel = plan.PanelOf(unit);
    const uint64_t end = std::min(part.end, (panel.begin + panel.count) * served);
    WEIGHTFS_TRY(const BlockPtr block, GetPanel(segment, panel, scratch));
    pipeline.Run(block.get() + (unit - panel.begin) * pipeline.stored_bytes(),
                 static_cast<uint32_t>(part.begin % served), reply.first(end - part.begin));
    reply = reply.subspan(end - part.begin);
    part.begin = end;
  }
  return {};
}

Result<BlockPtr> ViewFile::GetPanel(const Segment& segment, const PanelPlan::Panel& panel,
                                    ReadScratch& scratch) const {
  const Strip& strip = table_.strips[segment.strip];
  const auto make = [&](std::span<std::byte> destination) {
    return table_.panel_plans[segment.panels].Gather(strip, panel, destination, scratch.source());
  };
  // std::ref: the function object then fits without an allocation.
  return cache_->Get({cache_owner_, table_.first_panels[segment.panels] + panel.index},
                     panel.count * strip.unit_bytes(), std::ref(make));
}

}  // namespace

Result<VirtualFilePtr> MakeViewFile(std::string prefix, std::vector<TensorView> views,
                                    std::shared_ptr<BlockCache> cache) {
  WEIGHTFS_TRY(SegmentTable table, BuildSegments(std::move(views), prefix.size(), cache));
  return std::make_shared<ViewFile>(std::move(prefix), std::move(table), std::move(cache));
}

}  // namespace weightfs
