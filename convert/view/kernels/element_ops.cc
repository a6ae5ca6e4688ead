#include "convert/view/kernels/element_ops.h"

#include <algorithm>
#include <cstring>

#include "convert/view/kernels/arithmetic.h"

namespace weightfs {
namespace {

/// Calls `change` on each of `count` packed integers of type `Word`. Written so that compilers vectorize it.
template <typename Word, typename Change>
void ForEachWord(std::byte* words, size_t count, Change change) {
  for (size_t i = 0; i < count; ++i) {
    Word word;
    std::memcpy(&word, words + i * sizeof word, sizeof word);
    word = change(word);
    std::memcpy(words + i * sizeof word, &word, sizeof word);
  }
}

void SwapBytes(std::byte* elements, size_t size_bytes, uint32_t group_bytes) {
  switch (group_bytes) {
    case 2:
      return ForEachWord<uint16_t>(elements, size_bytes / 2, [](uint16_t w) { return __builtin_bswap16(w); });
    case 4:
      return ForEachWord<uint32_t>(elements, size_bytes / 4, [](uint32_t w) { return __builtin_bswap32(w); });
    case 8:
      return ForEachWord<uint64_t>(elements, size_bytes / 8, [](uint64_t w) { return __builtin_bswap64(w); });
    default:
      return;
  }
}

/// Flips the bits of `mask` in elements of `element_bytes`.
void FlipBits(std::byte* elements, size_t count, uint32_t element_bytes, uint64_t mask) {
  switch (element_bytes) {
    case 2:
      return ForEachWord<uint16_t>(elements, count,
                                   [mask](uint16_t w) { return static_cast<uint16_t>(w ^ mask); });
    case 4:
      return ForEachWord<uint32_t>(elements, count,
                                   [mask](uint32_t w) { return static_cast<uint32_t>(w ^ mask); });
    default:
      return ForEachWord<uint64_t>(elements, count, [mask](uint64_t w) { return w ^ mask; });
  }
}

/// The sign bits that `flip` changes in one element, as a little-endian word.
uint64_t SignMask(SignFlip flip, uint32_t element_bytes, bool complex) {
  constexpr uint64_t kRealSign = uint64_t{1} << 31, kTopSign = uint64_t{1} << 63;
  switch (flip) {
    case SignFlip::kNone:
      return 0;
    case SignFlip::kAll:
      return complex ? kRealSign | kTopSign : uint64_t{1} << (element_bytes * 8 - 1);
    case SignFlip::kImaginary:
      return kTopSign;
    case SignFlip::kReal:
      return kRealSign;
  }
  return 0;
}

}  // namespace

ElementPipeline::ElementPipeline(const TensorView& view)
    : arithmetic_(view.arithmetic()),
      served_dtype_(view.dtype()),
      cast_(view.dtype() == view.stored_dtype() ? nullptr
                                                : FindCastKernel(view.stored_dtype(), view.dtype())),
      ops_(view.ops()),
      stored_bytes_(static_cast<uint8_t>(UnitBytes(view.stored_dtype()))),
      served_bytes_(static_cast<uint8_t>(UnitBytes(view.dtype()))),
      complex_(view.stored_dtype() == DType::kC64) {}

void ElementPipeline::ApplyOps(std::byte* elements, size_t count) const {
  SwapBytes(elements, count * stored_bytes_, ops_.swap_bytes);
  if (ops_.sign_flip != SignFlip::kNone)
    FlipBits(elements, count, stored_bytes_, SignMask(ops_.sign_flip, stored_bytes_, complex_));
}

void ElementPipeline::RunWhole(const std::byte* source, std::byte* destination, size_t count) const {
  if (count == 0) return;
  RunStored(source, destination, count);
  if (arithmetic_.scale) ScaleElements(destination, count, served_dtype_, *arithmetic_.scale);
  if (arithmetic_.add) AddToElements(destination, count, served_dtype_, *arithmetic_.add);
}

/// All but the arithmetic.
void ElementPipeline::RunStored(const std::byte* source, std::byte* destination, size_t count) const {
  if (ops_ == ElementOps{} && cast_ != nullptr) {
    cast_(source, destination, count);
    return;
  }
  if (cast_ == nullptr) {
    std::memcpy(destination, source, count * stored_bytes_);
    ApplyOps(destination, count);
    return;
  }
  // The source may serve another view of the same elements, so it is changed in a copy, a block at a time.
  alignas(64) std::byte block[4096];
  const size_t block_count = sizeof block / stored_bytes_;
  for (size_t done = 0; done < count; done += block_count) {
    const size_t part = std::min(block_count, count - done);
    std::memcpy(block, source + done * stored_bytes_, part * stored_bytes_);
    ApplyOps(block, part);
    cast_(block, destination + done * served_bytes_, part);
  }
}

void ElementPipeline::Run(const std::byte* source, uint32_t skip_bytes,
                          std::span<std::byte> destination) const {
  if (is_copy()) {
    std::memcpy(destination.data(), source + skip_bytes, destination.size());
    return;
  }
  std::byte element[8];
  if (skip_bytes != 0) {
    RunWhole(source, element, 1);
    const size_t part = std::min<size_t>(served_bytes_ - skip_bytes, destination.size());
    std::memcpy(destination.data(), element + skip_bytes, part);
    destination = destination.subspan(part);
    source += stored_bytes_;
  }
  const size_t whole = destination.size() / served_bytes_;
  RunWhole(source, destination.data(), whole);
  const std::span<std::byte> tail = destination.subspan(whole * served_bytes_);
  if (tail.empty()) return;
  RunWhole(source + whole * stored_bytes_, element, 1);
  std::memcpy(tail.data(), element, tail.size());
}

}  // namespace weightfs
