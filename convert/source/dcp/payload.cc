#include "convert/source/dcp/payload.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <numeric>
#include <set>
#include <thread>
#include <utility>

#include "convert/base/bytes.h"
#include "convert/base/relative_path.h"
#include "convert/source/dcp/sharding_info.h"
#include "convert/source/dcp/window_file.h"
#include "convert/source/dcp/zstd_file.h"
#include "convert/source/safetensors/reader.h"
#include "convert/source/torch_zip/reader.h"
#include "convert/source/utf8.h"

namespace weightfs {
namespace {

constexpr std::string_view kOtherSave =
    "are the files of one save? copy the folder again, or mount another step";
/// Size of a safetensors header's length and its first character.
constexpr size_t kHeadBytes = 9;
constexpr size_t kWorkersMax = 8;
/// A thread for fewer costs more than it saves.
constexpr size_t kChunksPerWorker = 256;

std::string DescribeChunk(const DcpWanted& wanted) {
  return fmt::format("tensor {}: its part of sizes {} at {}", Quoted(wanted.tensor->name),
                     wanted.chunk->sizes, wanted.chunk->offsets);
}

std::unexpected<Error> InChunk(Error error, const DcpWanted& wanted) {
  error.message += fmt::format(" ({})", DescribeChunk(wanted));
  return std::unexpected(std::move(error));
}

/// One payload file at a time.
class PayloadReader {
 public:
  PayloadReader(FilePtr file, const SourceContext& context)
      : file_(std::move(file)), window_(std::make_shared<WindowFile>(file_)), context_(context) {}

  Result<RebuiltTensor> Read(const DcpWanted& wanted) {
    const DcpPlace& place = *wanted.chunk->place;
    if (place.offset_bytes >= file_->size_bytes()) return Short(place);
    if (place.is_zstd) return ReadZstd(place);
    char head[kHeadBytes] = {};
    const auto count = std::min<uint64_t>(kHeadBytes, file_->size_bytes() - place.offset_bytes);
    WEIGHTFS_CHECK(window_->ReadAt(place.offset_bytes, std::as_writable_bytes(std::span(head, count))));
    if (std::string_view(head, count).starts_with("PK\3\4")) return ReadArchive(place);
    if (count == kHeadBytes && head[8] == '{') return ReadBlob(wanted);
    return Fail(
        ErrorCode::kCorrupt,
        fmt::format("{}: offset {}: neither a torch.save archive nor a safetensors header; expected one",
                    file_->name(), place.offset_bytes),
        std::string(kOtherSave));
  }

  uint64_t metadata_bytes() const { return metadata_bytes_; }

 private:
  struct Blob {
    Checkpoint checkpoint;
    std::map<std::string_view, size_t> numbers;
    ShardingInfo sharding;
  };

  std::unexpected<Error> Short(const DcpPlace& place) const {
    return Fail(ErrorCode::kCorrupt,
                fmt::format("{}: {} bytes; expected {} more from offset {}: is the file cut off?",
                            file_->name(), file_->size_bytes(), place.length_bytes, place.offset_bytes),
                "copy or download the file again");
  }

  Result<FilePtr> Slice(const DcpPlace& place) const {
    if (!CheckedRange(place.offset_bytes, place.length_bytes, file_->size_bytes())) return Short(place);
    return MakeSubFile(file_, place.offset_bytes, place.length_bytes, file_->name());
  }

  Result<RebuiltTensor> ReadArchive(const DcpPlace& place) {
    WEIGHTFS_TRY(const FilePtr slice, Slice(place));
    WEIGHTFS_TRY(const FilePtr through,
                 MakeSubFile(window_, place.offset_bytes, place.length_bytes, file_->name()));
    Result<RebuiltTensor> tensor = ReadTorchZipTensor(slice, *through, context_, pickles_);
    if (!tensor) {
      Error error = std::move(tensor).error();
      error.message += fmt::format("; offsets count from {}, where the archive begins", place.offset_bytes);
      if (error.remedy.empty() && error.code == ErrorCode::kCorrupt) error.remedy = kOtherSave;
      return std::unexpected(std::move(error));
    }
    if (tensor->view)
      metadata_bytes_ += place.length_bytes - std::min(place.length_bytes, tensor->view->stored_size_bytes());
    return tensor;
  }

  Result<RebuiltTensor> ReadZstd(const DcpPlace& place) {
    WEIGHTFS_TRY(FilePtr slice, Slice(place));
    WEIGHTFS_TRY(const FilePtr content,
                 MakeZstdFile(std::move(slice), fmt::format("{}!{}", file_->name(), place.offset_bytes),
                              context_.cache));
    metadata_bytes_ += std::min<uint64_t>(place.length_bytes, 4_KiB);
    return ReadTorchZipTensor(content, *content, context_, pickles_);
  }

  /// All tensors of a file lie in one safetensors blob at its end, under their names.
  Result<RebuiltTensor> ReadBlob(const DcpWanted& wanted) {
    const uint64_t offset = wanted.chunk->place->offset_bytes;
    auto found = blobs_.find(offset);
    if (found == blobs_.end()) {
      WEIGHTFS_TRY(const FilePtr slice,
                   MakeSubFile(file_, offset, file_->size_bytes() - offset, file_->name()));
      Blob blob;
      WEIGHTFS_TRY(blob.checkpoint, ReadSafetensors(slice, context_));
      WEIGHTFS_TRY(std::optional<ShardingInfo> sharding,
                   ReadShardingInfo(blob.checkpoint.metadata, file_->name(), context_.limits));
      if (sharding) blob.sharding = *std::move(sharding);
      metadata_bytes_ += blob.checkpoint.metadata_bytes;
      found = blobs_.emplace(offset, std::move(blob)).first;
      Blob& kept = found->second;
      for (size_t i = 0; i < kept.checkpoint.tensors.size(); ++i)
        kept.numbers.emplace(kept.checkpoint.tensors[i].name, i);
    }
    const Blob& blob = found->second;
    const auto number = blob.numbers.find(wanted.tensor->name);
    if (number == blob.numbers.end())
      return Fail(ErrorCode::kCorrupt,
                  fmt::format("{}: offset {}: no tensor of this name in the safetensors data; expected one",
                              file_->name(), offset),
                  std::string(kOtherSave));
    // Two shards of one tensor in one file have one name: the writer kept the last only.
    const auto begin = blob.sharding.find(wanted.tensor->name);
    if (begin != blob.sharding.end() && begin->second != wanted.chunk->offsets)
      return Fail(ErrorCode::kCorrupt,
                  fmt::format("{}: offset {}: the shard of this tensor begins at {}; expected {}",
                              file_->name(), offset, begin->second, wanted.chunk->offsets),
                  "the writer keeps just one shard of a tensor in a file: save it with one shard a rank");
    RebuiltTensor tensor;
    tensor.view = blob.checkpoint.tensors[number->second].view;
    return tensor;
  }

  const FilePtr file_;
  const FilePtr window_;
  const SourceContext& context_;
  PickleCache pickles_;
  std::map<uint64_t, Blob> blobs_;  ///< By the offset at which they begin.
  uint64_t metadata_bytes_ = 0;
};

/// The archive holds just the chunk that the metadata says.
Status CheckChunk(const RebuiltTensor& found, const DcpWanted& wanted, const RandomAccessFile& file) {
  if (!found.view) return {};
  Shape sizes = wanted.chunk->sizes;
  // A pair of 4-bit elements is one element to torch.
  if (found.view->stored_dtype() == DType::kF4 && !sizes.empty()) sizes.back() *= 2;
  if (found.view->shape() == sizes && wanted.tensor->dtype != nullptr &&
      wanted.tensor->dtype->dtype == found.view->stored_dtype())
    return {};
  return Fail(
      ErrorCode::kCorrupt,
      fmt::format("{}: offset {}: a tensor of {} of shape {}; expected {} of shape {}, as the metadata says",
                  file.name(), wanted.chunk->place->offset_bytes, TorchName(found.view->stored_dtype()),
                  found.view->shape(), wanted.tensor->dtype_name, sizes),
      std::string(kOtherSave));
}

/// Archives of one file do not share bytes; a safetensors blob is shared by all its tensors.
Status CheckApart(const DcpWanted& before, const DcpWanted& next, const RandomAccessFile& file) {
  const DcpPlace &a = *before.chunk->place, &b = *next.chunk->place;
  if (a.offset_bytes == b.offset_bytes && a.is_zstd == b.is_zstd && a.length_bytes == b.length_bytes &&
      before.tensor == next.tensor && before.chunk->offsets == next.chunk->offsets)
    return {};
  if (CheckedAdd(a.offset_bytes, a.length_bytes).value_or(UINT64_MAX) <= b.offset_bytes) return {};
  return Fail(
      ErrorCode::kCorrupt,
      fmt::format("{}: {} bytes from offset {} overlap those from offset {}, of tensor {}; expected parts "
                  "that lie apart",
                  file.name(), a.length_bytes, a.offset_bytes, b.offset_bytes, Quoted(next.tensor->name)));
}

/// Chunks of one file, in its order.
struct FileChunks {
  FilePtr file;
  std::span<const size_t> order;  ///< Numbers of the chunks.
  Status status;
  uint64_t metadata_bytes = 0;
};

class PayloadWalk {
 public:
  PayloadWalk(SourceFiles& source, const std::string& folder, const DcpMetadata& metadata,
              std::span<const DcpWanted> wanted, const SourceContext& context)
      : source_(source), folder_(folder), metadata_(metadata), wanted_(wanted), context_(context) {}

  Result<DcpPayloads> Run() {
    WEIGHTFS_CHECK(CheckPlaces());
    std::vector<size_t> order(wanted_.size());
    std::iota(order.begin(), order.end(), size_t{0});
    const auto place = [&](size_t i) {
      const DcpPlace& at = *wanted_[i].chunk->place;
      return std::pair(at.file, at.offset_bytes);
    };
    std::ranges::sort(order, {}, place);
    WEIGHTFS_CHECK(ListFolder());
    std::vector<FileChunks> files;
    for (size_t i = 0, end = 0; i < order.size(); i = end) {
      while (end < order.size() && place(order[end]).first == place(order[i]).first) ++end;
      WEIGHTFS_TRY(FilePtr file, Open(metadata_.files[place(order[i]).first], wanted_[order[i]]));
      files.push_back({std::move(file), std::span(order).subspan(i, end - i), {}, 0});
    }
    payloads_.chunks.resize(wanted_.size());
    ReadFiles(files);
    for (FileChunks& file : files) {
      WEIGHTFS_CHECK(std::move(file.status));
      payloads_.metadata_bytes += file.metadata_bytes;
    }
    return std::move(payloads_);
  }

 private:
  Status CheckPlaces() const {
    for (const DcpWanted& one : wanted_)
      if (!one.chunk->place)
        return Fail(ErrorCode::kNotFound,
                    fmt::format("{}: {}: the metadata names no file that holds it; expected one",
                                ShownPath(source_, folder_), DescribeChunk(one)));
    return {};
  }

  Status ListFolder() {
    WEIGHTFS_TRY(const std::vector<SourceEntry> entries, source_.List(folder_));
    for (const SourceEntry& entry : entries)
      if (!entry.is_directory) names_.insert(entry.name);
    return {};
  }

  Result<FilePtr> Open(const std::string& name, const DcpWanted& first) {
    for (const std::string& candidate : {name, name + ".lz4"})
      if (names_.contains(candidate)) return source_.OpenWeights(JoinPath(folder_, candidate));
    if (const auto link = source_.bad_links().find(JoinPath(folder_, name));
        link != source_.bad_links().end())
      return Fail(ErrorCode::kUnsupported, link->second);
    return Fail(ErrorCode::kNotFound,
                fmt::format("{}: missing; expected the file that holds {}",
                            ShownPath(source_, JoinPath(folder_, name)), DescribeChunk(first)),
                "copy the folders of all nodes together");
  }

  /// Files are read side by side: a checkpoint of many ranks is many small reads.
  void ReadFiles(std::vector<FileChunks>& files) {
    std::atomic<size_t> next = 0;
    const auto work = [&] {
      for (size_t i = next++; i < files.size(); i = next++) files[i].status = ReadFile(files[i]);
    };
    const size_t workers = std::min({kWorkersMax, size_t{std::thread::hardware_concurrency()},
                                     wanted_.size() / kChunksPerWorker, files.size()});
    std::vector<std::jthread> threads;
    for (size_t i = 1; i < workers; ++i) threads.emplace_back(work);
    work();
  }

  Status ReadFile(FileChunks& chunks) {
    PayloadReader reader(chunks.file, context_);
    const DcpWanted* before = nullptr;
    for (const size_t i : chunks.order) {
      const DcpWanted& wanted = wanted_[i];
      Result<RebuiltTensor> found = reader.Read(wanted);
      if (!found) return InChunk(std::move(found).error(), wanted);
      if (Status status = CheckChunk(*found, wanted, *chunks.file); !status)
        return InChunk(std::move(status).error(), wanted);
      // Parts in a safetensors blob have no archive around them.
      const bool is_archive = !found->storage.empty() || !found->view;
      if (is_archive && before != nullptr) WEIGHTFS_CHECK(CheckApart(*before, wanted, *chunks.file));
      before = is_archive ? &wanted : nullptr;
      payloads_.chunks[i] = *std::move(found);
    }
    chunks.metadata_bytes = reader.metadata_bytes();
    return {};
  }

  SourceFiles& source_;
  const std::string& folder_;
  const DcpMetadata& metadata_;
  const std::span<const DcpWanted> wanted_;
  const SourceContext& context_;
  std::set<std::string> names_;
  DcpPayloads payloads_;
};

}  // namespace

Result<DcpPayloads> ReadDcpPayloads(SourceFiles& source, const std::string& folder,
                                    const DcpMetadata& metadata, std::span<const DcpWanted> wanted,
                                    const SourceContext& context) {
  return PayloadWalk(source, folder, metadata, wanted, context).Run();
}

}  // namespace weightfs
