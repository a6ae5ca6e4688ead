/// \file
/// From located JSON to the parts of a table. Each reader checks what it reads; messages have file, line and
/// key.
/// \error kInvalidArgument  from all of them: another type, an unknown key, a text that does not parse
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "convert/family/located_json.h"
#include "convert/family/table.h"

namespace weightfs::family {

/// Reads nodes of one document, which outlives this.
class SchemaReader {
 public:
  explicit SchemaReader(const LocatedJson& document) : document_(document) {}

  const LocatedJson& document() const { return document_; }
  Place At(const JsonNode& node) const { return document_.PlaceOf(node); }

  Result<std::string> Text(const JsonNode& node) const;
  Result<bool> Boolean(const JsonNode& node) const;
  Result<double> Number(const JsonNode& node) const;
  /// Null, true, false, a number or text.
  Result<Value> Scalar(const JsonNode& node) const;
  /// A name of expressions: letters, digits, `_`.
  Status CheckName(const JsonNode& node, std::string_view name) const;

  /// An expression in text; integers stand for themselves.
  Result<PlacedExpression> ReadExpression(const JsonNode& node) const;
  Result<PlacedExpression> ReadTemplate(const JsonNode& node, bool is_pattern = false) const;
  Result<PlacedPattern> ReadPattern(const JsonNode& node) const;
  /// An expression, or `{"that": ..., "why": ...}`.
  Result<Condition> ReadCondition(const JsonNode& node) const;
  Result<std::vector<Indices>> ReadIndices(const JsonNode& node) const;
  Result<LinePtr> ReadLine(const JsonNode& node) const;
  Result<ConfigValuePtr> ReadConfigValue(const JsonNode& node) const;
  Result<std::vector<MetadataPlace>> ReadMetadataRoot(const JsonNode& node) const;
  Result<Option> ReadOption(const JsonNode& node) const;
  Result<Rewrite> ReadRewrite(const JsonNode& node) const;
  Result<std::string> ReadWeightsName(const JsonNode& node) const;
  Result<Note> ReadNote(const JsonNode& node) const;
  /// A path below the folder of a view: names with / between them, none of which begins with a dot.
  Status CheckPath(const JsonNode& node, std::string_view path, bool may_have_folders) const;
  Result<Pipeline> ReadPipeline(const JsonNode& node) const;

 private:
  Status ReadPipelineMember(std::string_view key, const JsonNode& member, Pipeline& pipeline) const;
  Result<Indices> ReadIndexGroup(const JsonNode& node) const;
  Result<RearrangementLine> ReadRearrangement(const JsonNode& node) const;
  Result<SourceTerm> ReadSourceTerm(const JsonNode& node) const;
  Status ReadSources(const JsonNode& from, const JsonNode* join, RearrangementLine& line) const;
  Status CheckJoined(const JsonNode& node, const RearrangementLine& line) const;
  Result<std::vector<Step>> ReadSteps(const JsonNode& node, const JsonNode* at) const;
  Result<Step> ReadStep(const JsonNode& text, const JsonNode* at, bool is_first) const;
  Result<AxisIndices> ReadAxisIndices(const JsonNode& node) const;
  Result<FillLine> ReadFill(const JsonNode& node) const;
  Result<DropLine> ReadDrop(const JsonNode& node) const;
  Result<KeepLine> ReadKeep(const JsonNode& node) const;
  Result<std::vector<LocalSize>> ReadSizes(const JsonNode& node) const;
  Result<std::vector<Expression>> ReadRange(const JsonNode& node) const;

  const LocatedJson& document_;
};

}  // namespace weightfs::family
