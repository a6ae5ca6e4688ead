// Where the models of a tree are served, and what makes a pipeline of them: the folder of each part, parts
// under other names or from overlays, what parts tell of one another, the files that tie them together.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "convert/opening.h"
#include "convert/target/hf/config_json.h"
#include "convert/target/hf/weight_names.h"

namespace weightfs {
namespace {

std::string_view ParentOf(std::string_view path) {
  const size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? std::string_view() : path.substr(0, slash);
}

bool IsBelow(std::string_view path, std::string_view folder) {
  return folder.empty() ||
         (path.size() > folder.size() && path.starts_with(folder) && path[folder.size()] == '/');
}

/// Where a model that lies in `folder` is served as `part`: that folder itself, when its name says so already
/// (`part`, or `part_` and more), else a folder in it.
std::string PartFolder(std::string_view folder, std::string_view part) {
  const std::string_view last = LastComponent(folder);
  const bool is_named_so = last.starts_with(part) && (last.size() == part.size() ||
                                                      last[part.size()] == '_' || last[part.size()] == '-');
  return JoinPath(is_named_so ? ParentOf(folder) : folder, part);
}

/// The model lies where its pipeline looks for it.
bool LeadsPipeline(const PendingSet& pending) {
  return !pending.family.pipeline.needs.empty() &&
         LastComponent(pending.view.folder) == pending.family.folder;
}

std::string PartBeside(const PendingSet& pending, std::string_view name) {
  return JoinPath(ParentOf(pending.view.folder), name);
}

/// A file that describes the weights beside it.
bool DescribesWeights(std::string_view path) {
  const std::string_view name = LastComponent(path);
  return name == kConfigName || name == "generation_config.json";
}

}  // namespace

Status Opening::PlaceSets() {
  WEIGHTFS_CHECK(ForceFamily());
  PlaceNewSets(0);
  const size_t count = pending_.size();
  WEIGHTFS_CHECK(TakeOverlayParts());
  PlaceNewSets(count);
  for (const PendingSet& pending : pending_)
    if (LeadsPipeline(pending)) RenameParts(pending);
  WEIGHTFS_CHECK(TellParts());
  NameStems();
  for (const PendingSet& pending : pending_)
    if (LeadsPipeline(pending)) AddPipelineFiles(pending);
  return {};
}

/// `--family NAME` that fits none of several models is meant for all of them, and they say why it does not
/// fit.
Status Opening::ForceFamily() {
  if (options_.family == kAutoFamily || options_.family == kNoFamily || pending_.size() < 2) return {};
  const auto has_it = [&](const PendingSet& pending) { return pending.family.name == options_.family; };
  if (std::ranges::any_of(pending_, has_it)) return {};
  for (PendingSet& pending : pending_) {
    WEIGHTFS_TRY(pending.family, FindFamily(pending.set, pending.weights, {}));
  }
  return {};
}

/// Gives each set from number `begin` on the folder of its part, unless several would share one.
void Opening::PlaceNewSets(size_t begin) {
  std::map<std::string, std::vector<PendingSet*>> claims;
  for (size_t i = begin; i < pending_.size(); ++i)
    if (const std::string& part = pending_[i].family.folder; !part.empty())
      claims[PartFolder(pending_[i].view.folder, part)].push_back(&pending_[i]);
  for (const auto& [folder, claimants] : claims) {
    const bool is_taken = std::ranges::any_of(pending_, [&](const PendingSet& pending) {
      return pending.view.folder == folder && std::ranges::find(claimants, &pending) == claimants.end();
    });
    if (claimants.size() == 1 && !is_taken) {
      MoveSet(*claimants.front(), folder);
      continue;
    }
    std::vector<std::string> names;
    for (const PendingSet* pending : claimants) names.push_back(pending->view.folder + "/");
    opened_.report.notes.push_back(fmt::format(
        "{}: served under the name that it has, as several models would be {}/; mount one of them to have it "
        "there, with --overlay {} for what lies beside it",
        fmt::join(names, ", "), folder, opened_.report.source));
  }
}

void Opening::MoveSet(PendingSet& pending, const std::string& folder) {
  const std::string from = std::exchange(pending.view.folder, folder);
  if (from == folder) return;
  if (auto dtype = served_dtypes_.extract(from); !dtype.empty()) {
    dtype.key() = folder;
    served_dtypes_.insert(std::move(dtype));
  }
  MoveSideFiles(from, folder);
}

/// The files of a folder go with its model. Into a folder in it goes only the configuration of that model.
void Opening::MoveSideFiles(const std::string& from, const std::string& to) {
  const bool is_inside = IsBelow(to, from);
  const auto is_given = [&](const SideFile& file) { return config_ != nullptr && file.files == config_; };
  std::vector<SideFile> moved;
  std::erase_if(side_files_, [&](SideFile& file) {
    if (!IsBelow(file.path, from)) return false;
    const std::string name = file.path.substr(from.empty() ? 0 : from.size() + 1);
    // A text encoder may lie there too, or above.
    if (is_inside && (name != kConfigName || (!is_given(file) && !HasClassName(file)))) return false;
    file.path = JoinPath(to, name);
    moved.push_back(std::move(file));
    return true;
  });
  for (SideFile& file : moved) {
    const bool is_there = std::ranges::find(side_files_, file.path, &SideFile::path) != side_files_.end();
    // What an overlay has in the new folder wins; what `--config` names wins over that.
    if (!is_there || is_given(file)) AddSideFile(std::move(file));
  }
  if (!is_inside) ForgetEmptyFolders(from);
}

/// Folders that are not shown once their files are elsewhere.
void Opening::ForgetEmptyFolders(const std::string& top) {
  const auto is_used = [&](const std::string& folder) {
    return HasSet(folder) ||
           std::ranges::any_of(side_files_, [&](const SideFile& file) { return IsBelow(file.path, folder); });
  };
  std::erase_if(repository_.folders, [&](const std::string& folder) {
    return (folder == top || IsBelow(folder, top)) && !is_used(folder);
  });
}

/// A configuration of diffusers.
bool Opening::HasClassName(const SideFile& file) const {
  const Result<std::string> text = file.files->ReadSmall(file.source_path, options_.limits.json_bytes_max);
  if (!text) return false;
  const Result<ConfigFacts> facts = ReadConfigFacts(*text, file.path, options_.limits);
  return facts && facts->class_name;
}

bool Opening::HasSet(const std::string& folder) const {
  return std::ranges::any_of(pending_,
                             [&](const PendingSet& pending) { return pending.view.folder == folder; });
}

/// The folder holds a part: a model, or files that need none. A configuration alone is a model without its
/// weights.
bool Opening::IsPart(const std::string& folder) const {
  if (HasSet(folder)) return true;
  bool has_files = false;
  for (const SideFile& file : side_files_) {
    if (!IsBelow(file.path, folder)) continue;
    if (file.path.size() == folder.size() + 1 + kConfigName.size() && file.path.ends_with(kConfigName))
      return false;
    has_files = true;
  }
  return has_files;
}

/// Parts of pipelines that the source lacks and an overlay has: the only weights of an overlay that are
/// served.
Status Opening::TakeOverlayParts() {
  std::set<std::string> wanted;
  for (const PendingSet& pending : pending_) {
    if (!LeadsPipeline(pending)) continue;
    for (const std::string& name : pending.family.pipeline.needs) wanted.insert(PartBeside(pending, name));
    for (const auto& [name, other] : pending.family.pipeline.folders)
      wanted.insert(PartBeside(pending, other));
  }
  if (wanted.empty()) return {};
  const ScanOptions scan = {
      .mode = ScanMode::kPartial, .may_lack_weights = true, .weight_patterns = families_->WeightPatterns()};
  for (size_t i = overlays_.size(); i-- > 0;) {
    const Result<Repository> found = ScanRepository(*overlays_[i], options_.limits, scan);
    if (!found)
      return std::unexpected(found.error().Within(fmt::format("--overlay {}", options_.overlays[i])));
    for (const UnservedModel& model : found->unserved)
      if (wanted.contains(model.folder) && !HasSet(model.folder) && !options_.partial)
        return std::unexpected(model.error);
    std::vector<WeightSet> taken;
    for (const WeightSet& set : found->weights)
      if (wanted.contains(set.folder) && !HasSet(set.folder)) taken.push_back(set);
    for (WeightSet& set : taken) {
      set.overlay = overlays_[i];
      for (WeightSet& beside : set.beside) beside.overlay = overlays_[i];
      WEIGHTFS_CHECK(TakeWeights(set));
    }
  }
  return {};
}

/// Parts under another name that the pipeline knows get the one that it looks for. When several have one
/// folder, the model is the first, the other files are all of them.
void Opening::RenameParts(const PendingSet& pending) {
  std::map<std::string, std::string> renamed;
  for (const auto& [name, other] : pending.family.pipeline.folders) {
    const std::string to = PartBeside(pending, name), from = PartBeside(pending, other);
    if (IsPart(to)) continue;
    if (const auto first = renamed.find(from); first != renamed.end()) {
      const std::vector<SideFile> files = side_files_;
      for (const SideFile& file : files) {
        if (!IsBelow(file.path, first->second) || DescribesWeights(file.path)) continue;
        SideFile copy = file;
        copy.path = JoinPath(to, file.path.substr(first->second.size() + 1));
        AddSideFile(std::move(copy));
      }
      continue;
    }
    if (!IsPart(from)) continue;
    renamed.emplace(from, to);
    for (PendingSet& part : pending_)
      if (part.view.folder == from) part.view.folder = to;
    MoveSideFiles(from, to);
  }
}

/// A model that a pipeline is made around knows things of its other parts that their own weights do not show.
/// What several of them say differently is not told.
Status Opening::TellParts() {
  std::map<std::string, std::optional<std::map<std::string, std::string>>> told;
  for (const PendingSet& pending : pending_)
    for (const auto& [name, options] : pending.family.pipeline.options) {
      const auto [known, is_new] = told.try_emplace(PartBeside(pending, name), options);
      if (!is_new && known->second != options) known->second.reset();
    }
  if (told.empty()) return {};
  for (PendingSet& part : pending_) {
    const auto options = told.find(part.view.folder);
    if (options == told.end() || !options->second || part.family.name == kNoFamily) continue;
    WEIGHTFS_TRY(part.family, FindFamily(part.set, part.weights, {*options->second, true}));
  }
  return {};
}

/// Files have the name under which the loader of their configuration looks for them.
void Opening::NameStems() {
  for (PendingSet& pending : pending_) {
    if (pending.view.stem != kModelStem) continue;
    if (!pending.family.target.empty()) {
      pending.view.stem = StemOf(pending.family.target);
      continue;
    }
    // Weights that have such a name already keep it.
    if (LastComponent(pending.set.shards.front()).starts_with(kModelStem)) continue;
    const auto config =
        std::ranges::find(side_files_, JoinPath(pending.view.folder, kConfigName), &SideFile::path);
    if (config != side_files_.end() && HasClassName(*config)) pending.view.stem = kDiffusersStem;
  }
}

void Opening::AddPipelineFiles(const PendingSet& pending) {
  const FamilyPipeline& pipeline = pending.family.pipeline;
  std::vector<std::string> missing;
  for (const std::string& name : pipeline.needs)
    if (!IsPart(PartBeside(pending, name))) missing.push_back(name + "/");
  for (const auto& [name, text] : pipeline.files) {
    std::string path = PartBeside(pending, name);
    if (!missing.empty() || std::ranges::find(side_files_, path, &SideFile::path) != side_files_.end())
      continue;
    AddSideFile({std::move(path),
                 fmt::format("derived by the family {}", pending.family.name),
                 nullptr,
                 {},
                 text,
                 pending.mtime_nanoseconds});
  }
  if (missing.empty() || pipeline.files.empty()) return;
  opened_.report.notes.push_back(fmt::format(
      "{}/: no {} beside it, so that no {} is made; an --overlay DIR that has what is missing completes the "
      "pipeline",
      pending.view.folder, fmt::join(missing, ", "), pipeline.files.front().first));
}

}  // namespace weightfs
