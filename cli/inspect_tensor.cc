#include "cli/inspect_tensor.h"

#include <fmt/format.h>

#include <iterator>

#include "cli/sizes.h"
#include "cli/terminal.h"

namespace weightfs::cli {
namespace {

std::string RangeText(uint64_t begin, uint64_t end) {
  return fmt::format("bytes {} to {}", FormatCount(begin), FormatCount(end));
}

std::string SourceText(const TensorOrigin& source) {
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

double ReadAmplification(const TensorView& view) {
  const uint64_t needed_bytes = view.stored_size_bytes();
  if (needed_bytes == 0) return 1;
  return static_cast<double>(view.layout().span_bytes().size()) / static_cast<double>(needed_bytes);
}

std::string TensorText(const TensorReport& tensor) {
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
  add("layout", LayoutText(view.layout()));
  const std::vector<std::string> operations = view.Operations();
  if (operations.empty()) add("operations", "none: the bytes as stored");
  for (size_t i = 0; i < operations.size(); ++i) add(i == 0 ? "operations" : "", operations[i]);
  add("reads",
      fmt::format("{:.2f} source bytes for each stored byte, read in order", ReadAmplification(view)));
  return text;
}

}  // namespace weightfs::cli
