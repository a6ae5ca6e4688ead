#include "convert/family/pipeline.h"

#include <fmt/format.h>

#include <utility>

#include "convert/family/config.h"

namespace weightfs::family {
namespace {

std::string Plain(const Value& value) { return value.text() != nullptr ? *value.text() : value.Describe(); }

void NoteGuesses(const FamilyTable& table, const FamilyOptions& options, std::vector<std::string>& notes) {
  for (const auto& [key, option] : table.options.items) {
    if (option.assumed.empty() || options.values.contains(key) || options.told.contains(key)) continue;
    std::string others;
    for (const Value& value : option.values)
      if (Plain(value) != Plain(option.default_value)) others += (others.empty() ? "" : "|") + Plain(value);
    notes.push_back(fmt::format("the family {} takes {} to be {}: {}; --family {}:{}={} says otherwise",
                                table.name, key, Plain(option.default_value), option.assumed, table.name, key,
                                others.empty() ? "VALUE" : others));
  }
}

Status EvaluatePipeline(const Pipeline& pipeline, ScopedEnvironment& environment, FamilyPipeline& result) {
  result.needs = pipeline.needs;
  result.folders = pipeline.folders.items;
  for (const auto& [folder, options] : pipeline.options.items)
    for (const auto& [key, value] : options.items) {
      WEIGHTFS_TRY(const Value told, value.Evaluate(environment));
      if (!told.is_null()) result.options[folder][key] = Plain(told);
    }
  for (const auto& [path, file] : pipeline.files.items) {
    WEIGHTFS_TRY(std::string text, WriteConfig(file, {}, environment));
    result.files.emplace_back(path, std::move(text));
  }
  return {};
}

}  // namespace

Status DescribeSurroundings(const FamilyTable& table, const FamilyOptions& options,
                            ScopedEnvironment& environment, FamilyResult& result) {
  result.target = table.target;
  result.folder = table.folder;
  for (const Note& note : table.notes) {
    WEIGHTFS_TRY(const bool holds, note.when.EvaluateCondition(environment));
    if (!holds) continue;
    WEIGHTFS_TRY(std::string text, note.say.EvaluateText(environment));
    result.notes.push_back(std::move(text));
  }
  NoteGuesses(table, options, result.notes);
  return EvaluatePipeline(table.pipeline, environment, result.pipeline);
}

}  // namespace weightfs::family
