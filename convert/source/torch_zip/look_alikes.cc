#include "convert/source/torch_zip/look_alikes.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "convert/source/utf8.h"

namespace weightfs {
namespace {

struct LookAlike {
  std::string_view member;  ///< After the root, or anywhere when `anywhere` is set.
  bool anywhere;
  std::string_view what;
  std::string_view remedy;
};

constexpr std::string_view kSaveStateDict =
    "load it with the program that wrote it, and save its state dict: torch.save(model.state_dict(), FILE)";

// Ordered: the first that is there names the archive.
constexpr LookAlike kLookAlikes[] = {
    {".data/extern_modules", false, "a torch.package archive", kSaveStateDict},
    {".data/python_version", false, "a torch.package archive", kSaveStateDict},
    {"constants.pkl", false, "a TorchScript archive",
     "save its state dict: torch.save(torch.jit.load(FILE).state_dict(), OUT)"},
    {"model.json", false, "a TorchScript archive of an early torch", kSaveStateDict},
    {"archive_format", false, "a torch.export archive (.pt2)",
     "save its state dict: torch.save(torch.export.load(FILE).state_dict, OUT)"},
    {"serialized_exported_program.json", true, "a torch.export archive (.pt2)",
     "save its state dict: torch.save(torch.export.load(FILE).state_dict, OUT)"},
    {"models/model.json", false, "a torch.export archive (.pt2)",
     "save its state dict: torch.save(torch.export.load(FILE).state_dict, OUT)"},
    {"MAR-INF/MANIFEST.json", true, "a TorchServe archive (.mar)", "unzip it and use the weight file inside"},
    {"model.weights.h5", true, "a Keras archive (.keras)", "convert it to PyTorch first"},
    {"[Content_Types].xml", true, "an office document", ""},
    {"META-INF/MANIFEST.MF", true, "a Java archive", ""},
};

bool Holds(const ZipDirectory& directory, const LookAlike& look_alike, std::string_view root) {
  const std::string member(look_alike.member);
  if (directory.Find(fmt::format("{}/{}", root, member)) != nullptr) return true;
  return look_alike.anywhere && directory.Find(member) != nullptr;
}

/// Every member is one that torch.save writes, and the pickle is there: none of the look-alikes has just
/// these.
bool IsPlainTorchFile(const ZipDirectory& directory, std::string_view root) {
  constexpr std::string_view kKnown[] = {"data.pkl",
                                         "byteorder",
                                         "version",
                                         ".data/version",
                                         ".format_version",
                                         ".storage_alignment",
                                         ".data/serialization_id"};
  bool has_pickle = false;
  for (size_t i = 0; i < directory.size(); ++i) {
    std::string_view name = directory.name(i);
    if (!name.starts_with(root) || name.size() <= root.size() || name[root.size()] != '/') return false;
    name.remove_prefix(root.size() + 1);
    has_pickle |= name == kKnown[0];
    if (!name.starts_with("data/") && std::ranges::find(kKnown, name) == std::end(kKnown)) return false;
  }
  return has_pickle;
}

bool AllArrays(const ZipDirectory& directory) {
  for (size_t i = 0; i < directory.size(); ++i)
    if (!directory.name(i).ends_with(".npy")) return false;
  return true;
}

}  // namespace

Status RefuseLookAlikes(const ZipDirectory& directory, std::string_view root, std::string_view file) {
  if (IsPlainTorchFile(directory, root)) return {};
  for (const LookAlike& look_alike : kLookAlikes)
    if (Holds(directory, look_alike, root))
      return Fail(ErrorCode::kUnsupported,
                  fmt::format("{}: {} (it holds {}); expected a torch.save file", file, look_alike.what,
                              look_alike.member),
                  std::string(look_alike.remedy));
  if (AllArrays(directory))
    return Fail(
        ErrorCode::kUnsupported, fmt::format("{}: a numpy archive (.npz); expected a torch.save file", file),
        "save a state dict: torch.save({name: torch.from_numpy(a) for name, a in arrays.items()}, FILE)");
  if (directory.Find(fmt::format("{}/data.pkl", root)) != nullptr) return {};
  return Fail(ErrorCode::kUnsupported,
              fmt::format("{}: a zip archive without {}; expected a torch.save file (its first member is {})",
                          file, Quoted(fmt::format("{}/data.pkl", root)), Quoted(directory.name(0))),
              "if the checkpoint is inside the archive, unpack it first");
}

}  // namespace weightfs
