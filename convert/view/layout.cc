#include "convert/view/layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace weightfs {
namespace {

using uint128_t = unsigned __int128;

bool HasNoUnits(std::span<const uint64_t> shape) {
  return std::any_of(shape.begin(), shape.end(), [](uint64_t extent) { return extent == 0; });
}

/// Position in units of the last unit, or nothing when it does not fit 64 bits. `shape` has no zero extent.
std::optional<uint64_t> LastUnit(std::span<const uint64_t> shape, std::span<const uint64_t> strides,
                                 uint64_t offset) {
  std::optional<uint64_t> last = offset;
  for (size_t i = 0; i < shape.size() && last; ++i) {
    const std::optional<uint64_t> reach = CheckedMultiply(shape[i] - 1, strides[i]);
    last = reach ? CheckedAdd(*last, *reach) : std::nullopt;
  }
  return last;
}

std::string Numbers(std::span<const uint64_t> shape, std::span<const uint64_t> strides, uint64_t offset,
                    uint32_t unit_bytes) {
  return fmt::format("shape [{}], strides [{}], offset {}, {} bytes each", fmt::join(shape, ", "),
                     fmt::join(strides, ", "), offset, unit_bytes);
}

/// Appends the next inner mode to the normal form in `modes`.
void AppendMode(std::vector<Mode>& modes, Mode mode) {
  if (mode.extent == 1) return;
  if (!modes.empty() && uint128_t{mode.extent} * mode.stride_bytes == modes.back().stride_bytes) {
    modes.back() = {modes.back().extent * mode.extent, mode.stride_bytes};
    return;
  }
  modes.push_back(mode);
}

}  // namespace

Result<Layout> Layout::Contiguous(uint64_t unit_count, uint32_t unit_bytes, uint64_t offset_bytes) {
  Layout layout;
  layout.unit_bytes_ = unit_bytes;
  if (unit_count == 0) return layout;
  const std::optional<uint64_t> size_bytes = CheckedMultiply(unit_count, unit_bytes);
  if (!size_bytes || !CheckedAdd(offset_bytes, *size_bytes))
    return Fail(ErrorCode::kCorrupt,
                fmt::format("{} elements of {} bytes from byte {} on end past 2^64 bytes", unit_count,
                            unit_bytes, offset_bytes));
  layout.unit_count_ = unit_count;
  layout.offset_bytes_ = offset_bytes;
  AppendMode(layout.modes_, {unit_count, unit_bytes});
  return layout;
}

Result<Layout> Layout::Strided(std::span<const uint64_t> shape, std::span<const uint64_t> strides,
                               uint64_t offset, uint32_t unit_bytes, uint64_t storage_bytes,
                               const Limits& limits) {
  if (shape.size() != strides.size())
    return Fail(ErrorCode::kCorrupt,
                fmt::format("a shape of rank {} with {} strides; expected as many strides", shape.size(),
                            strides.size()));
  if (shape.size() > limits.tensor_rank_max)
    return Fail(ErrorCode::kLimitExceeded, fmt::format("a tensor of rank {}; expected at most {}",
                                                       shape.size(), limits.tensor_rank_max));
  Layout layout;
  layout.unit_bytes_ = unit_bytes;
  if (HasNoUnits(shape)) return layout;

  const std::optional<uint64_t> last = LastUnit(shape, strides, offset);
  const uint64_t storage_units = storage_bytes / unit_bytes;
  if (!last || *last >= storage_units)
    return Fail(
        ErrorCode::kCorrupt,
        fmt::format(
            "{} reaches past its storage of {} bytes; the last element is number {}; expected below {}",
            Numbers(shape, strides, offset, unit_bytes), storage_bytes,
            last ? fmt::to_string(*last) : "2^64 or more", storage_units));
  const std::optional<uint64_t> unit_count = CheckedProduct(shape);
  const std::optional<uint64_t> size_bytes =
      unit_count ? CheckedMultiply(*unit_count, unit_bytes) : std::nullopt;
  // Only a tensor that repeats storage (stride 0, or windows that overlap) can be larger than it.
  const uint128_t served_max = std::max<uint128_t>(
      limits.repeated_tensor_bytes_max, uint128_t{storage_bytes} * limits.repeated_tensor_factor_max);
  if (!size_bytes || (*size_bytes > storage_bytes && *size_bytes > served_max))
    return Fail(
        ErrorCode::kLimitExceeded,
        fmt::format("{} repeats its storage of {} bytes beyond measure; expected at most {} bytes or {} "
                    "times the storage",
                    Numbers(shape, strides, offset, unit_bytes), storage_bytes,
                    limits.repeated_tensor_bytes_max, limits.repeated_tensor_factor_max));
  layout.unit_count_ = *unit_count;
  // None of these can overflow: every stride of an extent above 1 leads to a unit within the storage.
  layout.offset_bytes_ = offset * unit_bytes;
  for (size_t i = 0; i < shape.size(); ++i)
    if (shape[i] != 1) AppendMode(layout.modes_, {shape[i], strides[i] * unit_bytes});
  return layout;
}

Layout Layout::FromModes(std::span<const Mode> modes, uint32_t unit_bytes, uint64_t offset_bytes) {
  Layout layout;
  layout.unit_bytes_ = unit_bytes;
  layout.offset_bytes_ = offset_bytes;
  layout.unit_count_ = 1;
  for (const Mode& mode : modes) {
    layout.unit_count_ *= mode.extent;
    AppendMode(layout.modes_, mode);
  }
  return layout;
}

ByteRange Layout::span_bytes() const {
  if (unit_count_ == 0) return {};
  uint64_t end = offset_bytes_ + unit_bytes_;
  for (const Mode& mode : modes_) end += (mode.extent - 1) * mode.stride_bytes;
  return {offset_bytes_, end};
}

uint64_t Layout::run_units() const {
  return !modes_.empty() && modes_.back().stride_bytes == unit_bytes_ ? modes_.back().extent : 1;
}

uint64_t Layout::PositionBytes(uint64_t index) const {
  uint64_t position = offset_bytes_;
  for (size_t i = modes_.size(); i-- > 0;) {
    position += index % modes_[i].extent * modes_[i].stride_bytes;
    index /= modes_[i].extent;
  }
  return position;
}

bool operator==(const Layout& a, const Layout& b) {
  return a.unit_count_ == b.unit_count_ && a.unit_bytes_ == b.unit_bytes_ && a.modes_ == b.modes_ &&
         (a.unit_count_ == 0 || a.offset_bytes_ == b.offset_bytes_);
}

}  // namespace weightfs
