#include "convert/source/metadata_files.h"

#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "convert/base/json.h"
#include "convert/base/relative_path.h"
#include "convert/source/toml.h"
#include "convert/source/yaml.h"

namespace weightfs {
namespace {

constexpr std::string_view kNumber = "{number}";

constexpr std::string_view kAnyName = "*";

bool IsYaml(std::string_view name) { return name.ends_with(".yaml") || name.ends_with(".yml"); }
bool IsToml(std::string_view name) { return name.ends_with(".toml"); }

/// The only file of `folder` that ends as `suffix` says; empty when there is none, or several.
std::string OnlyFile(SourceFiles& files, const std::string& folder, std::string_view suffix) {
  const Result<std::vector<SourceEntry>> entries = files.List(folder);
  std::string found;
  if (!entries) return found;
  for (const SourceEntry& entry : *entries) {
    if (entry.is_directory || entry.name.starts_with('.') || !entry.name.ends_with(suffix)) continue;
    if (!found.empty()) return {};
    found = entry.name;
  }
  return found;
}

}  // namespace

MetadataFiles::MetadataFiles(Limits limits, std::string number)
    : limits_(limits), number_(std::move(number)) {}
MetadataFiles::~MetadataFiles() = default;

void MetadataFiles::AddFolder(std::shared_ptr<SourceFiles> files, std::string folder) {
  folders_.push_back({std::move(files), std::move(folder)});
}

void MetadataFiles::AddFile(std::string name, std::shared_ptr<SourceFiles> files) {
  files_[std::move(name)] = std::move(files);
}

std::string MetadataFiles::WithNumber(const std::string& name) const {
  const size_t at = name.find(kNumber);
  if (at == name.npos) return name;
  return name.substr(0, at) + number_ + name.substr(at + kNumber.size());
}

std::optional<MetadataFiles::Place> MetadataFiles::Find(const std::string& name) const {
  if (number_.empty() && name.contains(kNumber)) return std::nullopt;
  const std::string real_name = WithNumber(name);
  if (const auto file = files_.find(real_name); file != files_.end()) return Place{file->second, ""};
  for (auto folder = folders_.rbegin(); folder != folders_.rend(); ++folder) {
    std::string file = real_name;
    if (name.starts_with(kAnyName))
      file = OnlyFile(*folder->files, folder->path, std::string_view(name).substr(kAnyName.size()));
    if (std::string path = JoinPath(folder->path, file); !file.empty() && folder->files->HasFile(path))
      return Place{folder->files, std::move(path)};
  }
  return std::nullopt;
}

bool MetadataFiles::Has(const std::string& name) const { return Find(name).has_value(); }

Result<nlohmann::json> MetadataFiles::Parse(const Place& place, const std::string& name) {
  const bool is_yaml = IsYaml(name), is_toml = IsToml(name);
  const uint64_t bytes_max = is_yaml   ? limits_.yaml_bytes_max
                             : is_toml ? limits_.toml_bytes_max
                                       : limits_.json_bytes_max;
  WEIGHTFS_TRY(const std::string text, place.files->ReadSmall(place.path, bytes_max));
  metadata_bytes_ += text.size();
  const std::string shown =
      place.path.empty() ? place.files->name() : JoinPath(place.files->name(), place.path);
  if (is_yaml) return ParseYaml(text, shown, limits_);
  if (is_toml) return ParseToml(text, shown, limits_);
  const JsonOptions options = {.bytes_max = limits_.json_bytes_max,
                               .depth_max = limits_.json_depth_max,
                               .duplicate_keys = DuplicateKeys::kLastWins,
                               .allow_nan = true};
  WEIGHTFS_TRY(const nlohmann::ordered_json document, ParseJson(text, shown, options));
  return nlohmann::json(document);
}

Result<const nlohmann::json*> MetadataFiles::Read(const std::string& name) {
  auto known = parsed_.find(name);
  if (known == parsed_.end()) {
    const std::optional<Place> place = Find(name);
    if (!place) return nullptr;
    auto parsed = std::make_unique<Result<nlohmann::json>>(Parse(*place, name));
    known = parsed_.emplace(name, std::move(parsed)).first;
  }
  const Result<nlohmann::json>& document = *known->second;
  if (!document) return std::unexpected(document.error());
  return &*document;
}

}  // namespace weightfs
