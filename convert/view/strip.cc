#include "convert/view/strip.h"

#include <algorithm>
#include <utility>

#include "convert/base/limits.h"

namespace weightfs {
namespace {

constexpr uint64_t kBranchesMax = 16 * Limits{}.view_pieces_max;

bool FillsInside(const StripPiece& piece, std::span<const uint64_t> extents, size_t mode) {
  for (size_t i = mode + 1; i < extents.size(); ++i)
    if (piece.modes[i].extent != extents[i]) return false;
  return true;
}

/// Digits of `mode` at which boxes begin or end, ascending; the first is 0 and the last the extent.
template <typename Pieces, typename ModeOf>
std::vector<uint64_t> Cuts(const Pieces& pieces, uint64_t extent, const ModeOf& mode_of) {
  std::vector<uint64_t> cuts = {0, extent};
  for (const auto& piece : pieces) {
    const PieceMode& mode = mode_of(piece);
    cuts.push_back(mode.begin);
    cuts.push_back(mode.end());
  }
  std::ranges::sort(cuts);
  cuts.erase(std::unique(cuts.begin(), cuts.end()), cuts.end());
  return cuts;
}

}  // namespace

Result<Strip> Strip::Make(uint32_t unit_bytes, std::vector<uint64_t> extents,
                          std::vector<StripPiece> pieces) {
  Strip strip;
  strip.unit_bytes_ = unit_bytes;
  strip.extents_ = std::move(extents);
  strip.pieces_ = std::move(pieces);
  strip.inner_units_.resize(strip.extents_.size());
  for (size_t mode = strip.extents_.size(); mode-- > 0;) {
    strip.inner_units_[mode] = strip.unit_count_;
    strip.unit_count_ *= strip.extents_[mode];
  }
  strip.FindRuns();
  if (strip.pieces_.size() > 1) {
    std::vector<uint32_t> all(strip.pieces_.size());
    for (uint32_t i = 0; i < all.size(); ++i) all[i] = i;
    WEIGHTFS_TRY(strip.root_, strip.AddNode(0, all));
  }
  return strip;
}

/// Recursive over modes, of which there are few: each is an axis or a part of one.
Result<uint32_t> Strip::AddNode(size_t mode, std::span<const uint32_t> members) {
  const std::vector<uint64_t> cuts =
      Cuts(members, extents_[mode], [&](uint32_t i) -> const PieceMode& { return pieces_[i].modes[mode]; });
  std::vector<Branch> branches;
  for (size_t cut = 0; cut + 1 < cuts.size(); ++cut) {
    std::vector<uint32_t> inside;
    for (const uint32_t member : members) {
      const PieceMode& m = pieces_[member].modes[mode];
      if (m.begin <= cuts[cut] && cuts[cut + 1] <= m.end()) inside.push_back(member);
    }
    if (inside.empty()) return Fail(ErrorCode::kInternal, "a view with units that no piece holds");
    if (inside.size() == 1 && FillsInside(pieces_[inside[0]], extents_, mode)) {
      branches.push_back({cuts[cut + 1], inside[0], true});
      continue;
    }
    if (mode + 1 == extents_.size())
      return Fail(ErrorCode::kInternal, "a view with units that two pieces hold");
    WEIGHTFS_TRY(const uint32_t child, AddNode(mode + 1, inside));
    branches.push_back({cuts[cut + 1], child, false});
  }
  if (branches_.size() + branches.size() > kBranchesMax)
    return Fail(ErrorCode::kLimitExceeded,
                "a view whose pieces cut each other too finely; expected one that its axes cut less finely");
  nodes_.push_back({static_cast<uint32_t>(branches_.size()), static_cast<uint32_t>(branches.size())});
  branches_.insert(branches_.end(), branches.begin(), branches.end());
  return static_cast<uint32_t>(nodes_.size() - 1);
}

void Strip::FindRuns() {
  run_units_min_ = UINT64_MAX;
  is_in_order_ = true;
  for (const StripPiece& piece : pieces_) {
    PieceFacts facts{extents_.size(), false};
    uint64_t run_units = 1, box_units = 1;
    bool is_whole = true;
    for (size_t mode = extents_.size(); mode-- > 0;) {
      const PieceMode& m = piece.modes[mode];
      const bool follows = m.extent == 1 || m.stride_bytes == static_cast<int64_t>(box_units) *
                                                                  static_cast<int64_t>(unit_bytes_);
      is_in_order_ = is_in_order_ && follows;
      box_units *= m.extent;
      if (!is_whole || !follows) {
        is_whole = false;
        continue;
      }
      facts = {mode, true};
      run_units *= m.extent;
      is_whole = m.extent == extents_[mode];
    }
    facts_.push_back(facts);
    run_units_min_ = std::min(run_units_min_, run_units);
  }
}

Strip::Run Strip::RunAt(uint64_t unit) const {
  uint32_t index = 0;
  if (pieces_.size() > 1) {
    const Node* node = &nodes_[root_];
    for (size_t mode = 0;; ++mode) {
      const uint64_t digit = unit / inner_units_[mode] % extents_[mode];
      const Branch* const first = branches_.data() + node->first_branch;
      const Branch* const branch =
          std::upper_bound(first, first + node->branch_count, digit,
                           [](uint64_t value, const Branch& candidate) { return value < candidate.end; });
      index = branch->target;
      if (branch->is_piece) break;
      node = &nodes_[branch->target];
    }
  }
  const StripPiece& piece = pieces_[index];
  const PieceFacts& facts = facts_[index];
  uint64_t position = piece.position_bytes;
  uint64_t rest = unit;
  for (size_t mode = 0; mode < extents_.size(); ++mode) {
    const PieceMode& m = piece.modes[mode];
    const uint64_t digit = rest / inner_units_[mode];
    rest %= inner_units_[mode];
    position += (digit - m.begin) * static_cast<uint64_t>(m.stride_bytes);
  }
  if (!facts.has_runs) return {piece.file, position, 1};
  const uint64_t inner = inner_units_[facts.run_mode];
  const uint64_t digit = unit / inner % extents_[facts.run_mode];
  return {piece.file, position, (piece.modes[facts.run_mode].end() - digit) * inner - unit % inner};
}

bool Strip::is_constant() const {
  return pieces_.size() == 1 &&
         std::ranges::all_of(pieces_[0].modes, [](const PieceMode& mode) { return mode.stride_bytes == 0; });
}

ByteRange Strip::SpanBytes(const StripPiece& piece, uint32_t unit_bytes) {
  uint64_t begin = piece.position_bytes, end = piece.position_bytes + unit_bytes;
  for (const PieceMode& mode : piece.modes) {
    const uint64_t reach = (mode.extent - 1) * static_cast<uint64_t>(mode.stride_bytes);
    (mode.stride_bytes < 0 ? begin : end) += reach;
  }
  return {begin, end};
}

namespace {

StripPiece Located(const Piece& piece) {
  const RandomAccessFile::Location location = piece.storage->location();
  if (location.file == nullptr) return {piece.storage.get(), piece.position_bytes, piece.modes};
  return {location.file, location.offset_bytes + piece.position_bytes, piece.modes};
}

/// Cuts along `mode` and on inside single digits; appends the strips in order.
Status Cut(uint32_t unit_bytes, std::span<const uint64_t> extents, std::vector<StripPiece> pieces,
           std::vector<Strip>& strips) {
  if (pieces.size() == 1 || extents.empty()) {
    WEIGHTFS_TRY(Strip strip, Strip::Make(unit_bytes, {extents.begin(), extents.end()}, std::move(pieces)));
    strips.push_back(std::move(strip));
    return {};
  }
  const std::vector<uint64_t> cuts =
      Cuts(pieces, extents[0], [](const StripPiece& piece) -> const PieceMode& { return piece.modes[0]; });
  for (size_t i = 0; i + 1 < cuts.size(); ++i) {
    const uint64_t begin = cuts[i], count = cuts[i + 1] - begin;
    std::vector<StripPiece> inside;
    for (const StripPiece& piece : pieces) {
      const PieceMode& m = piece.modes[0];
      if (m.begin > begin || m.end() < begin + count) continue;
      StripPiece part = piece;
      part.position_bytes += (begin - m.begin) * static_cast<uint64_t>(m.stride_bytes);
      part.modes[0] = {0, count, count == 1 ? 0 : m.stride_bytes};
      if (count == 1) part.modes.erase(part.modes.begin());
      inside.push_back(std::move(part));
    }
    if (strips.size() > kBranchesMax) return Fail(ErrorCode::kLimitExceeded, "a view of too many strips");
    if (count == 1) {
      WEIGHTFS_CHECK(Cut(unit_bytes, extents.subspan(1), std::move(inside), strips));
      continue;
    }
    std::vector<uint64_t> strip_extents(extents.begin(), extents.end());
    strip_extents[0] = count;
    WEIGHTFS_TRY(Strip strip, Strip::Make(unit_bytes, std::move(strip_extents), std::move(inside)));
    strips.push_back(std::move(strip));
  }
  return {};
}

}  // namespace

Result<std::vector<Strip>> CutIntoStrips(const PieceMap& map) {
  std::vector<StripPiece> pieces;
  for (const Piece& piece : map.pieces()) pieces.push_back(Located(piece));
  std::vector<Strip> strips;
  WEIGHTFS_CHECK(Cut(map.unit_bytes(), map.extents(), std::move(pieces), strips));
  return strips;
}

}  // namespace weightfs
