// The JSON forms of a report. Written directly, entry by entry: a document of 100,000 tensors would cost
// several times its text.
#include <fmt/format.h>

#include <iterator>
#include <string>

#include "convert/base/json.h"
#include "convert/convert.h"
#include "convert/placed_piece.h"
#include "convert/version.h"

namespace weightfs {
namespace {

/// Builds one JSON text: objects and arrays with commas put where they belong.
class JsonWriter {
 public:
  void Open(char bracket) { Separate(), text_ += bracket, first_ = true; }
  void Close(char bracket) { text_ += bracket, first_ = false; }
  void Key(std::string_view key) {
    Separate();
    AppendJsonString(key, text_);
    text_ += ':';
    first_ = true;
  }
  void String(std::string_view value) { Separate(), AppendJsonString(value, text_); }
  void Number(uint64_t value) { Separate(), fmt::format_to(std::back_inserter(text_), "{}", value); }
  void Signed(int64_t value) { Separate(), fmt::format_to(std::back_inserter(text_), "{}", value); }
  void Bool(bool value) { Separate(), text_ += value ? "true" : "false"; }
  void NewLine() { Separate(), text_ += '\n', first_ = true; }

  void Field(std::string_view key, std::string_view value) { Key(key), String(value); }
  void Field(std::string_view key, uint64_t value) { Key(key), Number(value); }
  void Flag(std::string_view key, bool value) { Key(key), Bool(value); }
  void Strings(std::string_view key, const std::vector<std::string>& values) {
    List(key, values, [this](const std::string& value) { String(value); });
  }
  /// An array under `key`; `write(item)` writes each of its values.
  template <typename Items, typename Write>
  void List(std::string_view key, const Items& items, const Write& write) {
    Key(key);
    Open('[');
    for (const auto& item : items) write(item);
    Close(']');
  }
  std::string Take() && { return std::move(text_); }

 private:
  void Separate() {
    if (!first_) text_ += ',';
    first_ = false;
  }
  std::string text_;
  bool first_ = true;
};

void WriteRange(JsonWriter& json, std::string_view key, ByteRange range) {
  json.Key(key);
  json.Open('[');
  json.Number(range.begin);
  json.Number(range.end);
  json.Close(']');
}

void WriteSet(JsonWriter& json, const WeightSetReport& set) {
  json.Open('{');
  json.Field("folder", set.folder);
  json.Field("format", set.format);
  json.Strings("files", set.files);
  json.Strings("source_files", set.source_files);
  json.Field("rank_count", set.rank_count);
  json.Field("family", set.family.empty() ? std::string_view("none") : set.family);
  json.Flag("passed_through", set.passed_through);
  json.Field("tensor_count", set.tensor_count);
  json.Field("tensor_bytes", set.tensor_bytes);
  json.Field("alias_bytes", set.alias_bytes);
  json.List("candidates", set.candidates, [&](const MappingCandidate& candidate) {
    json.Open('{');
    json.Field("path", candidate.path);
    json.Field("tensor_count", candidate.tensor_count);
    json.Field("size_bytes", candidate.size_bytes);
    json.Flag("chosen", candidate.chosen);
    json.Close('}');
  });
  json.List("left_out", set.left_out, [&](const LeftOut& left_out) {
    json.Open('{');
    json.Field("path", left_out.path);
    json.Field("reason", left_out.reason);
    json.Close('}');
  });
  json.Key("metadata");
  json.Open('{');
  for (const auto& [key, value] : set.metadata) json.Field(key, value);
  json.Close('}');
  json.Close('}');
}

/// Where the bytes of a source tensor lie, when they are one layout over one storage.
void WriteOrigin(JsonWriter& json, const TensorView& view) {
  if (view.pieces() != nullptr) return;
  const RandomAccessFile::Location location = view.storage()->location();
  const ByteRange span = view.layout().span_bytes();
  // Bytes of a compressed member or file have no place on disk: the range is within the storage then.
  json.Flag("on_disk", location.file != nullptr);
  WriteRange(json, "byte_range", {location.offset_bytes + span.begin, location.offset_bytes + span.end});
  if (view.layout().contiguous()) return;
  json.List("modes", view.layout().modes(), [&](const Mode& mode) {
    json.Open('[');
    json.Number(mode.extent);
    json.Number(mode.stride_bytes);
    json.Close(']');
  });
}

/// Pieces of one tensor that are written out; `piece_count` counts them all.
constexpr size_t kPiecesWrittenMax = 256;

void WritePiece(JsonWriter& json, size_t term, const PlacedPiece& piece) {
  json.Open('{');
  json.Field("term", term);
  json.Field("storage", piece.storage);
  json.Flag("on_disk", piece.is_on_disk);
  WriteRange(json, "byte_range", piece.byte_range);
  json.List("modes", piece.modes, [&](const PieceMode& mode) {
    json.Open('[');
    json.Number(mode.begin);
    json.Number(mode.extent);
    json.Signed(mode.stride_bytes);
    json.Close(']');
  });
  json.Close('}');
}

/// What feeds a tensor that is not just a tensor of the source as it is stored in one place.
void WritePieces(JsonWriter& json, const TensorReport& tensor) {
  if (tensor.view.element_count() == 0) return;
  if (tensor.view.pieces() == nullptr && ServesSourceWhole(tensor)) return;
  const std::vector<PieceMap> terms = tensor.view.Terms();
  uint64_t count = 0;
  for (const PieceMap& term : terms) count += term.pieces().size();
  json.Field("piece_count", count);
  json.Key("pieces");
  json.Open('[');
  size_t written = 0;
  for (size_t term = 0; term < terms.size(); ++term)
    for (const Piece& piece : terms[term].pieces())
      if (written++ < kPiecesWrittenMax) WritePiece(json, term, Place(piece, terms[term].unit_bytes()));
  json.Close(']');
}

void WriteTensor(JsonWriter& json, const TensorReport& tensor, bool with_ranges) {
  const TensorView& view = tensor.view;
  json.Open('{');
  json.Field("name", tensor.name);
  json.List("shape", view.shape(), [&](uint64_t extent) { json.Number(extent); });
  json.Key("dtype");
  json.Open('{');
  json.Field("from", SafetensorsName(view.stored_dtype()));
  json.Field("to", SafetensorsName(view.dtype()));
  json.Close('}');
  json.Field("size_bytes", view.size_bytes());
  json.Field("file", tensor.file);
  if (with_ranges)
    WriteRange(json, "file_range", {tensor.file_offset_bytes, tensor.file_offset_bytes + view.size_bytes()});
  json.Strings("operations", view.Operations());
  json.Flag("alias", tensor.is_alias);
  if (!tensor.rule.empty()) json.Field("rule", tensor.rule);
  json.List("sources", tensor.sources, [&](const TensorOrigin& source) {
    json.Open('{');
    json.Field("name", source.name);
    json.Field("file", source.file);
    json.Field("storage", source.storage);
    if (with_ranges) WriteOrigin(json, source.view);
    json.Close('}');
  });
  if (with_ranges) WritePieces(json, tensor);
  json.Close('}');
}

void WritePairs(JsonWriter& json, std::string_view key, std::string_view second,
                const std::vector<std::pair<std::string, std::string>>& pairs) {
  json.List(key, pairs, [&](const auto& pair) {
    const auto& [path, value] = pair;
    json.Open('{');
    json.Field("path", path);
    json.Field(second, value);
    json.Close('}');
  });
}

std::string ReportJson(const Report& report, bool with_ranges) {
  JsonWriter json;
  json.Open('{');
  json.Field("schema", 1);
  json.Field("weightfs", kVersion);
  json.Field("source", report.source);
  json.Field("family", report.family);
  json.Strings("family_evidence", report.family_evidence);
  json.Field("dtype", report.dtype);
  json.Strings("notes", report.notes);
  json.Field("metadata_bytes", report.metadata_bytes);
  json.List("sets", report.sets, [&](const WeightSetReport& set) { WriteSet(json, set); });
  json.List("tensors", report.tensors, [&](const TensorReport& tensor) {
    json.NewLine();
    WriteTensor(json, tensor, with_ranges);
  });
  json.List("dropped", report.dropped, [&](const DroppedTensor& dropped) {
    json.Open('{');
    json.Field("name", dropped.name);
    json.Field("file", dropped.file);
    json.Field("rule", dropped.rule);
    json.Close('}');
  });
  WritePairs(json, "passed_through", "origin", report.passed_through);
  WritePairs(json, "hidden", "reason", report.hidden);
  json.Close('}');
  std::string text = std::move(json).Take();
  text += '\n';
  return text;
}

}  // namespace

std::string InspectJson(const Report& report) { return ReportJson(report, false); }
std::string ManifestJson(const Report& report) { return ReportJson(report, true); }

}  // namespace weightfs
