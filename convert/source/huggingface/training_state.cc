#include "convert/source/huggingface/training_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "convert/base/relative_path.h"
#include "convert/source/dcp/folder.h"
#include "convert/source/deepspeed/save.h"

namespace weightfs {
namespace {

/// Of PEFT, and of the LoRA trainers of diffusers.
constexpr std::string_view kAdapterStems[] = {"adapter_model", "pytorch_lora_weights"};

bool AreAdapters(const std::vector<WeightSet>& sets) {
  return std::ranges::all_of(sets, [](const WeightSet& set) {
    return std::ranges::any_of(kAdapterStems,
                               [&](std::string_view stem) { return set.stem.starts_with(stem); });
  });
}

/// How messages call a state, and what `--weights` chooses in it.
struct Words {
  std::string_view kind;    ///< "a DeepSpeed save"
  std::string shown;        ///< SOURCE/FOLDER
  std::string_view values;  ///< "--weights master or module"
};

/// Whether files of `scan` are served before the state: then why.
Result<std::string_view> PrefersFiles(const Words& words, const FolderScan& scan, const ScanOptions& options,
                                      TrainingState& found) {
  if (options.weights == "files") {
    if (scan.weights.empty())
      return Fail(ErrorCode::kInvalidArgument,
                  fmt::format("--weights files: {}: no weight files beside {}; expected {}", words.shown,
                              words.kind, words.values));
    return "--weights files serves the files beside it";
  }
  if (scan.weights.empty() || !options.weights.empty() || !AreAdapters(scan.weights)) return "";
  found.warnings.push_back(
      fmt::format("{}: {} of a model with an adapter; the adapter beside it is served; {} serves the state",
                  words.shown, words.kind, words.values));
  return "the adapter beside it is served";
}

/// The weights are those of the state: `set`, whose shards are its files.
void Serve(WeightSet set, const std::string& folder, FolderScan& scan, TrainingState& found) {
  set.folder = folder;
  set.stem = "model";
  set.beside = scan.weights;
  std::erase_if(scan.hidden, [&](const HiddenFile& hidden) {
    return std::ranges::find(set.shards, hidden.path) != set.shards.end();
  });
  found.set = std::move(set);
}

Result<std::optional<TrainingState>> FindSave(const std::shared_ptr<SourceFiles>& source,
                                              const std::string& folder, std::span<const SourceEntry> entries,
                                              FolderScan& scan, const ScanOptions& options) {
  WEIGHTFS_TRY(std::optional<DeepSpeedSave> save, FindDeepSpeedSave(source, folder, options.tag));
  if (!save) return std::nullopt;
  TrainingState found;
  found.has_tags = save->folder != folder;
  if (found.has_tags) found.skipped_folders.emplace_back(LastComponent(save->folder));
  for (const std::string& tag : save->other_tags) {
    found.skipped_folders.push_back(tag);
    found.hidden.push_back({JoinPath(folder, tag), "another save; --tag chooses"});
  }
  if (!found.has_tags)
    for (const SourceEntry& entry : entries)
      if (entry.is_directory) found.skipped_folders.push_back(entry.name);
  const Words words = {"a DeepSpeed save", save->shown, "--weights master or module"};
  WEIGHTFS_TRY(const std::string_view why, PrefersFiles(words, scan, options, found));
  if (!why.empty()) {
    found.hidden.push_back({save->folder, fmt::format("{}; {}", words.kind, why)});
    return found;
  }
  WeightSet set;
  for (const auto& [name, file] : save->files) set.shards.push_back(file.path);
  set.deepspeed = std::make_shared<const DeepSpeedSave>(*std::move(save));
  Serve(std::move(set), folder, scan, found);
  return found;
}

/// Shards, and metadata of ranks, look like files of other kinds.
void TakeOut(const DcpFolder& dcp, const std::string& folder, FolderScan& scan) {
  const auto is_of_dcp = [&](const std::string& path) { return std::ranges::binary_search(dcp.files, path); };
  std::erase_if(scan.weights,
                [&](const WeightSet& set) { return std::ranges::any_of(set.shards, is_of_dcp); });
  if (dcp.form == DcpForm::kShards && dcp.path == folder) scan.failed.clear();
  std::erase_if(scan.files, [&](const PassThrough& file) { return is_of_dcp(file.path); });
  std::erase_if(scan.hidden, [&](const HiddenFile& file) { return is_of_dcp(file.path); });
}

Result<std::optional<TrainingState>> FindDcp(SourceFiles& source, const std::string& folder,
                                             std::span<const SourceEntry> entries, FolderScan& scan,
                                             const ScanOptions& options) {
  WEIGHTFS_TRY(std::optional<DcpFolder> dcp, FindDcpFolder(source, folder, entries));
  if (!dcp) return std::nullopt;
  // A `.metadata` of something else.
  if (!scan.weights.empty() && std::ranges::none_of(dcp->files, IsDcpFile)) return std::nullopt;
  TakeOut(*dcp, folder, scan);
  TrainingState found;
  if (dcp->path != folder) found.skipped_folders.emplace_back(LastComponent(dcp->path));
  const Words words = {"a distributed checkpoint", ShownPath(source, dcp->path),
                       "--weights PATH (. for all of it)"};
  WEIGHTFS_TRY(const std::string_view why, PrefersFiles(words, scan, options, found));
  if (!why.empty()) {
    for (const std::string& file : dcp->files)
      found.hidden.push_back({file, fmt::format("{}; {}", words.kind, why)});
    return found;
  }
  WeightSet set = {.shards = std::move(dcp->files), .dcp_folder = std::move(dcp->path)};
  Serve(std::move(set), folder, scan, found);
  return found;
}

}  // namespace

Result<std::optional<TrainingState>> FindTrainingState(const std::shared_ptr<SourceFiles>& source,
                                                       const std::string& folder,
                                                       std::span<const SourceEntry> entries, bool is_root,
                                                       FolderScan& scan, const ScanOptions& options) {
  const bool may_hold_tags = IsDeepSpeedRoot(entries) || (is_root && scan.weights.empty());
  if (IsDeepSpeedTagFolder(entries) || may_hold_tags) {
    WEIGHTFS_TRY(std::optional<TrainingState> save, FindSave(source, folder, entries, scan, options));
    if (save) return save;
  }
  return FindDcp(*source, folder, entries, scan, options);
}

}  // namespace weightfs
