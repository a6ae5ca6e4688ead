#include "convert/source/huggingface/deepspeed_weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "convert/base/relative_path.h"

namespace weightfs {
namespace {

/// Of PEFT, and of the LoRA trainers of diffusers.
constexpr std::string_view kAdapterStems[] = {"adapter_model", "pytorch_lora_weights"};

std::string_view LastComponent(std::string_view path) { return path.substr(path.rfind('/') + 1); }

bool AreAdapters(const std::vector<WeightSet>& sets) {
  return std::ranges::all_of(sets, [](const WeightSet& set) {
    return std::ranges::any_of(kAdapterStems,
                               [&](std::string_view stem) { return set.stem.starts_with(stem); });
  });
}

/// The weights are the files beside the save.
FoundSave ServeFiles(const DeepSpeedSave& save, std::string_view why, FoundSave found) {
  found.hidden.push_back({save.folder, fmt::format("a DeepSpeed save; {}", why)});
  return found;
}

}  // namespace

Result<std::optional<FoundSave>> FindSaveInFolder(const std::shared_ptr<SourceFiles>& source,
                                                  const std::string& folder,
                                                  std::span<const SourceEntry> entries, bool is_root,
                                                  const FolderScan& scan, const ScanOptions& options) {
  const bool is_tag = IsDeepSpeedTagFolder(entries);
  const bool may_hold_tags = IsDeepSpeedRoot(entries) || (is_root && scan.weights.empty());
  if (!is_tag && !may_hold_tags) return std::nullopt;
  WEIGHTFS_TRY(std::optional<DeepSpeedSave> save, FindDeepSpeedSave(source, folder, options.tag));
  if (!save) return std::nullopt;
  FoundSave found;
  found.has_tags = save->folder != folder;
  if (found.has_tags) found.skipped_folders.emplace_back(LastComponent(save->folder));
  for (const std::string& tag : save->other_tags) {
    found.skipped_folders.push_back(tag);
    found.hidden.push_back({JoinPath(folder, tag), "another save; --tag chooses"});
  }
  if (!found.has_tags)
    for (const SourceEntry& entry : entries)
      if (entry.is_directory) found.skipped_folders.push_back(entry.name);
  const bool has_files = !scan.weights.empty();
  if (options.weights == "files") {
    if (!has_files)
      return Fail(
          ErrorCode::kInvalidArgument,
          fmt::format("--weights files: {}: no weight files beside the save; expected --weights master or "
                      "module",
                      save->shown));
    return ServeFiles(*save, "--weights files serves the files beside it", std::move(found));
  }
  if (has_files && options.weights.empty() && AreAdapters(scan.weights)) {
    found.warnings.push_back(
        fmt::format("{}: a DeepSpeed save of a model with an adapter; the adapter beside it is "
                    "served, --weights master serves the masters",
                    save->shown));
    return ServeFiles(*save, "the adapter beside it is served", std::move(found));
  }
  WeightSet set = {.folder = folder, .stem = "model"};
  set.beside = scan.weights;
  for (const auto& [name, file] : save->files) set.shards.push_back(file.path);
  set.deepspeed = std::make_shared<const DeepSpeedSave>(*std::move(save));
  found.set = std::move(set);
  return found;
}

}  // namespace weightfs
