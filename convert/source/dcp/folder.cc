#include "convert/source/dcp/folder.h"

#include <utility>

#include "convert/base/relative_path.h"

namespace weightfs {
namespace {

constexpr std::string_view kFsdpModel = "pytorch_model_fsdp_";
constexpr std::string_view kModelAndOptimizer = "model_and_optim";
/// Where HuggingFaceStorageWriter leaves what it consolidates from.
constexpr std::string_view kSharded = "sharded";

bool IsFsdpModel(std::string_view name) {
  return name.starts_with(kFsdpModel) && name.size() > kFsdpModel.size() &&
         name.find_first_not_of("0123456789", kFsdpModel.size()) == name.npos;
}

DcpFolder MakeFolder(std::string path, DcpForm form, std::span<const SourceEntry> entries) {
  DcpFolder found{std::move(path), form, {}};
  for (const SourceEntry& entry : entries)
    if (!entry.is_directory && (entry.name == ".metadata" || IsDcpFile(entry.name)))
      found.files.push_back(JoinPath(found.path, entry.name));
  return found;
}

}  // namespace

bool IsDcpModelFolderName(std::string_view name) {
  return name == kModelAndOptimizer || name == kSharded || IsFsdpModel(name);
}

Result<std::optional<DcpFolder>> FindDcpFolder(SourceFiles& source, const std::string& folder,
                                               std::span<const SourceEntry> entries) {
  if (const std::optional<DcpForm> form = FindDcpForm(entries)) return MakeFolder(folder, *form, entries);
  std::optional<DcpFolder> found;
  for (const SourceEntry& entry : entries) {
    if (!entry.is_directory || !IsDcpModelFolderName(entry.name)) continue;
    const std::string path = JoinPath(folder, entry.name);
    WEIGHTFS_TRY(const std::vector<SourceEntry> inside, source.List(path));
    const std::optional<DcpForm> form = FindDcpForm(inside);
    if (!form || (entry.name == kSharded && form != DcpForm::kShards)) continue;
    if (found) return std::nullopt;
    found = MakeFolder(path, *form, inside);
  }
  return found;
}

}  // namespace weightfs
