#include <fmt/format.h>

#include <string>
#include <vector>

#include "convert/base/relative_path.h"
#include "convert/source/huggingface/classify.h"
#include "convert/source/huggingface/repository.h"

namespace weightfs {
namespace {

constexpr size_t kFoldersMax = 100'000;

}  // namespace

Result<std::vector<PassThrough>> ScanOverlay(SourceFiles& overlay, const Limits&) {
  std::vector<PassThrough> files;
  std::vector<std::string> pending{""};
  size_t folder_count = 0;
  while (!pending.empty()) {
    const std::string folder = std::move(pending.back());
    pending.pop_back();
    if (++folder_count > kFoldersMax)
      return Fail(ErrorCode::kLimitExceeded,
                  fmt::format("{}: more than {} folders, or a link that leads back; "
                              "expected a folder of small files",
                              overlay.name(), kFoldersMax));
    WEIGHTFS_TRY(const std::vector<SourceEntry> entries, overlay.List(folder));
    for (const SourceEntry& entry : entries) {
      if (entry.name.starts_with('.')) continue;
      std::string path = JoinPath(folder, entry.name);
      if (entry.is_directory) {
        pending.push_back(std::move(path));
      } else if (ClassifyFileName(entry.name).role == FileRole::kPlain) {
        files.push_back({std::move(path), entry.size_bytes, entry.mtime_nanoseconds});
      }
    }
  }
  return files;
}

}  // namespace weightfs
