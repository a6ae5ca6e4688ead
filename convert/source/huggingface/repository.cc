#include "convert/source/huggingface/repository.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "convert/base/relative_path.h"
#include "convert/source/dcp/reader.h"
#include "convert/source/huggingface/folder_scan.h"
#include "convert/source/huggingface/foreign.h"
#include "convert/source/huggingface/native_weights.h"
#include "convert/source/huggingface/training_state.h"
#include "convert/source/utf8.h"

namespace weightfs {
namespace {

constexpr uint32_t kDepthMax = 64;
constexpr uint64_t kTreeEntriesMax = 1'000'000;
constexpr std::string_view kWhatIsRead = "this version reads torch and safetensors files";

/// Resolved paths from a folder up to the root: a link that leads to one of them is a loop.
struct FolderChain {
  std::string resolved;
  std::shared_ptr<const FolderChain> parent;
};

struct PendingFolder {
  std::string path;
  std::shared_ptr<const FolderChain> chain;
  uint32_t depth = 0;
  bool is_beside_weights = false;  ///< The folder that holds it has weights.
  bool is_below_weights = false;   ///< A folder on the way to it has weights.
};

bool IsDotFile(std::string_view path) { return path.starts_with('.') || path.contains("/."); }

class TreeScan {
 public:
  TreeScan(SourceFiles& source, const Limits& limits, const ScanOptions& options)
      : source_(source), limits_(limits), options_(options) {}

  Result<Repository> Run() {
    pending_.push_back(
        {.path = "", .chain = std::make_shared<FolderChain>(source_.resolved_root(), nullptr)});
    while (!pending_.empty()) {
      const PendingFolder folder = std::move(pending_.back());
      pending_.pop_back();
      WEIGHTFS_CHECK(ScanOne(folder));
    }
    if (repository_.weights.empty() && !options_.may_lack_weights && !TakeSingleFile())
      return FailWithoutWeights();
    HideBadLinks();
    CollectFolders();
    return std::move(repository_);
  }

 private:
  Status ScanOne(const PendingFolder& folder) {
    WEIGHTFS_TRY(const std::vector<SourceEntry> entries, source_.List(folder.path));
    entry_count_ += entries.size();
    if (folder.depth > kDepthMax || entry_count_ > kTreeEntriesMax)
      return Fail(ErrorCode::kLimitExceeded,
                  fmt::format("{}: a tree of more than {} levels or {} entries; expected a smaller one",
                              Shown(folder.path), kDepthMax, kTreeEntriesMax));
    WEIGHTFS_CHECK(CheckCacheRoot(folder, entries));
    WEIGHTFS_TRY(FolderScan scan, ScanFolder(folder.path, entries, source_, limits_));
    if (folder.is_below_weights && FindDcpForm(entries)) {
      repository_.hidden.push_back({folder.path, "a distributed checkpoint beside weights that are served"});
      return {};
    }
    WEIGHTFS_TRY(const std::vector<std::string> states, AddTrainingState(folder, entries, scan));
    const auto foreign = FindForeignSign(entries);
    if (foreign) {
      if (first_sign_.empty()) first_sign_ = SayForeign(folder.path, *foreign);
      if (foreign->is_folder_format && scan.weights.empty()) return HideForeign(folder, *foreign);
      if (!scan.weights.empty())
        repository_.warnings.push_back(
            fmt::format("{}: {}, which is not served; the weight files beside it are",
                        Shown(JoinPath(folder.path, foreign->entry)), foreign->format));
    }
    if (scan.weights.empty() && scan.failed.empty() && !folder.is_below_weights)
      WEIGHTFS_CHECK(AddNativeWeights(folder.path, entries, scan));
    for (UnservedModel& model : scan.failed) WEIGHTFS_CHECK(AddUnserved(std::move(model)));
    if (entries.empty()) empty_folders_.push_back(folder.path);
    PushFolders(folder, entries, states, !scan.weights.empty());
    std::ranges::move(scan.weights, std::back_inserter(repository_.weights));
    std::ranges::move(scan.files, std::back_inserter(repository_.files));
    std::ranges::move(scan.hidden, std::back_inserter(repository_.hidden));
    std::ranges::move(scan.warnings, std::back_inserter(repository_.warnings));
    return {};
  }

  /// A training state in the folder.
  /// \return names of folders that belong to it
  Result<std::vector<std::string>> AddTrainingState(const PendingFolder& folder,
                                                    const std::vector<SourceEntry>& entries,
                                                    FolderScan& scan) {
    auto found = FindTrainingState(source_.shared_from_this(), folder.path, entries, folder.path.empty(),
                                   scan, options_);
    if (!found) {
      const ErrorCode code = found.error().code;
      if (code == ErrorCode::kInvalidArgument || code == ErrorCode::kAmbiguous)
        return std::unexpected(std::move(found).error());
      scan.failed.push_back({folder.path, std::move(found).error()});
      return std::vector<std::string>();
    }
    if (!*found) return std::vector<std::string>();
    TrainingState& state = **found;
    repository_.has_numbered_saves |= state.has_tags;
    std::ranges::move(state.hidden, std::back_inserter(scan.hidden));
    std::ranges::move(state.warnings, std::back_inserter(scan.warnings));
    if (state.set) scan.weights.assign(1, *std::move(state.set));
    return std::move(state.skipped_folders);
  }

  /// Weights under names that families list.
  Status AddNativeWeights(const std::string& folder, const std::vector<SourceEntry>& entries,
                          FolderScan& scan) {
    auto found = FindNativeWeights(entries, options_.weight_patterns, Shown(folder), options_.tag);
    if (!found) {
      // An option that does not fit, or one that is missing, is no fault of one model among others.
      const ErrorCode code = found.error().code;
      if (code == ErrorCode::kInvalidArgument || code == ErrorCode::kAmbiguous)
        return std::unexpected(std::move(found).error());
      scan.failed.push_back({folder, std::move(found).error()});
      return {};
    }
    if (!*found) return {};
    const NativeWeights& native = **found;
    WeightSet set = {
        .folder = folder, .stem = "model", .are_ranks = native.are_ranks, .number = native.number};
    set.is_safetensors = native.files.front().ends_with(".safetensors");
    for (const std::string& file : native.files) set.shards.push_back(JoinPath(folder, file));
    repository_.has_numbered_saves |= !native.number.empty();
    std::erase_if(scan.hidden, [&](const HiddenFile& hidden) {
      return std::ranges::find(set.shards, hidden.path) != set.shards.end();
    });
    std::erase_if(scan.files, [&](const PassThrough& file) {
      return std::ranges::find(set.shards, file.path) != set.shards.end();
    });
    for (HiddenFile& hidden : scan.hidden)
      for (const std::string& other : native.other_saves)
        if (hidden.path == JoinPath(folder, other)) hidden.reason = "another save; --tag chooses";
    scan.weights.push_back(std::move(set));
    return {};
  }

  /// A folder whose only weights are one torch file, under whatever name, is served as that file is.
  bool TakeSingleFile() {
    if (!repository_.unserved.empty() || !first_sign_.empty()) return false;
    const auto is_weights = [](const HiddenFile& file) {
      return file.is_torch_file && !file.path.contains('/');
    };
    if (std::ranges::count_if(repository_.hidden, is_weights) != 1) return false;
    const auto file = std::ranges::find_if(repository_.hidden, is_weights);
    repository_.weights.push_back({.folder = "", .stem = "model", .shards = {file->path}});
    repository_.hidden.erase(file);
    return true;
  }

  /// In reverse, so that they are taken from the stack in order.
  void PushFolders(const PendingFolder& folder, const std::vector<SourceEntry>& entries,
                   const std::vector<std::string>& skipped, bool has_weights) {
    for (auto entry = entries.rbegin(); entry != entries.rend(); ++entry) {
      if (!entry->is_directory || std::ranges::find(skipped, entry->name) != skipped.end()) continue;
      std::string path = JoinPath(folder.path, entry->name);
      const std::string resolved =
          entry->link_target.empty() ? JoinPath(folder.chain->resolved, entry->name) : entry->link_target;
      if (entry->name.starts_with('.')) {
        repository_.hidden.push_back({std::move(path), "dot-file"});
      } else if (LeadsBack(*folder.chain, resolved)) {
        repository_.hidden.push_back({std::move(path), "a link to a folder that holds it"});
      } else {
        auto chain = std::make_shared<FolderChain>(resolved, folder.chain);
        pending_.push_back({std::move(path), std::move(chain), folder.depth + 1, has_weights,
                            has_weights || folder.is_below_weights});
      }
    }
  }
  static bool LeadsBack(const FolderChain& chain, const std::string& resolved) {
    for (const FolderChain* folder = &chain; folder != nullptr; folder = folder->parent.get())
      if (folder->resolved == resolved) return true;
    return false;
  }

  /// `models--ORG--NAME` of a Hugging Face cache: its model is in a snapshot.
  Status CheckCacheRoot(const PendingFolder& folder, const std::vector<SourceEntry>& entries) {
    const auto has = [&](std::string_view name) {
      return std::ranges::any_of(entries, [&](const auto& e) { return e.is_directory && e.name == name; });
    };
    if (!folder.path.empty() || !has("snapshots") || !has("blobs")) return {};
    WEIGHTFS_TRY(const std::vector<SourceEntry> snapshots, source_.List("snapshots"));
    std::vector<std::string> names;
    for (const SourceEntry& snapshot : snapshots) names.push_back(snapshot.name);
    return Fail(
        ErrorCode::kAmbiguous,
        fmt::format("{}: the cache of a Hugging Face repository, with the snapshots {}; expected one of them",
                    source_.name(), ListNames(names)),
        fmt::format("mount a snapshot: {}/snapshots/{}", source_.name(),
                    names.empty() ? "REVISION" : names.front()));
  }

  std::string SayForeign(const std::string& folder, const ForeignSign& sign) const {
    return fmt::format("{}: {} ({}); {}", Shown(folder), sign.format, sign.entry, kWhatIsRead);
  }
  /// Training state beside weights is left out; anywhere else it is a model that is not served.
  Status HideForeign(const PendingFolder& folder, const ForeignSign& sign) {
    if (folder.is_beside_weights) {
      repository_.warnings.push_back(SayForeign(folder.path, sign) +
                                     "; the weight files beside it are served");
      repository_.hidden.push_back({folder.path, fmt::format("{}, not read by this version", sign.format)});
      return {};
    }
    auto failure = Fail(ErrorCode::kUnsupported, SayForeign(folder.path, sign),
                        folder.path.empty() ? "" : "--partial leaves it out");
    return AddUnserved({folder.path, std::move(failure).error()});
  }
  Status AddUnserved(UnservedModel model) {
    if (options_.mode == ScanMode::kStrict) return std::unexpected(std::move(model.error));
    repository_.hidden.push_back({model.folder, model.error.message});
    repository_.unserved.push_back(std::move(model));
    return {};
  }

  std::unexpected<Error> FailWithoutWeights() {
    if (!repository_.unserved.empty()) return std::unexpected(std::move(repository_.unserved.front().error));
    if (!first_sign_.empty()) return Fail(ErrorCode::kUnsupported, first_sign_);
    std::vector<std::string> candidates, others;
    for (HiddenFile& file : repository_.hidden)
      (file.is_torch_file ? candidates : others).push_back(std::move(file.path));
    for (PassThrough& file : repository_.files) others.push_back(std::move(file.path));
    for (const auto& [path, why] : source_.bad_links()) others.push_back(path);
    constexpr std::string_view kExpected =
        "expected model*.safetensors, pytorch_model*.bin, diffusion_pytorch_model* or adapter_model*";
    if (!candidates.empty())
      return Fail(ErrorCode::kNotFound,
                  fmt::format("{}: no weights under a name that loaders look for, but {}; {}", source_.name(),
                              ListNames(candidates), kExpected),
                  fmt::format("mount the file itself: {}", Shown(candidates.front())));
    return Fail(ErrorCode::kNotFound,
                fmt::format("{}: no weights, {}; {}", source_.name(),
                            others.empty() ? "it is empty" : "only " + ListNames(others), kExpected));
  }

  void HideBadLinks() {
    for (const auto& [path, why] : source_.bad_links()) {
      repository_.hidden.push_back({path, why});
      if (!IsDotFile(path)) repository_.warnings.push_back(fmt::format("{}; it is left out", why));
    }
  }

  /// A folder is shown when something below it is, or when it is empty in the source too.
  void CollectFolders() {
    std::set<std::string> shown;
    const auto add = [&](std::string_view folder) {
      for (; !folder.empty() && shown.emplace(folder).second;) {
        const size_t slash = folder.rfind('/');
        folder = slash == folder.npos ? std::string_view() : folder.substr(0, slash);
      }
    };
    for (const WeightSet& set : repository_.weights) add(set.folder);
    for (const PassThrough& file : repository_.files)
      if (const size_t slash = file.path.rfind('/'); slash != file.path.npos)
        add(std::string_view(file.path).substr(0, slash));
    for (const std::string& folder : empty_folders_) add(folder);
    repository_.folders.assign(shown.begin(), shown.end());
  }

  std::string Shown(std::string_view path) const {
    return path.empty() ? source_.name() : JoinPath(source_.name(), path);
  }

  SourceFiles& source_;
  const Limits& limits_;
  const ScanOptions& options_;
  Repository repository_;
  std::vector<PendingFolder> pending_;
  std::vector<std::string> empty_folders_;
  std::string first_sign_;
  uint64_t entry_count_ = 0;
};

}  // namespace

Result<Repository> ScanRepository(SourceFiles& source, const Limits& limits, const ScanOptions& options) {
  return TreeScan(source, limits, options).Run();
}

}  // namespace weightfs
