// weightfs families: the model families that are known.
#include <fmt/format.h>
#include <unistd.h>

#include <iterator>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/messages.h"
#include "cli/terminal.h"
#include "convert/base/json.h"
#include "convert/convert.h"
#include "convert/family/family.h"

namespace weightfs::cli {
namespace {

constexpr size_t kIndent = 2;
constexpr size_t kLabelWidth = 10;

/// What `--family auto` does where no table fits; these have none.
std::vector<FamilySummary> WithoutTables() {
  FamilySummary identity, none;
  identity.name = "identity";
  identity.title = "models whose tensors have the names of Hugging Face";
  identity.source = "config.json with model_type or _class_name";
  identity.target = "hf";
  identity.evidence = {"no table fits; names and config.json stay"};
  none.name = "none";
  none.title = "everything else, or --family none";
  none.source = "any tensors";
  none.target = "hf";
  none.evidence = {"names stay"};
  return {identity, none};
}

std::string JsonList(const std::vector<std::string>& texts) {
  std::string list = "[";
  for (const std::string& text : texts) list += (list.size() > 1 ? "," : "") + JsonString(text);
  return list + "]";
}

std::string ToJson(const FamilySummary& family) {
  std::string options = "[";
  for (const auto& [option, help] : family.options)
    options += fmt::format("{}{{\"option\":{},\"help\":{}}}", options.size() > 1 ? "," : "",
                           JsonString(option), JsonString(help));
  return fmt::format(
      "{{\"name\":{},\"title\":{},\"source\":{},\"target\":{},\"evidence\":{},\"options\":{}],\"user\":{}}}",
      JsonString(family.name), JsonString(family.title), JsonString(family.source), JsonString(family.target),
      JsonList(family.evidence), options, family.is_user);
}

/// A label and a text under a family, over as many lines as it needs.
void AddLine(std::string_view label, std::string_view line, size_t width, std::string& text) {
  const size_t margin = kIndent + kLabelWidth;
  for (const std::string& part : WrapText(Printable(line), width - margin)) {
    fmt::format_to(std::back_inserter(text), "{:<{}}{:<{}}{}\n", "", kIndent, label, kLabelWidth, part);
    label = "";
  }
}

std::string ToText(const FamilySummary& family, size_t width) {
  std::string text = fmt::format("{}{}\n", family.name, family.is_user ? " (of --rules)" : "");
  AddLine("what", family.title, width, text);
  AddLine("source", family.source, width, text);
  AddLine("target", family.target, width, text);
  std::string_view label = "when";
  for (const std::string& evidence : family.evidence)
    AddLine(std::exchange(label, ""), evidence, width, text);
  label = "options";
  for (const auto& [option, help] : family.options)
    AddLine(std::exchange(label, ""), help.empty() ? option : fmt::format("{}: {}", option, help), width,
            text);
  return text;
}

int ReportUnknown(const std::string& name, const std::vector<FamilySummary>& families) {
  std::string names;
  for (const FamilySummary& family : families)
    if (!family.is_abstract) names += (names.empty() ? "" : ", ") + family.name;
  return ReportError(
      UsageError(fmt::format("families: '{}' is not a family; expected one of {}", name, names)).error(),
      Stage::kRunning);
}

/// One family: all of its table, where it has one.
int PrintOne(const CommandLine& line, const FamilyRegistry& registry,
             const std::vector<FamilySummary>& families) {
  for (const FamilySummary& family : families) {
    if (family.name != line.family) continue;
    if (line.settings.json) return PrintOutput("{\"schema\":1,\"families\":[\n" + ToJson(family) + "]}\n");
    if (const auto table = registry.Find(family.name)) return PrintOutput(DescribeTable(*table));
    return PrintOutput(ToText(family, static_cast<size_t>(TerminalWidth(STDOUT_FILENO))));
  }
  return ReportUnknown(line.family, families);
}

}  // namespace

int RunFamilies(const CommandLine& line) {
  const Result<FamilyRegistry> registry = LoadFamilies(line.settings.open.rules_path);
  if (!registry) return ReportError(registry.error(), Stage::kRunning);
  std::vector<FamilySummary> families;
  for (const auto& table : registry->tables()) families.push_back(Summarize(*table));
  for (FamilySummary& family : WithoutTables()) families.push_back(std::move(family));
  if (!line.family.empty()) return PrintOne(line, *registry, families);
  // Those are no choice; one that is asked for by name is shown.
  std::erase_if(families, [](const FamilySummary& family) { return family.is_abstract; });
  std::string text;
  if (line.settings.json) {
    for (const FamilySummary& family : families) text += (text.empty() ? "" : ",\n") + ToJson(family);
    return PrintOutput("{\"schema\":1,\"families\":[\n" + text + "]}\n");
  }
  const auto width = static_cast<size_t>(TerminalWidth(STDOUT_FILENO));
  for (const FamilySummary& family : families) text += (text.empty() ? "" : "\n") + ToText(family, width);
  return PrintOutput(text);
}

}  // namespace weightfs::cli
