// Tables for people: `weightfs families`.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "convert/family/table.h"

namespace weightfs {
namespace {

using namespace family;  // NOLINT(google-build-using-namespace): the file speaks of nothing else

std::string Plain(const Value& value) { return value.text() != nullptr ? *value.text() : value.Describe(); }

std::string IndicesText(const std::vector<Indices>& groups) {
  std::string text;
  for (const Indices& group : groups) {
    text += text.empty() ? "for " : ", ";
    for (size_t i = 0; i < group.names.size(); ++i) text += (i == 0 ? "" : " ") + group.names[i];
    text += group.range.size() == 2 ? " from " : " in ";
    if (group.range.size() == 1) text += "0:" + group.range[0].text();
    if (group.range.size() == 2) text += group.range[0].text() + ":" + group.range[1].text();
    for (size_t i = 0; i < group.tuples.size(); ++i) {
      text += i == 0 ? "" : " | ";
      for (size_t j = 0; j < group.tuples[i].size(); ++j)
        text += (j == 0 ? "" : " ") + Plain(group.tuples[i][j]);
    }
  }
  return text;
}

std::string AtText(const Step& step) {
  std::string text;
  for (const auto& [axis, indices] : step.at) {
    text += (text.empty() ? " at " : ", ") + axis + " ";
    for (size_t i = 0; i < indices.values.size(); ++i)
      text += (i == 0                                      ? ""
               : indices.kind == AxisIndices::Kind::kRange ? ":"
                                                           : ", ") +
              indices.values[i].text();
  }
  return text;
}

std::string StepsText(const std::vector<Step>& steps) {
  std::string text;
  for (const Step& step : steps)
    text += (text.empty() ? "" : ", then ") + step.arrangement.text + AtText(step);
  return text;
}

/// The first words of a line.
std::string KindText(const Line& line) {
  if (const auto* rearrangement = std::get_if<RearrangementLine>(&line.kind)) {
    std::string text = line.to->text() + "\n      from ";
    for (size_t i = 0; i < rearrangement->from.size(); ++i) {
      const SourceTerm& term = rearrangement->from[i];
      text += (i == 0 ? "" : ", ") + term.name.text();
      if (!term.steps.empty()) text += " (" + StepsText(term.steps) + ")";
    }
    if (rearrangement->is_joined)
      text += rearrangement->join_axis ? fmt::format(", joined along dimension {}", *rearrangement->join_axis)
                                       : ", stacked";
    text += "\n      " + StepsText(rearrangement->steps);
    if (rearrangement->scale) text += ", times " + FloatText(*rearrangement->scale);
    if (rearrangement->add) text += ", plus " + FloatText(*rearrangement->add);
    if (!rearrangement->trims.empty()) text += "\n      leaves the rest unread: " + rearrangement->trims;
    return text;
  }
  if (const auto* fill = std::get_if<FillLine>(&line.kind)) {
    std::string text = line.to->text() + "\n      filled with " + FloatText(fill->value) + ", shape [";
    for (size_t i = 0; i < fill->shape.size(); ++i) text += (i == 0 ? "" : ", ") + fill->shape[i].text();
    return text + "], dtype " + fill->dtype.text();
  }
  if (const auto* drop = std::get_if<DropLine>(&line.kind)) {
    std::string text =
        "drop " + (drop->templated ? drop->templated->text() : drop->pattern.text) + "\n      " + drop->why;
    return drop->alias ? text + "; the same as " + drop->alias->text() : text;
  }
  const auto& keep = std::get<KeepLine>(line.kind);
  return "keep " + keep.pattern.text + (keep.to.empty() ? "" : " as " + keep.to);
}

std::string LineText(const Line& line) {
  std::string text = "    " + KindText(line);
  if (!line.indices.empty()) text += "\n      " + IndicesText(line.indices);
  for (size_t i = 0; i < line.sizes.size(); ++i)
    text += (i == 0 ? "\n      with " : ", ") + line.sizes[i].name + " = " + line.sizes[i].text.text();
  if (line.when) text += "\n      when " + line.when->text();
  return text + "\n";
}

std::string ConfigText(const ConfigValue& value) {
  if (const auto* literal = std::get_if<Value>(&value.value)) return literal->Describe();
  if (const auto* expression = std::get_if<PlacedExpression>(&value.value)) return "= " + expression->text();
  std::string text;
  if (const auto* choice = std::get_if<ConfigValue::When>(&value.value)) {
    text = ConfigText(*choice->value) + " when " + choice->condition.text();
    return choice->otherwise == nullptr ? text : text + ", else " + ConfigText(*choice->otherwise);
  }
  if (const auto* repeated = std::get_if<ConfigValue::For>(&value.value))
    return "[" + ConfigText(*repeated->value) + " " + IndicesText(repeated->indices) + "]";
  if (const auto* list = std::get_if<ConfigValue::List>(&value.value)) {
    for (const ConfigValuePtr& item : list->items) text += (text.empty() ? "" : ", ") + ConfigText(*item);
    return "[" + text + "]";
  }
  for (const auto& [key, member] : std::get<ConfigValue::Object>(value.value).members)
    text += (text.empty() ? "" : ", ") + key + ": " + ConfigText(*member);
  return "{" + text + "}";
}

std::string NamedText(std::string_view title, const NamedList<ConfigValuePtr>& config) {
  std::string text = fmt::format("  {}\n", title);
  for (const auto& [key, value] : config.items) text += fmt::format("    {}: {}\n", key, ConfigText(*value));
  return text;
}

std::string PipelineText(const Pipeline& pipeline) {
  if (pipeline.needs.empty()) return {};
  std::string text = fmt::format("  a pipeline, with {}\n", fmt::join(pipeline.needs, ", "));
  for (const auto& [folder, other] : pipeline.folders.items)
    text += fmt::format("    {} may be called {}\n", folder, other);
  for (const auto& [folder, options] : pipeline.options.items)
    for (const auto& [key, value] : options.items)
      text += fmt::format("    {} is told {} = {}\n", folder, key, value.text());
  for (const auto& [path, file] : pipeline.files.items) text += NamedText(path, file);
  return text;
}

std::string HeadText(const FamilyTable& table) {
  std::string text = fmt::format("{}: {}\n", table.name, table.title);
  text += fmt::format("  from {}\n  to {}{}\n", table.source, table.target,
                      table.folder.empty() ? "" : fmt::format(", in {}/", table.folder));
  if (!table.ancestors.empty()) text += fmt::format("  extends {}\n", table.ancestors[0]);
  for (const std::string& name : table.weights) text += fmt::format("  weights lie in {}\n", name);
  for (const Condition& condition : table.detect)
    text += fmt::format("  known by {}\n", condition.that.text());
  for (const Rewrite& rewrite : table.names)
    text += fmt::format("  names: {} becomes '{}'\n", rewrite.pattern.text, rewrite.replacement);
  for (const auto& [name, places] : table.metadata.items) {
    text += fmt::format("  metadata {}: ", name);
    for (size_t i = 0; i < places.size(); ++i) text += (i == 0 ? "" : ", else ") + places[i].text;
    text += "\n";
  }
  return text;
}

}  // namespace

FamilySummary Summarize(const FamilyTable& table) {
  FamilySummary summary{table.name, table.title, table.source,  table.target,
                        {},         {},          table.is_user, table.is_abstract};
  for (const Condition& condition : table.detect) summary.evidence.push_back(condition.that.text());
  for (const auto& [key, option] : table.options.items)
    summary.options.emplace_back(key + "=" + Plain(option.default_value), option.help);
  for (const auto& [name, places] : table.metadata.items)
    for (const MetadataPlace& place : places)
      summary.has_training_config |= place.file == "config.json" && !place.keys.empty();
  return summary;
}

std::string DescribeTable(const FamilyTable& table) {
  std::string text = HeadText(table);
  if (!table.options.items.empty()) text += "  options\n";
  for (const auto& [key, option] : table.options.items) {
    text += fmt::format("    {}={}", key, Plain(option.default_value));
    for (size_t i = 0; i < option.values.size(); ++i)
      text += (i == 0 ? ", of " : " ") + Plain(option.values[i]);
    text += (option.help.empty() ? "" : ": " + option.help) + "\n";
  }
  if (!table.lets.items.empty()) text += "  values\n";
  for (const auto& [name, let] : table.lets.items) text += fmt::format("    {} = {}\n", name, let.text());
  if (!table.checks.empty()) text += "  checks\n";
  for (const Condition& check : table.checks)
    text += fmt::format("    {}{}\n", check.that.text(), check.why.empty() ? "" : ": " + check.why);
  text += "  tensors\n";
  for (const LinePtr& line : table.lines) text += LineText(*line);
  if (table.has_config) text += NamedText("config.json", table.config);
  if (table.has_generation_config) text += NamedText("generation_config.json", table.generation_config);
  text += PipelineText(table.pipeline);
  if (!table.notes.empty()) text += "  notes\n";
  for (const Note& note : table.notes)
    text += fmt::format("    when {}: {}\n", note.when.text(), note.say.text());
  if (!table.reverse_lets.items.empty()) text += "  backwards\n";
  for (const auto& [name, let] : table.reverse_lets.items)
    text += fmt::format("    {} = {}\n", name, let.text());
  return text;
}

}  // namespace weightfs
