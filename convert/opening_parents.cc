// What lies above the source and describes it: the run of a step, the folder of a tag.
#include <algorithm>
#include <filesystem>
#include <utility>

#include "convert/opening.h"
#include "convert/source/dcp/folder.h"
#include "convert/source/deepspeed/save.h"
#include "convert/step_folder.h"

namespace weightfs {
namespace {

/// Files that describe a model, whole names and beginnings.
constexpr std::string_view kMetadataNames[] = {"config.json",
                                               "generation_config.json",
                                               "added_tokens.json",
                                               "special_tokens_map.json",
                                               "merges.txt",
                                               "vocab.json",
                                               "vocab.txt",
                                               "spiece.model",
                                               "preprocessor_config.json",
                                               "processor_config.json"};
constexpr std::string_view kMetadataPrefixes[] = {"tokenizer", "chat_template", "latest"};

bool IsModelMetadata(std::string_view name) {
  return std::ranges::find(kMetadataNames, name) != std::end(kMetadataNames) ||
         std::ranges::any_of(kMetadataPrefixes,
                             [&](std::string_view prefix) { return name.starts_with(prefix); });
}

}  // namespace

/// Nearest last. A step has its run; the folder in which a trainer keeps the model of a step has both.
std::vector<std::string> Opening::FoldersAbove() const {
  const auto is_save = [](const WeightSet& set) {
    return set.deepspeed != nullptr && set.deepspeed->folder.empty();
  };
  const auto has_model = [](const WeightSet& set) { return set.folder.empty(); };
  if (!source_->is_directory() || std::ranges::none_of(repository_.weights, has_model)) return {};
  const std::filesystem::path path = source_->resolved_root(), parent = path.parent_path();
  const bool is_inside = IsDcpModelFolderName(path.filename().string());
  if (parent == path) return {};
  if (!is_inside && !IsStepName(path.filename().string()) &&
      std::ranges::none_of(repository_.weights, is_save))
    return {};
  if (is_inside && IsStepName(parent.filename().string())) return {parent.parent_path(), parent};
  return {parent};
}

Status Opening::OpenParents() {
  for (const std::string& folder : FoldersAbove()) {
    WEIGHTFS_TRY(std::shared_ptr<SourceFiles> files, OpenRoot(folder));
    parents_.push_back(std::move(files));
  }
  return {};
}

Status Opening::CollectParentFiles() {
  for (const std::shared_ptr<SourceFiles>& parent : parents_) {
    WEIGHTFS_TRY(const std::vector<SourceEntry> entries, parent->List(""));
    const auto add = [&](const std::string& folder, const SourceEntry& file) {
      if (!file.is_directory && IsModelMetadata(file.name))
        AddSideFile(
            {file.name, "the folder above", parent, JoinPath(folder, file.name), {}, file.mtime_nanoseconds});
    };
    for (const SourceEntry& entry : entries) {
      if (!entry.is_directory || entry.name != kTokenizerFolder) continue;
      WEIGHTFS_TRY(const std::vector<SourceEntry> files, parent->List(entry.name));
      for (const SourceEntry& file : files) add(entry.name, file);
    }
    for (const SourceEntry& entry : entries) add("", entry);
  }
  return {};
}

}  // namespace weightfs
