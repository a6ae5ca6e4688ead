#include "convert/source/safetensors/reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "convert/base/json.h"
#include "convert/source/safetensors/header_parser.h"

namespace weightfs {
namespace {

constexpr uint64_t kLengthBytes = 8;

/// Bytes of `count` elements; nothing when the bits overflow 64 bits or do not fill whole bytes.
struct TensorSize {
  std::optional<uint64_t> bits;
  bool whole_bytes() const { return *bits % 8 == 0; }
  uint64_t bytes() const { return *bits / 8; }
};

TensorSize SizeOf(std::span<const uint64_t> extents, DType dtype) {
  const auto elements = CheckedProduct(extents);
  if (!elements) return {};
  return {CheckedMultiply(*elements, BitWidth(dtype))};
}

std::unexpected<Error> Corrupt(const SafetensorsEntry& entry, std::string_view file, std::string_view what) {
  return Fail(ErrorCode::kCorrupt, fmt::format("{}: tensor {}: {}", file, JsonString(entry.name), what));
}

/// Writers emit entries in file order: sorting, and its buffer, are the exception.
void SortByOffsets(SafetensorsHeader& header) {
  const auto before = [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  };
  if (!std::is_sorted(header.entries.begin(), header.entries.end(), before))
    std::stable_sort(header.entries.begin(), header.entries.end(), before);
}

/// Tensors must follow each other without holes or overlaps, from the first to the last byte of the data.
Status CheckOffsets(const SafetensorsHeader& header, uint64_t data_bytes, std::string_view file) {
  uint64_t previous_end = 0;
  for (const SafetensorsEntry& entry : header.entries) {
    if (entry.begin != previous_end || entry.end < entry.begin)
      return Corrupt(
          entry, file,
          fmt::format("data_offsets [{}, {}]; expected them to begin at {}, where the tensor before ends",
                      entry.begin, entry.end, previous_end));
    previous_end = entry.end;
    const TensorSize size = SizeOf(header.Extents(entry), entry.dtype);
    const auto shape = [&] { return fmt::format("[{}]", fmt::join(header.Extents(entry), ", ")); };
    if (!size.bits)
      return Corrupt(entry, file,
                     fmt::format("shape {} is too large; expected bits that fit 64 bits", shape()));
    if (!size.whole_bytes())
      return Corrupt(entry, file,
                     fmt::format("shape {} of {} is {} bits; expected whole bytes", shape(),
                                 SafetensorsName(entry.dtype), *size.bits));
    if (entry.end - entry.begin != size.bytes())
      return Corrupt(entry, file,
                     fmt::format("{} bytes of data; expected {} for shape {} of {}", entry.end - entry.begin,
                                 size.bytes(), shape(), SafetensorsName(entry.dtype)));
  }
  if (previous_end == data_bytes) return {};
  return Fail(ErrorCode::kCorrupt,
              fmt::format("{}: {} bytes of tensor data; expected {}, where the last tensor ends", file,
                          data_bytes, previous_end),
              previous_end > data_bytes ? "the file is incomplete: copy or download it again" : "");
}

Result<TensorView> MakeView(const FilePtr& file, const SafetensorsHeader& header,
                            const SafetensorsEntry& entry, uint64_t data_offset_bytes) {
  const uint32_t bits = BitWidth(entry.dtype);
  const uint32_t unit_bytes = bits < 8 ? 1 : bits / 8;
  WEIGHTFS_TRY(Layout layout, Layout::Contiguous((entry.end - entry.begin) / unit_bytes, unit_bytes,
                                                 data_offset_bytes + entry.begin));
  const std::span<const uint64_t> extents = header.Extents(entry);
  auto view = TensorView::Make(file, std::move(layout), entry.dtype, Shape(extents.begin(), extents.end()));
  if (!view)
    return std::unexpected(view.error().Within(fmt::format("{}: tensor {}", file->name(), entry.name)));
  return view;
}

Result<SafetensorsHeader> ReadHeader(const RandomAccessFile& file, ByteRange range, const Limits& limits) {
  std::string text(range.size(), '\0');
  WEIGHTFS_CHECK(file.ReadAt(range.begin, std::as_writable_bytes(std::span(text))));
  WEIGHTFS_TRY(SafetensorsHeader header, ParseSafetensorsHeader(text, file.name(), limits));
  return header;
}

/// Uses the header up, so that it and what is made of it are never both whole in memory.
Result<Checkpoint> BuildCheckpoint(const FilePtr& file, SafetensorsHeader header,
                                   uint64_t data_offset_bytes) {
  Checkpoint checkpoint;
  checkpoint.format = "safetensors";
  checkpoint.metadata_bytes = data_offset_bytes;
  checkpoint.metadata = std::move(header.metadata);
  if (!checkpoint.metadata.empty())
    checkpoint.values =
        std::make_shared<const nlohmann::json>(nlohmann::json{{"__metadata__", checkpoint.metadata}});
  checkpoint.tensors.reserve(header.entries.size());
  for (; !header.entries.empty(); header.entries.pop_front()) {
    SafetensorsEntry& entry = header.entries.front();
    WEIGHTFS_TRY(TensorView view, MakeView(file, header, entry, data_offset_bytes));
    checkpoint.tensors.push_back(
        {.name = std::move(entry.name), .view = std::move(view), .storage = {}, .file = file->name()});
  }
  return checkpoint;
}

}  // namespace

Result<ByteRange> SafetensorsHeaderRange(const RandomAccessFile& file, const Limits& limits) {
  if (file.size_bytes() < kLengthBytes)
    return Fail(ErrorCode::kCorrupt,
                fmt::format("{}: {} bytes; expected at least the 8 bytes of the header's length", file.name(),
                            file.size_bytes()));
  std::array<std::byte, kLengthBytes> bytes;
  WEIGHTFS_CHECK(file.ReadAt(0, bytes));
  const auto length_bytes = LoadLittleEndian<uint64_t>(bytes.data());
  if (length_bytes > limits.emitted_header_bytes_max)
    return Fail(ErrorCode::kLimitExceeded,
                fmt::format("{}: a header of {} bytes; expected at most {}", file.name(), length_bytes,
                            limits.emitted_header_bytes_max));
  const auto range = CheckedRange(kLengthBytes, length_bytes, file.size_bytes());
  if (!range)
    return Fail(ErrorCode::kCorrupt,
                fmt::format("{}: a header of {} bytes; expected one that fits the file of {} bytes",
                            file.name(), length_bytes, file.size_bytes()),
                "the file is incomplete: copy or download it again");
  return *range;
}

Result<Checkpoint> ReadSafetensors(const FilePtr& file, const SourceContext& context) {
  WEIGHTFS_TRY(const ByteRange range, SafetensorsHeaderRange(*file, context.limits));
  WEIGHTFS_TRY(SafetensorsHeader header, ReadHeader(*file, range, context.limits));
  SortByOffsets(header);
  WEIGHTFS_CHECK(CheckOffsets(header, file->size_bytes() - range.end, file->name()));
  WEIGHTFS_TRY(Checkpoint checkpoint, BuildCheckpoint(file, std::move(header), range.end));
  WEIGHTFS_CHECK(CheckTensorNames(checkpoint, file->name(), context.limits));
  return checkpoint;
}

}  // namespace weightfs
