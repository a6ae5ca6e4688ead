#include "convert/weightfs_folder.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "convert/target/npy/npy_file.h"

namespace weightfs {
namespace {

/// A header, then a part of another file: a tensor of a weight file under a header of its own.
class SliceFile final : public VirtualFile {
 public:
  SliceFile(std::string header, VirtualFilePtr whole, ByteRange range, const void* wait_group)
      : VirtualFile(header.size() + range.size()),
        header_(std::move(header)),
        whole_(std::move(whole)),
        range_(range),
        wait_group_(wait_group) {}

  Result<std::span<const std::byte>> Read(ByteRange range, ReadScratch& scratch) const override {
    const uint64_t header_bytes = header_.size();
    const auto in_whole = [&](uint64_t position) { return range_.begin + position - header_bytes; };
    if (range.begin >= header_bytes)
      return whole_->Read({in_whole(range.begin), in_whole(range.end)}, scratch);
    const std::span<const std::byte> header = std::as_bytes(std::span(header_));
    if (range.end <= header_bytes) return header.subspan(range.begin, range.size());
    WEIGHTFS_TRY(const std::span<const std::byte> data,
                 whole_->Read({range_.begin, in_whole(range.end)}, scratch));
    // The data may lie anywhere in the scratch buffers, so it moves first.
    const std::span<const std::byte> part = header.subspan(range.begin);
    const std::span<std::byte> reply = scratch.reply().first(range.size());
    std::memmove(reply.data() + part.size(), data.data(), data.size());
    std::memcpy(reply.data(), part.data(), part.size());
    return reply;
  }
  const void* wait_group() const override { return wait_group_; }

 private:
  std::string header_;
  VirtualFilePtr whole_;
  ByteRange range_;
  const void* wait_group_;  ///< The tensor's alone: less than the whole file may wait for.
};

/// The folder of the `.npy` files of each set: the folder of the model; a second set of the same folder (a
/// variant, an adapter) has a folder of its own below, named as its first file is.
std::vector<std::string> TensorFolders(const Report& report) {
  std::vector<std::string> folders;
  std::set<std::string> taken;
  for (const WeightSetReport& set : report.sets) {
    std::string folder = ".weightfs/tensors/" + (set.folder.empty() ? "" : set.folder + "/");
    if (!taken.insert(folder).second) {
      const std::string& file = set.files.front();
      const size_t name = file.rfind('/') == std::string::npos ? 0 : file.rfind('/') + 1;
      folder += file.substr(name, file.rfind(".safetensors") - name) + "/";
    }
    folders.push_back(std::move(folder));
  }
  return folders;
}

}  // namespace

Status AddWeightfsFolder(const Report& report, int64_t mtime_nanoseconds, VirtualTree& tree) {
  WEIGHTFS_TRY(const NodeId folder, tree.AddFolder(".weightfs", mtime_nanoseconds));
  tree.Hide(folder);
  WEIGHTFS_CHECK(
      tree.AddFile(".weightfs/manifest.json", MakeTextFile(ManifestJson(report)), mtime_nanoseconds));

  // Sorted first: names that arrive in order are appended to their folder.
  std::vector<std::pair<std::string, size_t>> paths;
  paths.reserve(report.tensors.size());
  const std::vector<std::string> folders = TensorFolders(report);
  size_t i = 0;
  for (size_t set = 0; set < report.sets.size(); ++set)
    for (uint64_t n = 0; n < report.sets[set].tensor_count; ++n, ++i)
      paths.emplace_back(folders[set] + NpyFileName(report.tensors[i].name, i), i);
  std::sort(paths.begin(), paths.end());
  WEIGHTFS_CHECK(tree.AddFolder(".weightfs/tensors", mtime_nanoseconds));
  for (const auto& [path, index] : paths) {
    const TensorReport& tensor = report.tensors[index];
    const VirtualFilePtr& whole = tree.node(tree.FindPath(tensor.file)).file;
    const ByteRange range{tensor.file_offset_bytes, tensor.file_offset_bytes + tensor.view.size_bytes()};
    const void* wait_group = tensor.view.wait_group(whole->wait_group());
    auto file = std::make_shared<SliceFile>(NpyHeader(tensor.view), whole, range, wait_group);
    WEIGHTFS_CHECK(tree.AddFile(path, std::move(file), mtime_nanoseconds));
  }
  return {};
}

}  // namespace weightfs
