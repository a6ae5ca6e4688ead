#include "cli/inspect_tensor.h"

#include <fmt/format.h>

#include <iterator>

#include "cli/sizes.h"
#include "cli/terminal.h"
#include "convert/placed_piece.h"
#include "convert/view/amplification.h"

namespace weightfs::cli {
namespace {

std::string RangeText(uint64_t begin, uint64_t end) {
  return fmt::format("bytes {} to {}", FormatCount(begin), FormatCount(end));
}

std::string SourceText(const TensorOrigin& source) {
  if (source.view.pieces() != nullptr)
    return fmt::format("{}, {}", source.file, ShapeText(source.view.shape()));
  const RandomAccessFile::Location location = source.view.storage()->location();
  const ByteRange span = source.view.layout().span_bytes();
  std::string text = source.file;
  if (!source.storage.empty()) text += fmt::format(", storage {}", source.storage);
  if (location.file != nullptr)
    return text + ", " + RangeText(location.offset_bytes + span.begin, location.offset_bytes + span.end);
  return text + fmt::format(", {} of it once decompressed", RangeText(span.begin, span.end));
}

std::string LayoutText(const Layout& layout) {
  if (layout.contiguous()) return "packed, in order";
  std::string text = "strided:";
  for (const Mode& mode : layout.modes())
    fmt::format_to(std::back_inserter(text), " {} at every {} B,", FormatCount(mode.extent),
                   FormatCount(mode.stride_bytes));
  text.pop_back();
  return text;
}

/// Pieces that text shows; --json has more.
constexpr size_t kPiecesShownMax = 12;

/// "indices [0 to 8, 4 to 8] from model.pth, bytes 0 to 64, steps of 16 and 2 B"
std::string PieceText(const Piece& piece, uint32_t unit_bytes) {
  const PlacedPiece placed = Place(piece, unit_bytes);
  std::string digits, steps;
  for (const PieceMode& mode : placed.modes) {
    fmt::format_to(std::back_inserter(digits), "{}{} to {}", digits.empty() ? "" : ", ", mode.begin,
                   mode.end());
    fmt::format_to(std::back_inserter(steps), "{}{}", steps.empty() ? "" : ", ", mode.stride_bytes);
  }
  return fmt::format("[{}] of {}, {}, {} B apart", digits, placed.storage,
                     RangeText(placed.byte_range.begin, placed.byte_range.end), steps.empty() ? "0" : steps);
}

/// What feeds the tensor: lines for `add(label, line)`.
template <typename Add>
void AddLayout(const TensorReport& tensor, const Add& add) {
  const TensorView& view = tensor.view;
  if (view.element_count() == 0) return add("layout", "no elements");
  if (view.pieces() == nullptr && ServesSourceWhole(tensor)) return add("layout", LayoutText(view.layout()));
  if (view.pieces() == nullptr && view.layout().contiguous() && view.storage()->location().file != nullptr) {
    const RandomAccessFile::Location location = view.storage()->location();
    const ByteRange span = view.layout().span_bytes();
    return add("layout",
               fmt::format("packed, {} of {}",
                           RangeText(location.offset_bytes + span.begin, location.offset_bytes + span.end),
                           location.file->name()));
  }
  const std::vector<PieceMap> terms = view.Terms();
  size_t count = 0, shown = 0;
  for (const PieceMap& term : terms) count += term.pieces().size();
  for (const PieceMap& term : terms) {
    std::string extents;
    for (const uint64_t extent : term.extents())
      fmt::format_to(std::back_inserter(extents), "{}{}", extents.empty() ? "" : " x ", extent);
    add("layout", fmt::format("pieces of {} elements", extents.empty() ? "1" : extents));
    for (const Piece& piece : term.pieces())
      if (shown++ < kPiecesShownMax) add("", PieceText(piece, term.unit_bytes()));
  }
  if (count > kPiecesShownMax)
    add("", fmt::format("... and {} more; --json lists them", FormatCount(count - kPiecesShownMax)));
}

/// "1.00 source bytes for each stored byte, read in order"
std::string ReadsText(const TensorView& view, uint64_t cache_bytes) {
  const Result<double> amplification = ReadAmplification(view, cache_bytes);
  if (!amplification) return amplification.error().message;
  if (view.element_count() > 0 && *amplification == 0) return "nothing: the elements are a constant";
  return fmt::format("{:.2f} source bytes for each stored byte, read in order", *amplification);
}

}  // namespace

std::string TypeText(const TensorView& view) {
  if (view.stored_dtype() == view.dtype()) return std::string(SafetensorsName(view.dtype()));
  return fmt::format("{}→{}", SafetensorsName(view.stored_dtype()), SafetensorsName(view.dtype()));
}

std::string ShapeText(const Shape& shape) {
  std::string text = "[";
  for (const uint64_t extent : shape)
    fmt::format_to(std::back_inserter(text), "{}{}", text.size() > 1 ? ", " : "", extent);
  return text + "]";
}

std::string TensorText(const TensorReport& tensor, uint64_t cache_bytes) {
  const TensorView& view = tensor.view;
  std::string text;
  const auto add = [&](std::string_view label, std::string_view line) {
    fmt::format_to(std::back_inserter(text), "{:<12}{}\n", label, Printable(line));
  };
  add("tensor", tensor.name);
  add("dtype", TypeText(view));
  add("shape", ShapeText(view.shape()));
  add("size", fmt::format("{} ({} bytes)", FormatSize(view.size_bytes()), FormatCount(view.size_bytes())));
  add("served in",
      fmt::format("{}, {}", tensor.file,
                  RangeText(tensor.file_offset_bytes, tensor.file_offset_bytes + view.size_bytes())));
  if (tensor.is_alias) add("", "serves the same stored elements as an earlier tensor");
  for (const TensorOrigin& source : tensor.sources) {
    if (source.name != tensor.name) add("called", fmt::format("{} in the source", source.name));
    add("source", SourceText(source));
  }
  if (!tensor.rule.empty()) add("rule", tensor.rule);
  AddLayout(tensor, add);
  const std::vector<std::string> operations = view.Operations();
  if (operations.empty()) add("operations", "none: the bytes as stored");
  for (size_t i = 0; i < operations.size(); ++i) add(i == 0 ? "operations" : "", operations[i]);
  add("reads", ReadsText(view, cache_bytes));
  return text;
}

}  // namespace weightfs::cli
