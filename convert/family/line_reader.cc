// SchemaReader: the lines of a table.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "convert/family/pattern.h"
#include "convert/family/schema_reader.h"

namespace weightfs::family {
namespace {

using Kind = JsonNode::Kind;

}  // namespace

Result<AxisIndices> SchemaReader::ReadAxisIndices(const JsonNode& node) const {
  AxisIndices indices;
  if (!node.Is(Kind::kArray)) {
    WEIGHTFS_TRY(indices.values, ReadRange(node));
    indices.kind = indices.values.size() == 1 ? AxisIndices::Kind::kOne : AxisIndices::Kind::kRange;
    return indices;
  }
  constexpr size_t kIndicesMax = 4096;
  indices.kind = AxisIndices::Kind::kSome;
  if (node.items.empty() || node.items.size() > kIndicesMax)
    return At(node).Fail(fmt::format("{} indices; expected 1 to {}", node.items.size(), kIndicesMax));
  for (const JsonNode* item : node.items) {
    WEIGHTFS_TRY(PlacedExpression index, ReadExpression(*item));
    indices.values.push_back(std::move(index.expression));
  }
  return indices;
}

Result<Step> SchemaReader::ReadStep(const JsonNode& text, const JsonNode* at, bool is_first) const {
  WEIGHTFS_TRY(const std::string notation, Text(text));
  auto arrangement = ParseArrangement(notation);
  if (!arrangement) return At(text).Fail(arrangement.error().message);
  Step step{*std::move(arrangement), {}};
  if (at != nullptr) {
    WEIGHTFS_CHECK(document_.Expect(*at, Kind::kObject));
    for (const JsonNode* item : at->items) {
      WEIGHTFS_TRY(step.at[item->key], ReadAxisIndices(*item));
    }
  }
  if (const Status finished = FinishStep(step, is_first); !finished)
    return At(text).Fail(finished.error().message);
  return step;
}

Result<std::vector<Step>> SchemaReader::ReadSteps(const JsonNode& node, const JsonNode* at) const {
  constexpr size_t kStepsMax = 8;
  std::vector<Step> steps;
  if (!node.Is(Kind::kArray)) {
    WEIGHTFS_TRY(steps.emplace_back(), ReadStep(node, at, true));
    return steps;
  }
  if (at != nullptr) return At(*at).Fail("beside a list of steps; expected at beside the do of its step");
  if (node.items.empty() || node.items.size() > kStepsMax)
    return At(node).Fail(fmt::format("{} steps; expected 1 to {}", node.items.size(), kStepsMax));
  for (const JsonNode* item : node.items) {
    if (!item->Is(Kind::kObject)) {
      WEIGHTFS_TRY(steps.emplace_back(), ReadStep(*item, nullptr, steps.empty()));
      continue;
    }
    WEIGHTFS_CHECK(document_.ExpectKeys(*item, {"do", "at"}));
    const JsonNode* text = item->Find("do");
    if (text == nullptr) return At(*item).Fail("no key do; expected the rearrangement there");
    WEIGHTFS_TRY(steps.emplace_back(), ReadStep(*text, item->Find("at"), steps.empty()));
  }
  return steps;
}

Result<std::vector<LocalSize>> SchemaReader::ReadSizes(const JsonNode& node) const {
  WEIGHTFS_CHECK(document_.Expect(node, Kind::kObject));
  std::vector<LocalSize> sizes;
  for (const JsonNode* item : node.items) {
    WEIGHTFS_CHECK(CheckName(*item, item->key));
    LocalSize size;
    size.name = item->key;
    if (item->Is(Kind::kString) && item->text.contains('{')) {
      WEIGHTFS_TRY(size.text, ReadTemplate(*item));
    } else {
      WEIGHTFS_TRY(size.text, ReadExpression(*item));
      size.size = size.text.expression;
    }
    sizes.push_back(std::move(size));
  }
  return sizes;
}

Result<SourceTerm> SchemaReader::ReadSourceTerm(const JsonNode& node) const {
  SourceTerm term;
  if (!node.Is(Kind::kObject)) {
    WEIGHTFS_TRY(term.name, ReadTemplate(node));
    return term;
  }
  WEIGHTFS_CHECK(document_.ExpectKeys(node, {"from", "do", "at"}));
  const JsonNode* from = node.Find("from");
  const JsonNode* text = node.Find("do");
  const JsonNode* at = node.Find("at");
  if (from == nullptr || (text == nullptr && at != nullptr))
    return At(node).Fail("expected the keys from and do");
  WEIGHTFS_TRY(term.name, ReadTemplate(*from));
  if (text == nullptr) return term;
  WEIGHTFS_TRY(term.steps, ReadSteps(*text, at));
  return term;
}

Status SchemaReader::ReadSources(const JsonNode& from, const JsonNode* join, RearrangementLine& line) const {
  if (!from.Is(Kind::kArray)) {
    if (join != nullptr) return At(*join).Fail("join beside a single source; expected a list in from");
    line.from.emplace_back();
    WEIGHTFS_TRY(line.from.back().name, ReadTemplate(from));
    return {};
  }
  constexpr size_t kSourcesMax = 4096;
  if (from.items.empty() || from.items.size() > kSourcesMax)
    return At(from).Fail(fmt::format("{} sources; expected 1 to {}", from.items.size(), kSourcesMax));
  for (const JsonNode* item : from.items) {
    WEIGHTFS_TRY(line.from.emplace_back(), ReadSourceTerm(*item));
  }
  if (join == nullptr)
    return At(from).Fail("a list of sources without the key join; expected a dimension or \"stack\"");
  const bool is_axis = join->Is(Kind::kInteger) && join->integer >= 0 && join->integer < 64;
  if (!is_axis && !(join->Is(Kind::kString) && join->text == "stack"))
    return At(*join).Fail("expected a dimension, counted from 0, or \"stack\"");
  line.is_joined = true;
  if (is_axis) line.join_axis = static_cast<uint64_t>(join->integer);
  return {};
}

/// What is joined is taken whole, and marked where it is read.
Status SchemaReader::CheckJoined(const JsonNode& node, const RearrangementLine& line) const {
  if (!line.is_joined) return {};
  for (const Step& step : line.steps)
    if (!step.at.empty())
      return At(node).Fail(
          "at beside join",
          "Take what is wanted before it is joined: {\"from\": ..., \"do\": ..., \"at\": ...} in from.");
  const bool has_mark = line.steps[0].arrangement.join != PartsJoin::kReplicated;
  for (const SourceTerm& term : line.from)
    if (has_mark && !term.steps.empty())
      return At(node).Fail("marks in do, and sources with a do of their own; expected marks in those");
  return {};
}

Result<RearrangementLine> SchemaReader::ReadRearrangement(const JsonNode& node) const {
  WEIGHTFS_CHECK(document_.ExpectKeys(
      node, {"for", "to", "from", "join", "do", "at", "with", "when", "scale", "add", "trims"}));
  RearrangementLine line;
  const JsonNode* from = node.Find("from");
  const JsonNode* text = node.Find("do");
  if (node.Find("to") == nullptr || from == nullptr || text == nullptr)
    return At(node).Fail("expected the keys to, from and do",
                         "Or fill, drop or keep, for lines of another kind.");
  WEIGHTFS_CHECK(ReadSources(*from, node.Find("join"), line));
  WEIGHTFS_TRY(line.steps, ReadSteps(*text, node.Find("at")));
  WEIGHTFS_CHECK(CheckJoined(node, line));
  for (const Step& step : line.steps)
    line.text += (line.text.empty() ? "" : ", then ") + step.arrangement.text;
  if (const JsonNode* scale = node.Find("scale")) {
    WEIGHTFS_TRY(line.scale, Number(*scale));
  }
  if (const JsonNode* add = node.Find("add")) {
    WEIGHTFS_TRY(line.add, Number(*add));
  }
  if (const JsonNode* trims = node.Find("trims")) {
    WEIGHTFS_TRY(line.trims, Text(*trims));
    if (line.trims.empty()) return At(*trims).Fail("expected the reason why elements are left unread");
  }
  return line;
}

Result<FillLine> SchemaReader::ReadFill(const JsonNode& node) const {
  WEIGHTFS_CHECK(document_.ExpectKeys(node, {"for", "to", "fill", "shape", "dtype", "with", "when"}));
  const JsonNode* shape = node.Find("shape");
  const JsonNode* dtype = node.Find("dtype");
  if (node.Find("to") == nullptr || shape == nullptr || dtype == nullptr)
    return At(node).Fail("a fill; expected the keys to, fill, shape and dtype");
  FillLine line;
  WEIGHTFS_TRY(line.value, Number(*node.Find("fill")));
  WEIGHTFS_CHECK(document_.Expect(*shape, Kind::kArray));
  if (shape->items.size() > 64) return At(*shape).Fail("expected at most 64 dimensions");
  for (const JsonNode* item : shape->items) {
    WEIGHTFS_TRY(line.shape.emplace_back(), ReadExpression(*item));
  }
  WEIGHTFS_TRY(line.dtype, ReadExpression(*dtype));
  return line;
}

Result<DropLine> SchemaReader::ReadDrop(const JsonNode& node) const {
  WEIGHTFS_CHECK(document_.ExpectKeys(node, {"for", "drop", "why", "alias", "when"}));
  const JsonNode* why = node.Find("why");
  if (why == nullptr) return At(node).Fail("no key why; expected the reason of a drop there");
  DropLine line;
  WEIGHTFS_TRY(line.why, Text(*why));
  if (line.why.empty()) return At(*why).Fail("expected the reason of a drop");
  if (node.Find("for") != nullptr) {
    WEIGHTFS_TRY(line.templated, ReadTemplate(*node.Find("drop"), true));
  } else {
    WEIGHTFS_TRY(line.pattern, ReadPattern(*node.Find("drop")));
  }
  if (const JsonNode* alias = node.Find("alias")) {
    WEIGHTFS_TRY(line.alias, ReadTemplate(*alias));
  }
  return line;
}

Result<KeepLine> SchemaReader::ReadKeep(const JsonNode& node) const {
  WEIGHTFS_CHECK(document_.ExpectKeys(node, {"keep", "to", "when"}));
  KeepLine line;
  WEIGHTFS_TRY(line.pattern, ReadPattern(*node.Find("keep")));
  const JsonNode* to = node.Find("to");
  if (to == nullptr) return line;
  WEIGHTFS_TRY(line.to, Text(*to));
  std::string error;
  if (line.to.empty() || !line.pattern.pattern->CheckRewriteString(line.to, &error))
    return At(*to).Fail(error.empty() ? "expected the new name" : error);
  return line;
}

Result<LinePtr> SchemaReader::ReadLine(const JsonNode& node) const {
  WEIGHTFS_CHECK(document_.Expect(node, Kind::kObject));
  auto line = std::make_shared<Line>();
  line->place = At(node);
  if (node.Find("drop") != nullptr) {
    WEIGHTFS_TRY(line->kind, ReadDrop(node));
  } else if (node.Find("keep") != nullptr) {
    WEIGHTFS_TRY(line->kind, ReadKeep(node));
  } else if (node.Find("fill") != nullptr) {
    WEIGHTFS_TRY(line->kind, ReadFill(node));
  } else {
    WEIGHTFS_TRY(line->kind, ReadRearrangement(node));
  }
  const bool has_target =
      !std::holds_alternative<DropLine>(line->kind) && !std::holds_alternative<KeepLine>(line->kind);
  if (has_target) {
    WEIGHTFS_TRY(line->to, ReadTemplate(*node.Find("to")));
  }
  if (const JsonNode* indices = node.Find("for")) {
    WEIGHTFS_TRY(line->indices, ReadIndices(*indices));
  }
  if (const JsonNode* sizes = node.Find("with")) {
    WEIGHTFS_TRY(line->sizes, ReadSizes(*sizes));
  }
  if (const JsonNode* when = node.Find("when")) {
    WEIGHTFS_TRY(line->when, ReadExpression(*when));
  }
  return LinePtr(std::move(line));
}

}  // namespace weightfs::family
