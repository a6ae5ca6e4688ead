#include "convert/view/panel.h"

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "convert/view/kernels/strided_copy.h"

namespace weightfs {
namespace {

/// Size of panels that share no source bytes with their neighbours: a FUSE request.
constexpr uint64_t kSeparatePanelBytes = 1_MiB;
/// What a panel of a large transpose wants of a source row: long enough that reading it on its own costs
/// little, short enough that the source buffer holds many rows, so that each row of the panel is written in
/// long pieces. Measured from 1 to 12 KiB through a mount (bench/run.sh --only views): 8 KiB is the fastest,
/// cached and cold.
constexpr uint64_t kRowPieceBytes = 8_KiB;
/// Holes are read rather than skipped up to this size, and up to this part of what they are between: reading
/// a piece on its own costs about as much as copying a few hundred bytes, and source bytes are to be read
/// about once.
constexpr uint64_t kHoleBytesMax = 256;
constexpr uint64_t kPieceBytesPerHoleByte = 16;
/// Shorter pieces are collected in the scratch buffer, so that tiles see several of them at once.
constexpr uint64_t kLongPieceBytes = 16_KiB;

/// The largest distance in the source of neighbouring digits of `mode`; at least 1.
uint64_t NeighbourDistanceBytes(const Strip& strip, size_t mode) {
  uint64_t distance = 1;
  for (const StripPiece& piece : strip.pieces())
    distance = std::max(distance, static_cast<uint64_t>(std::abs(piece.modes[mode].stride_bytes)));
  return distance;
}

/// The most that the kernel is told of ahead: more would push out what was read for the panel at hand.
constexpr uint64_t kAheadBytesMax = 1_GiB;

/// Digits of `mode` lie apart in the source: no piece mixes the bytes of one with those of another.
bool LiesApart(const Strip& strip, size_t mode) {
  return std::ranges::all_of(strip.pieces(), [&](const StripPiece& piece) {
    uint64_t span = strip.unit_bytes();
    for (size_t i = mode + 1; i < piece.modes.size(); ++i)
      span += (piece.modes[i].extent - 1) * static_cast<uint64_t>(std::abs(piece.modes[i].stride_bytes));
    const PieceMode& m = piece.modes[mode];
    return m.extent == 1 || static_cast<uint64_t>(std::abs(m.stride_bytes)) >= span;
  });
}

/// How a box is read: the innermost modes by source stride lie within one *piece*, read in one go; the next
/// mode is read several pieces at a time; the others are walked.
struct GatherPlan {
  std::vector<CopyMode> modes;   ///< Ascending by source stride.
  size_t piece_modes = 0;        ///< The first so many make a piece.
  uint64_t piece_bytes = 0;      ///< Of storage, holes included.
  uint64_t pieces_per_step = 1;  ///< Indices of mode `piece_modes` handled at a time.
  uint64_t pitch_bytes = 0;      ///< Distance of pieces in the buffer when each is read on its own, else 0.
};

GatherPlan PlanGather(std::vector<CopyMode> modes, uint32_t unit_bytes, uint64_t buffer_bytes) {
  GatherPlan plan;
  std::ranges::sort(modes, {}, &CopyMode::source_stride_bytes);
  plan.modes = std::move(modes);
  plan.piece_bytes = unit_bytes;
  const auto worth_spanning = [&](const CopyMode& mode) {
    const uint64_t hole_max = std::max(kHoleBytesMax, plan.piece_bytes / kPieceBytesPerHoleByte);
    return mode.source_stride_bytes <= plan.piece_bytes + hole_max;
  };
  for (const CopyMode& mode : plan.modes) {
    const uint64_t span = (mode.extent - 1) * mode.source_stride_bytes + plan.piece_bytes;
    if (!worth_spanning(mode) || span > buffer_bytes) break;
    plan.piece_bytes = span;
    ++plan.piece_modes;
  }
  if (plan.piece_modes == plan.modes.size()) return plan;
  const CopyMode& next = plan.modes[plan.piece_modes];
  if (worth_spanning(next)) {
    plan.pieces_per_step = 1 + (buffer_bytes - plan.piece_bytes) / next.source_stride_bytes;
  } else if (plan.piece_bytes < kLongPieceBytes) {
    // An odd number of cache lines apart, lest the rows of a tile compete for the same places in the cache.
    plan.pitch_bytes = (AlignUp(plan.piece_bytes, 64) / 64 | 1) * 64;
    plan.pieces_per_step = std::max<uint64_t>(1, buffer_bytes / plan.pitch_bytes);
  }
  return plan;
}

/// Reads `count` pieces from `position` on and hands on where they lie and how far apart.
struct Pieces {
  const std::byte* first = nullptr;
  uint64_t stride_bytes = 0;
};
Result<Pieces> ReadPieces(const GatherPlan& plan, const RandomAccessFile& file, uint64_t position,
                          uint64_t stride, uint64_t count, std::span<std::byte> scratch) {
  if (plan.pitch_bytes == 0) {
    const uint64_t end = position + (count - 1) * stride + plan.piece_bytes;
    WEIGHTFS_TRY(const std::span<const std::byte> bytes, file.ReadWithin({position, end}, scratch));
    return Pieces{bytes.data(), stride};
  }
  WEIGHTFS_CHECK(file.ReadStrided({position, plan.piece_bytes, stride, count}, scratch, plan.pitch_bytes));
  return Pieces{scratch.data(), plan.pitch_bytes};
}

Status GatherBox(std::vector<CopyMode> modes, uint32_t unit_bytes, const RandomAccessFile& file,
                 uint64_t position, std::byte* destination, std::span<std::byte> scratch) {
  const GatherPlan plan = PlanGather(std::move(modes), unit_bytes, scratch.size() - kReadSlackBytes);
  const std::span<const CopyMode> all(plan.modes);
  if (plan.pitch_bytes != 0) {
    uint64_t span = plan.piece_bytes;
    for (const CopyMode& mode : all.subspan(plan.piece_modes))
      span += (mode.extent - 1) * mode.source_stride_bytes;
    file.WillRead({position, position + std::min(span, kAheadBytesMax)});
  }
  std::vector<CopyMode> copied(all.begin(), all.begin() + plan.piece_modes);
  const bool stepped = plan.piece_modes < all.size();
  const CopyMode step = stepped ? all[plan.piece_modes] : CopyMode{1, 0, 0};
  std::vector<CopyMode> walked(all.begin() + plan.piece_modes + (stepped ? 1 : 0), all.end());
  std::ranges::reverse(walked);
  copied.push_back(step);
  ModeWalk walk(walked);
  do {
    for (uint64_t i = 0; i < step.extent; i += plan.pieces_per_step) {
      const uint64_t count = std::min(plan.pieces_per_step, step.extent - i);
      const uint64_t from = position + walk.source_bytes() + i * step.source_stride_bytes;
      WEIGHTFS_TRY(const Pieces pieces,
                   ReadPieces(plan, file, from, step.source_stride_bytes, count, scratch));
      copied.back() = {count, pieces.stride_bytes, step.destination_stride_bytes};
      CopyStrided(
          pieces.first,
          destination + walk.destination_bytes() + static_cast<int64_t>(i) * step.destination_stride_bytes,
          copied, unit_bytes);
    }
  } while (walk.Next());
  return {};
}

/// Bytes that GatherBox reads.
uint64_t GatheredBytes(std::vector<CopyMode> modes, uint32_t unit_bytes, uint64_t buffer_bytes) {
  const GatherPlan plan = PlanGather(std::move(modes), unit_bytes, buffer_bytes);
  uint64_t walks = 1;
  for (size_t i = plan.piece_modes + 1; i < plan.modes.size(); ++i) walks *= plan.modes[i].extent;
  if (plan.piece_modes == plan.modes.size()) return plan.piece_bytes;
  const CopyMode& step = plan.modes[plan.piece_modes];
  if (plan.pitch_bytes != 0 || plan.pieces_per_step == 1) return walks * step.extent * plan.piece_bytes;
  const uint64_t steps = (step.extent + plan.pieces_per_step - 1) / plan.pieces_per_step;
  return walks * ((step.extent - steps) * step.source_stride_bytes + steps * plan.piece_bytes);
}

}  // namespace

PanelPlan::PanelPlan(const Strip& strip, uint64_t cache_bytes) {
  const std::span<const uint64_t> extents = strip.extents();
  const uint32_t unit_bytes = strip.unit_bytes();
  const uint64_t whole_units_max = std::max<uint64_t>(cache_bytes / 2 / unit_bytes, 1);
  const uint64_t part_units_max = std::max<uint64_t>(cache_bytes / 4 / unit_bytes, 1);
  const uint64_t separate_units = std::min(kSeparatePanelBytes / unit_bytes, part_units_max);
  uint64_t outer_count = 1;
  uint64_t rest_units = strip.unit_count();
  for (size_t i = 0; i < extents.size(); ++i) {
    split_mode_ = i;
    split_extent_ = extents[i];
    inner_units_ = rest_units / split_extent_;
    const bool separate = LiesApart(strip, i);
    const uint64_t units_max = separate                        ? separate_units
                               : rest_units <= whole_units_max ? rest_units
                                                               : part_units_max;
    indices_per_panel_ = std::min(split_extent_, units_max / inner_units_);
    const uint64_t distance = NeighbourDistanceBytes(strip, i);
    if (!separate && rest_units > separate_units && distance < kRowPieceBytes)
      indices_per_panel_ = std::min(indices_per_panel_, kRowPieceBytes / distance);
    if (indices_per_panel_ > 0) break;
    outer_count *= split_extent_;
    rest_units = inner_units_;
  }
  panels_per_outer_ = (split_extent_ + indices_per_panel_ - 1) / indices_per_panel_;
  panel_count_ = outer_count * panels_per_outer_;
}

PanelPlan::Panel PanelPlan::PanelOf(uint64_t unit) const {
  const uint64_t outer_units = split_extent_ * inner_units_;
  const uint64_t outer = unit / outer_units;
  const uint64_t part = unit % outer_units / (indices_per_panel_ * inner_units_);
  const uint64_t first_index = part * indices_per_panel_;
  return {outer * panels_per_outer_ + part, outer * outer_units + first_index * inner_units_,
          std::min(indices_per_panel_, split_extent_ - first_index) * inner_units_};
}

std::optional<PanelPlan::Part> PanelPlan::PartOf(const Strip& strip, const StripPiece& piece,
                                                 const Panel& panel) const {
  Part part{{}, piece.position_bytes, 0};
  uint64_t rest = panel.begin;
  for (size_t mode = 0; mode < piece.modes.size(); ++mode) {
    const PieceMode& m = piece.modes[mode];
    // The digits of the panel: one of an outer mode, some of the split mode, all of an inner mode.
    const uint64_t inner = strip.inner_units(mode);
    const uint64_t first = mode <= split_mode_ ? rest / inner : 0;
    const uint64_t count = mode < split_mode_    ? 1
                           : mode == split_mode_ ? panel.count / inner_units_
                                                 : strip.extents()[mode];
    rest %= inner;
    const uint64_t begin = std::max(first, m.begin), end = std::min(first + count, m.end());
    if (begin >= end) return std::nullopt;
    const int64_t apart = static_cast<int64_t>(inner) * static_cast<int64_t>(strip.unit_bytes());
    CopyMode copy{end - begin, static_cast<uint64_t>(std::abs(m.stride_bytes)), apart};
    part.position_bytes += (begin - m.begin) * static_cast<uint64_t>(m.stride_bytes);
    part.destination_bytes += static_cast<int64_t>(begin - first) * apart;
    if (m.stride_bytes < 0) {
      // Backwards in the source is forwards from the other end, backwards in the destination.
      part.position_bytes += (copy.extent - 1) * static_cast<uint64_t>(m.stride_bytes);
      part.destination_bytes += static_cast<int64_t>(copy.extent - 1) * apart;
      copy.destination_stride_bytes = -apart;
    }
    if (copy.extent > 1) part.modes.push_back(copy);
  }
  return part;
}

uint64_t PanelPlan::SourceBytes(const Strip& strip, const Panel& panel, uint64_t scratch_bytes) const {
  uint64_t bytes = 0;
  for (const StripPiece& piece : strip.pieces())
    if (std::optional<Part> part = PartOf(strip, piece, panel))
      bytes += GatheredBytes(std::move(part->modes), strip.unit_bytes(), scratch_bytes - kReadSlackBytes);
  return bytes;
}

Status PanelPlan::Gather(const Strip& strip, const Panel& panel, std::span<std::byte> destination,
                         std::span<std::byte> scratch) const {
  for (const StripPiece& piece : strip.pieces()) {
    std::optional<Part> part = PartOf(strip, piece, panel);
    if (!part) continue;
    WEIGHTFS_CHECK(GatherBox(std::move(part->modes), strip.unit_bytes(), *piece.file, part->position_bytes,
                             destination.data() + part->destination_bytes, scratch));
  }
  if (panel.index + 1 == panel_count_)
    for (const StripPiece& piece : strip.pieces())
      piece.file->DropBehind(Strip::SpanBytes(piece, strip.unit_bytes()));
  return {};
}

}  // namespace weightfs
