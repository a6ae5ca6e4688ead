// What the families of a source add to the view: derived configuration, and what the report says of them.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "convert/base/json.h"
#include "convert/opening.h"
#include "convert/target/hf/config_json.h"

namespace weightfs {
namespace {

/// Keys of both objects whose values differ: "n_layer (2, derived 4)".
std::string Differences(const nlohmann::ordered_json& given, const nlohmann::ordered_json& derived) {
  constexpr size_t kValueBytesMax = 60;
  const auto shown = [](const nlohmann::ordered_json& value) {
    using Json = nlohmann::ordered_json;
    return value.dump(-1, ' ', false, Json::error_handler_t::replace).substr(0, kValueBytesMax);
  };
  std::string text;
  for (const auto& [key, value] : derived.items()) {
    const auto other = given.find(key);
    if (other == given.end() || *other == value) continue;
    text += fmt::format("{}{} ({}, derived {})", text.empty() ? "" : ", ", key, shown(*other), shown(value));
  }
  return text;
}

}  // namespace

/// A config.json that no Hugging Face program wrote: trainers use the name for settings of their own.
bool Opening::IsTrainingConfig(const SideFile& file) const {
  if (file.files == nullptr || file.origin.starts_with("--")) return false;
  const Result<std::string> text = file.files->ReadSmall(file.source_path, options_.limits.json_bytes_max);
  if (!text) return false;
  const Result<ConfigFacts> facts = ReadConfigFacts(*text, file.path, options_.limits);
  return facts && !facts->model_type && !facts->class_name;
}

/// A file that the source, an overlay or `--config` has wins over the derived one.
void Opening::AddDerived(const WeightSet& set, SetFamily& family, int64_t mtime_nanoseconds) {
  const auto add = [&](std::string_view name, std::string& text) {
    if (text.empty()) return;
    std::string path = JoinPath(set.folder, name);
    const auto given = std::ranges::find(side_files_, path, &SideFile::path);
    const bool is_replaced = given != side_files_.end() && name == kConfigName &&
                             family.has_training_config && IsTrainingConfig(*given);
    if (is_replaced)
      opened_.report.notes.push_back(fmt::format(
          "{}: settings of the program that trained the model; served is what the family {} makes of "
          "them",
          path, family.name));
    if (given == side_files_.end() || is_replaced) {
      AddSideFile({std::move(path),
                   fmt::format("derived by the family {}", family.name),
                   nullptr,
                   {},
                   std::move(text),
                   mtime_nanoseconds});
    } else if (name == kConfigName) {
      CompareDerived(*given, text, family.name);
    }
  };
  add(kConfigName, family.config_json);
  add("generation_config.json", family.generation_config_json);
}

void Opening::CompareDerived(const SideFile& given, const std::string& derived, const std::string& family) {
  const JsonOptions json = {.bytes_max = options_.limits.json_bytes_max,
                            .depth_max = options_.limits.json_depth_max,
                            .duplicate_keys = DuplicateKeys::kLastWins,
                            .allow_nan = true};
  const Result<std::string> text =
      given.files == nullptr ? given.text
                             : given.files->ReadSmall(given.source_path, options_.limits.json_bytes_max);
  const auto ours = ParseJson(derived, given.path, json);
  const auto theirs = text ? ParseJson(*text, given.path, json) : std::unexpected(text.error());
  if (!theirs) {
    opened_.report.notes.push_back(theirs.error().message);
    return;
  }
  if (!ours || !ours->is_object() || !theirs->is_object()) return;
  if (const std::string differences = Differences(*theirs, *ours); !differences.empty())
    opened_.report.notes.push_back(
        fmt::format("{}: of {}, served as it is; the family {} derives other values from the weights: {}",
                    given.path, given.origin, family, differences));
}

/// The families of the sets. Without any, HF-named tensors under a config.json that says what they are: the
/// identity family, whose names never change, so that it only decides what the user is told.
void Opening::ReportFamily() {
  Report& report = opened_.report;
  std::vector<std::string_view> names;
  for (const WeightSetReport& set : report.sets) {
    if (set.family.empty()) continue;
    if (std::ranges::find(names, set.family) == names.end()) names.push_back(set.family);
    for (const std::string& line : set.family_evidence)
      report.family_evidence.push_back(fmt::format("{}: {}: {}", set.files.front(), set.family, line));
  }
  if (names.empty())
    ReportIdentity();
  else
    report.family = fmt::format("{}", fmt::join(names, ", "));
  NoteMissingConfigs();
}

void Opening::ReportIdentity() {
  Report& report = opened_.report;
  report.family = kNoFamily;
  for (const SideFile& file : side_files_) {
    const std::string_view name = LastComponent(file.path);
    if (name == "model_index.json") report.family_evidence.push_back(file.path + ": a diffusers pipeline");
    if (name == "adapter_config.json") report.family_evidence.push_back(file.path + ": a PEFT adapter");
    if (name == kConfigName) ReportConfig(file);
  }
  if (!report.family_evidence.empty() && options_.family != kNoFamily) report.family = "identity";
  if (report.family == kNoFamily && options_.family != kNoFamily)
    report.notes.push_back(
        fmt::format("{}: no family matched; names are served as they are stored", report.source));
}

void Opening::NoteMissingConfigs() {
  Report& report = opened_.report;
  for (const WeightSetReport& set : report.sets) {
    const auto has = [&](std::string_view name) {
      return opened_.tree.FindPath(JoinPath(set.folder, name)) != kNoNode;
    };
    if (!has(kConfigName) && !has("adapter_config.json"))
      report.notes.push_back(fmt::format(
          "{}: no config.json beside it; from_pretrained will miss it: give one with --config FILE or "
          "--overlay DIR",
          set.files.front()));
  }
}

void Opening::ReportConfig(const SideFile& file) {
  Report& report = opened_.report;
  const Result<std::string> text = file.files->ReadSmall(file.source_path, options_.limits.json_bytes_max);
  const Result<ConfigFacts> facts = text ? ReadConfigFacts(*text, file.path, options_.limits)
                                         : Result<ConfigFacts>(std::unexpected(text.error()));
  if (!facts) {
    report.notes.push_back(facts.error().message);
    return;
  }
  if (facts->model_type)
    report.family_evidence.push_back(fmt::format("{}: model_type {}", file.path, *facts->model_type));
  if (facts->class_name)
    report.family_evidence.push_back(fmt::format("{}: _class_name {}", file.path, *facts->class_name));
}

}  // namespace weightfs
