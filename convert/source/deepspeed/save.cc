#include "convert/source/deepspeed/save.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "convert/base/relative_path.h"
#include "convert/source/deepspeed/same_content.h"
#include "convert/source/utf8.h"

namespace weightfs {
namespace {

constexpr uint64_t kLatestBytesMax = 4096;
constexpr std::string_view kLatest = "latest", kLatestUniversal = "latest_universal";
constexpr std::string_view kUniversalFolder = "zero", kScript = "zero_to_fp32.py";

bool HasFile(std::span<const SourceEntry> entries, std::string_view name) {
  return std::ranges::any_of(
      entries, [&](const SourceEntry& entry) { return !entry.is_directory && entry.name == name; });
}

bool HasFolder(std::span<const SourceEntry> entries, std::string_view name) {
  return std::ranges::any_of(
      entries, [&](const SourceEntry& entry) { return entry.is_directory && entry.name == name; });
}

bool IsPlainName(std::string_view name) {
  return !name.empty() && name != "." && name != ".." && !name.contains('/') && !name.contains('\0');
}

/// Each file that is held open takes two descriptors; 1,024 of them are the usual limit.
constexpr size_t kFilesHeldMax = 256;

void MarkMany(DeepSpeedSave& save) {
  for (auto& [name, file] : save.files) file.is_one_of_many = save.files.size() > kFilesHeldMax;
}

/// Adds the rank files among `entries` of `folder`.
Status AddFiles(const std::shared_ptr<SourceFiles>& root, const std::string& folder,
                std::span<const SourceEntry> entries, bool is_also, DeepSpeedSave& save) {
  for (const SourceEntry& entry : entries) {
    const auto name = entry.is_directory ? std::nullopt : ParseDeepSpeedFileName(entry.name);
    if (!name) continue;
    std::string path = JoinPath(folder, entry.name);
    DeepSpeedFile file{root, path, is_also ? JoinPath(root->name(), path) : path, false};
    const auto [known, is_new] = save.files.try_emplace(*name, std::move(file));
    if (is_new) continue;
    const DeepSpeedFile& other = known->second;
    // The same file compressed beside itself: the plain one is taken.
    if (other.root == root && other.path + ".lz4" == path) continue;
    WEIGHTFS_TRY(const FilePtr a, other.root->OpenWeights(other.path));
    WEIGHTFS_TRY(const FilePtr b, root->OpenWeights(path));
    WEIGHTFS_TRY(const bool is_same, HaveSameContent(*a, *b));
    if (!is_same)
      return Fail(
          ErrorCode::kCorrupt,
          fmt::format("{}: other content than {}, which has the same name; expected the files of one save",
                      b->name(), a->name()));
  }
  MarkMany(save);
  return {};
}

class SaveFinder {
 public:
  SaveFinder(const std::shared_ptr<SourceFiles>& source, const std::string& folder, std::string_view tag)
      : source_(source), folder_(folder), tag_(tag) {}

  Result<std::optional<DeepSpeedSave>> Run() {
    WEIGHTFS_TRY(const std::vector<SourceEntry> entries, source_->List(folder_));
    if (IsDeepSpeedTagFolder(entries)) {
      if (!tag_.empty())
        return Fail(ErrorCode::kInvalidArgument,
                    fmt::format("--tag {}: does not apply: {} is one save", tag_, Shown()));
      return Take(folder_, entries);
    }
    for (const SourceEntry& entry : entries) {
      if (!entry.is_directory || entry.name.starts_with('.')) continue;
      WEIGHTFS_TRY(const std::vector<SourceEntry> below, source_->List(JoinPath(folder_, entry.name)));
      if (IsDeepSpeedTagFolder(below)) tags_.push_back(entry.name);
    }
    std::string latest;
    for (const std::string_view name : {kLatest, kLatestUniversal})
      if (latest.empty() && HasFile(entries, name)) {
        WEIGHTFS_TRY(latest, ReadLatest(name));
      }
    // Other programs keep a `latest` too.
    if (tags_.empty() && (latest.empty() || !HasFile(entries, kScript))) return std::nullopt;
    WEIGHTFS_TRY(const std::string tag, Choose(latest));
    const std::string path = JoinPath(folder_, tag);
    WEIGHTFS_TRY(const std::vector<SourceEntry> chosen, source_->List(path));
    WEIGHTFS_TRY(std::optional<DeepSpeedSave> save, Take(path, chosen));
    for (std::string& other : tags_)
      if (other != tag) save->other_tags.push_back(std::move(other));
    return save;
  }

 private:
  std::string Shown() const { return folder_.empty() ? source_->name() : JoinPath(source_->name(), folder_); }

  Result<std::string> ReadLatest(std::string_view name) {
    const std::string path = JoinPath(folder_, name);
    WEIGHTFS_TRY(std::string text, source_->ReadSmall(path, kLatestBytesMax));
    while (!text.empty() && std::string_view(" \t\r\n").contains(text.back())) text.pop_back();
    text.erase(0, text.find_first_not_of(" \t\r\n"));
    if (!IsPlainName(text))
      return Fail(ErrorCode::kCorrupt, fmt::format("{}: {}; expected the name of a folder beside it",
                                                   JoinPath(source_->name(), path), Quoted(text)));
    latest_path_ = JoinPath(source_->name(), path);
    return text;
  }

  Result<std::string> Choose(const std::string& latest) const {
    const auto is_there = [&](std::string_view name) {
      return std::ranges::find(tags_, name) != tags_.end();
    };
    if (!tag_.empty()) {
      if (is_there(tag_)) return std::string(tag_);
      return Fail(ErrorCode::kInvalidArgument, fmt::format("--tag {}: no such save in {}; expected one of {}",
                                                           tag_, Shown(), ListNames(tags_)));
    }
    if (!latest.empty()) {
      if (is_there(latest)) return latest;
      return Fail(
          ErrorCode::kNotFound,
          fmt::format("{}: names {}, which is no save here; expected {}", latest_path_, Quoted(latest),
                      tags_.empty() ? "a folder of rank files" : "one of " + ListNames(tags_)),
          tags_.empty() ? "" : "choose one with --tag TAG");
    }
    if (tags_.size() == 1) return tags_.front();
    return Fail(ErrorCode::kAmbiguous,
                fmt::format("{}: several saves and no `latest`: {}; expected one", Shown(), ListNames(tags_)),
                "choose one with --tag TAG");
  }

  Result<std::optional<DeepSpeedSave>> Take(const std::string& path, std::span<const SourceEntry> entries) {
    DeepSpeedSave save;
    save.folder = path;
    save.shown = path.empty() ? source_->name() : JoinPath(source_->name(), path);
    WEIGHTFS_CHECK(AddFiles(source_, path, entries, false, save));
    const bool has_optimizer = std::ranges::any_of(
        save.files, [](const auto& file) { return file.first.kind == DeepSpeedFileKind::kOptimizer; });
    save.is_universal = HasFolder(entries, kUniversalFolder) && !has_optimizer;
    return save;
  }

  const std::shared_ptr<SourceFiles>& source_;
  const std::string& folder_;
  std::string_view tag_;
  std::vector<std::string> tags_;
  std::string latest_path_;
};

}  // namespace

Result<FilePtr> OpenDeepSpeedFile(const DeepSpeedFile& file) {
  return file.root->OpenWeights(file.path,
                                file.is_one_of_many ? DescriptorPolicy::kPerRead : DescriptorPolicy::kHeld);
}

bool IsDeepSpeedTagFolder(std::span<const SourceEntry> entries) {
  return std::ranges::any_of(entries, [](const SourceEntry& entry) {
    return !entry.is_directory && ParseDeepSpeedFileName(entry.name).has_value();
  });
}

bool IsDeepSpeedRoot(std::span<const SourceEntry> entries) {
  const bool has_folders = std::ranges::any_of(entries, &SourceEntry::is_directory);
  return has_folders &&
         (HasFile(entries, kLatest) || HasFile(entries, kLatestUniversal) || HasFile(entries, kScript));
}

Result<std::optional<DeepSpeedSave>> FindDeepSpeedSave(const std::shared_ptr<SourceFiles>& source,
                                                       const std::string& folder, std::string_view tag) {
  return SaveFinder(source, folder, tag).Run();
}

Status AddDeepSpeedFolder(const std::shared_ptr<SourceFiles>& also, DeepSpeedSave& save) {
  WEIGHTFS_TRY(std::vector<SourceEntry> entries, also->List(""));
  std::string folder;
  if (!IsDeepSpeedTagFolder(entries)) {
    folder = LastComponent(save.shown);
    if (HasFolder(entries, folder)) {
      WEIGHTFS_TRY(entries, also->List(folder));
    } else {
      entries.clear();
    }
  }
  if (!IsDeepSpeedTagFolder(entries))
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("--also {}: no rank files in it, nor in a folder {}; expected those of {}",
                            also->name(), Quoted(LastComponent(save.shown)), save.shown));
  return AddFiles(also, folder, entries, true, save);
}

}  // namespace weightfs
