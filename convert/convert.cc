#include "convert/convert.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "convert/name_filter.h"
#include "convert/served_set.h"
#include "convert/source/huggingface/repository.h"
#include "convert/source/open_file.h"
#include "convert/source/source_files.h"
#include "convert/target/hf/config_json.h"
#include "convert/weightfs_folder.h"

namespace weightfs {
namespace {

constexpr std::string_view kConfigName = "config.json";

std::string_view FileName(std::string_view path) { return path.substr(path.rfind('/') + 1); }

std::string JoinPath(std::string_view folder, std::string_view name) {
  return folder.empty() ? std::string(name) : fmt::format("{}/{}", folder, name);
}

/// A file of the view that is not weights, before config.json is edited.
struct SideFile {
  std::string path;    ///< In the view.
  std::string origin;  ///< What the manifest says: source, overlay or `--config`.
  std::shared_ptr<SourceFiles> files;
  std::string source_path;  ///< Relative to `files`.
  int64_t mtime_nanoseconds = 0;
};

/// Builds one OpenedSource, step by step; each step is a member that reads what the ones before it left.
class Opening {
 public:
  Opening(const std::string& source, const OpenOptions& options, NameFilter filter)
      : options_(options),
        filter_(std::move(filter)),
        cache_(std::make_shared<BlockCache>(options.limits.cache_bytes)) {
    opened_.report.source = source;
  }

  Result<OpenedSource> Run();

 private:
  Result<std::shared_ptr<SourceFiles>> OpenRoot(const std::string& path);
  Result<std::shared_ptr<SourceFiles>> OpenOptionRoot(std::string_view option, const std::string& path);
  Status FindBareFile();
  Status FindRepository();
  Status ServeWeights(const WeightSet& set);
  Status ServeWeightSet(const WeightSet& set, int64_t& mtime_nanoseconds);
  Status CollectSideFiles();
  void AddSideFile(SideFile file);
  Status ServeSideFiles();
  Result<VirtualFilePtr> ServeConfig(const SideFile& file);
  void ReportFamily();
  void ReportConfig(const SideFile& file);
  Status Finish();

  const OpenOptions& options_;
  NameFilter filter_;
  std::shared_ptr<BlockCache> cache_;
  std::shared_ptr<SourceFiles> source_;
  std::vector<std::shared_ptr<SourceFiles>> roots_;  ///< Source, overlays and the folder of `--config`.
  Repository repository_;
  std::vector<SideFile> side_files_;  ///< Sorted by path, one entry a path.
  int64_t newest_mtime_ = 0;
  OpenedSource opened_;
};

Result<OpenedSource> Opening::Run() {
  opened_.cache = cache_;
  opened_.report.dtype = options_.dtype ? std::string(TorchName(*options_.dtype)) : "keep";
  WEIGHTFS_TRY(source_, OpenRoot(opened_.report.source));
  if (source_->is_directory()) {
    WEIGHTFS_CHECK(FindRepository());
  } else {
    WEIGHTFS_CHECK(FindBareFile());
  }
  for (const std::string& folder : repository_.folders) WEIGHTFS_CHECK(opened_.tree.AddFolder(folder, 0));
  for (const WeightSet& set : repository_.weights) WEIGHTFS_CHECK(ServeWeights(set));
  if (opened_.report.sets.empty())
    return Fail(ErrorCode::kNotFound,
                fmt::format("{}: no model is whole; expected at least one", source_->name()));
  WEIGHTFS_CHECK(CollectSideFiles());
  WEIGHTFS_CHECK(ServeSideFiles());
  ReportFamily();
  WEIGHTFS_CHECK(Finish());
  return std::move(opened_);
}

Result<std::shared_ptr<SourceFiles>> Opening::OpenRoot(const std::string& path) {
  SourceFiles::Options options;
  options.source_io = options_.source_io;
  options.allowed_link_dirs = options_.allowed_link_dirs;
  options.limits = options_.limits;
  options.cache = cache_;
  WEIGHTFS_TRY(std::shared_ptr<SourceFiles> files, SourceFiles::Create(path, std::move(options)));
  roots_.push_back(files);
  return files;
}

/// A path that an option names: that it is absent is a fault of the command line, not of the source.
Result<std::shared_ptr<SourceFiles>> Opening::OpenOptionRoot(std::string_view option,
                                                             const std::string& path) {
  Result<std::shared_ptr<SourceFiles>> files = OpenRoot(path);
  if (files || files.error().code != ErrorCode::kNotFound) return files;
  Error error = files.error().Within(option);
  error.code = ErrorCode::kInvalidArgument;
  return std::unexpected(std::move(error));
}

Status Opening::FindBareFile() {
  WeightSet set;
  set.stem = "model";
  set.shards.push_back("");
  repository_.weights.push_back(std::move(set));
  return {};
}

Status Opening::FindRepository() {
  WEIGHTFS_TRY(repository_, ScanRepository(*source_, options_.limits));
  for (const HiddenFile& hidden : repository_.hidden)
    opened_.report.hidden.emplace_back(hidden.path, hidden.reason);
  for (const auto& [path, why] : source_->bad_links()) {
    opened_.report.hidden.emplace_back(path, why);
    opened_.report.notes.push_back(fmt::format("{}: left out: {}", path, why));
  }
  return {};
}

Status Opening::ServeWeights(const WeightSet& set) {
  int64_t mtime_nanoseconds = 0;
  Status served = ServeWeightSet(set, mtime_nanoseconds);
  if (served) return {};
  // One damaged model of a tree may be left out, by name; options that do not fit stay errors.
  const bool can_leave_out =
      options_.partial && source_->is_directory() && served.error().code != ErrorCode::kInvalidArgument;
  if (!can_leave_out) return served;
  const std::string path = JoinPath(set.folder, set.stem);
  opened_.report.notes.push_back(fmt::format("{}: left out (--partial): {}", path, served.error().message));
  for (const std::string& shard : set.shards)
    opened_.report.hidden.emplace_back(shard, "--partial: " + served.error().message);
  return {};
}

Status Opening::ServeWeightSet(const WeightSet& set, int64_t& mtime_nanoseconds) {
  SourceContext context;
  context.limits = options_.limits;
  context.cache = cache_;
  context.weights_key_path = options_.weights_key_path;
  const size_t opened_before = source_->opened().size();
  FilePtr single;
  Checkpoint checkpoint;
  if (source_->is_directory()) {
    WEIGHTFS_TRY(checkpoint, OpenWeightSet(set, *source_, context));
    if (set.is_safetensors && set.index_path.empty()) {
      WEIGHTFS_TRY(single, source_->OpenWeights(set.shards[0]));
    }
  } else {
    WEIGHTFS_TRY(FilePtr file, source_->OpenWeights(""));
    WEIGHTFS_TRY(checkpoint, OpenCheckpointFile(file, context));
    if (checkpoint.format == FileFormatName(FileFormat::kSafetensors)) single = std::move(file);
  }
  WEIGHTFS_TRY(ServedSet served, ServeSet(set, checkpoint, single, filter_, options_, cache_));
  for (size_t i = opened_before; i < source_->opened().size(); ++i)
    mtime_nanoseconds = std::max(mtime_nanoseconds, source_->opened()[i]->identity().mtime_nanoseconds);
  newest_mtime_ = std::max(newest_mtime_, mtime_nanoseconds);

  for (auto& [path, file] : served.files)
    WEIGHTFS_CHECK(opened_.tree.AddFile(path, std::move(file), mtime_nanoseconds));
  Report& report = opened_.report;
  report.metadata_bytes += checkpoint.metadata_bytes;
  report.sets.push_back(std::move(served.report));
  std::move(served.tensors.begin(), served.tensors.end(), std::back_inserter(report.tensors));
  std::move(served.dropped.begin(), served.dropped.end(), std::back_inserter(report.dropped));
  std::move(served.notes.begin(), served.notes.end(), std::back_inserter(report.notes));
  return {};
}

void Opening::AddSideFile(SideFile file) {
  const auto place =
      std::lower_bound(side_files_.begin(), side_files_.end(), file.path,
                       [](const SideFile& a, const std::string& path) { return a.path < path; });
  if (place != side_files_.end() && place->path == file.path) {
    *place = std::move(file);
  } else {
    side_files_.insert(place, std::move(file));
  }
}

Status Opening::CollectSideFiles() {
  for (const PassThrough& file : repository_.files)
    AddSideFile({file.path, "source", source_, file.path, file.mtime_nanoseconds});
  for (const std::string& overlay : options_.overlays) {
    WEIGHTFS_TRY(std::shared_ptr<SourceFiles> files, OpenOptionRoot("--overlay", overlay));
    if (!files->is_directory())
      return Fail(ErrorCode::kInvalidArgument, fmt::format("--overlay {}: not a folder", overlay),
                  "--config FILE takes a single config.json");
    WEIGHTFS_TRY(const std::vector<PassThrough> found, ScanOverlay(*files, options_.limits));
    for (const PassThrough& file : found)
      AddSideFile({file.path, "--overlay " + overlay, files, file.path, file.mtime_nanoseconds});
  }
  if (!options_.config_path.empty()) {
    WEIGHTFS_TRY(std::shared_ptr<SourceFiles> files, OpenOptionRoot("--config", options_.config_path));
    if (files->is_directory())
      return Fail(ErrorCode::kInvalidArgument,
                  fmt::format("--config {}: a folder; expected a file", options_.config_path));
    WEIGHTFS_TRY(const FilePtr file, files->OpenPassThrough(""));
    AddSideFile({std::string(kConfigName), "--config " + options_.config_path, files, "",
                 files->opened().back()->identity().mtime_nanoseconds});
  }
  return {};
}

Result<VirtualFilePtr> Opening::ServeConfig(const SideFile& file) {
  WEIGHTFS_TRY(const std::string text,
               file.files->ReadSmall(file.source_path, options_.limits.json_bytes_max));
  opened_.report.metadata_bytes += text.size();
  const std::string name =
      file.source_path.empty() ? file.files->name() : JoinPath(file.files->name(), file.source_path);
  WEIGHTFS_TRY(std::string edited, SetConfigDtype(text, *options_.dtype, name, options_.limits));
  return MakeTextFile(std::move(edited));
}

Status Opening::ServeSideFiles() {
  // A dtype that changes is stated by the config.json of each folder that holds weights.
  const auto describes_weights = [&](const std::string& path) {
    if (FileName(path) != kConfigName) return false;
    const std::string folder = path.substr(0, path.size() - kConfigName.size());
    return std::any_of(opened_.report.sets.begin(), opened_.report.sets.end(),
                       [&](const WeightSetReport& set) {
                         return (set.folder.empty() ? std::string() : set.folder + "/") == folder;
                       });
  };
  for (const SideFile& file : side_files_) {
    VirtualFilePtr served;
    if (options_.dtype && describes_weights(file.path)) {
      WEIGHTFS_TRY(served, ServeConfig(file));
    } else {
      WEIGHTFS_TRY(FilePtr opened, file.files->OpenPassThrough(file.source_path));
      served = MakePassThroughFile(std::move(opened));
    }
    WEIGHTFS_CHECK(opened_.tree.AddFile(file.path, std::move(served), file.mtime_nanoseconds));
    newest_mtime_ = std::max(newest_mtime_, file.mtime_nanoseconds);
    opened_.report.passed_through.emplace_back(file.path, file.origin);
  }
  return {};
}

/// HF-named tensors under a config.json that says what they are: the identity family. Names never change
/// here, so the family only decides what the user is told.
void Opening::ReportFamily() {
  Report& report = opened_.report;
  report.family = "none";
  for (const SideFile& file : side_files_) {
    const std::string_view name = FileName(file.path);
    if (name == "model_index.json") report.family_evidence.push_back(file.path + ": a diffusers pipeline");
    if (name == "adapter_config.json") report.family_evidence.push_back(file.path + ": a PEFT adapter");
    if (name == kConfigName) ReportConfig(file);
  }
  if (!report.family_evidence.empty() && options_.family != "none") report.family = "identity";
  if (report.family == "none" && options_.family != "none")
    report.notes.push_back(
        fmt::format("{}: no family matched; names are served as they are stored", report.source));
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

Status Opening::Finish() {
  WEIGHTFS_CHECK(AddWeightfsFolder(opened_.report, newest_mtime_, opened_.tree));
  for (const std::shared_ptr<SourceFiles>& root : roots_)
    opened_.source_files.insert(opened_.source_files.end(), root->opened().begin(), root->opened().end());
  return {};
}

}  // namespace

Result<OpenedSource> Open(const std::string& source, const OpenOptions& options) {
  WEIGHTFS_TRY(NameFilter filter, NameFilter::Compile(options.include, options.exclude));
  return Opening(source, options, std::move(filter)).Run();
}

std::vector<FormatInfo> SupportedFormats() {
  return {
      {"torch-zip", "torch.save files since PyTorch 1.6: .bin, .pt, .pth, .ckpt", "formats/torch.md"},
      {"torch-tar", "torch.save files of PyTorch 0.1.1", "formats/torch.md"},
      {"torch-legacy", "torch.save files before PyTorch 1.6", "formats/torch.md"},
      {"safetensors", "safetensors files, single or sharded", "formats/safetensors.md"},
      {"huggingface", "folders of any of these: models, pipelines, adapters, cache snapshots",
       "formats/huggingface.md"},
      {"lz4", "any of the files above, compressed as seekable .lz4 frames", "formats/lz4.md"},
  };
}

}  // namespace weightfs
