#include "convert/source/torch_zip/reader.h"

#include <fmt/format.h>

#include <charconv>
#include <utility>

#include "convert/pickle/unpickler.h"
#include "convert/source/torch/node_access.h"
#include "convert/source/torch/rebuild.h"
#include "convert/source/torch/state_dict.h"
#include "convert/source/torch/storage.h"
#include "convert/source/torch/tensor_form.h"
#include "convert/source/torch_zip/deflated_member.h"
#include "convert/source/torch_zip/look_alikes.h"
#include "convert/source/torch_zip/zip_directory.h"
#include "convert/source/utf8.h"

namespace weightfs {
namespace {

constexpr uint64_t kVersionMin = 1;
constexpr uint64_t kVersionMax = 10;
constexpr uint64_t kSmallRecordBytesMax = 64;
/// A deflated pickle may be this many times its compressed bytes, and 1 MiB more: real ones reach about 10.
constexpr uint64_t kInflationMax = 64;
/// Pickles up to this size are read at once.
constexpr std::string_view kPickleRecord = "data.pkl";
constexpr uint64_t kSmallPickleBytes = 4096;

/// The records of a torch.save archive, below its root folder.
class Archive {
 public:
  /// \param through  the same bytes as `file`, for reading metadata; outlives the archive
  static Result<Archive> Open(const FilePtr& file, const RandomAccessFile& through,
                              const SourceContext& context) {
    WEIGHTFS_TRY(ZipDirectory directory, ZipDirectory::Read(through, context.limits));
    Archive archive(file, through, context, std::move(directory));
    WEIGHTFS_CHECK(RefuseLookAlikes(archive.directory_, archive.root_, file->name()));
    WEIGHTFS_CHECK(archive.CheckRoot());
    return archive;
  }

  const FilePtr& file() const { return file_; }
  const RandomAccessFile& through() const { return through_; }
  uint64_t metadata_bytes() const { return directory_.metadata_bytes(); }
  const ZipMember* Find(std::string_view record) const { return directory_.Find(RecordName(record)); }
  std::string RecordName(std::string_view record) const {
    std::string name = root_ + '/';
    return name += record;
  }

  /// What messages call a record: FILE!ROOT/RECORD.
  std::string FullName(std::string_view record) const {
    std::string name = file_->name();
    name += '!';
    return name += RecordName(record);
  }

  /// The content of `member` as a file.
  Result<FilePtr> Content(const ZipMember& member, std::string_view record) const {
    std::string name = FullName(record);
    if (member.method == kZipDeflated) return MakeDeflatedFile(file_, member, std::move(name), cache_);
    return MakeSubFile(file_, member.data_offset_bytes, member.size_bytes, std::move(name));
  }

  /// The text of a small record without white space at its end, or nothing when it is not there.
  Result<std::optional<std::string>> SmallText(std::string_view record) const {
    const ZipMember* member = Find(record);
    if (member == nullptr) return std::nullopt;
    if (member->size_bytes > kSmallRecordBytesMax)
      return Fail(ErrorCode::kCorrupt,
                  fmt::format("{}: zip member {} of {} bytes; expected a word or a number", file_->name(),
                              Quoted(RecordName(record)), member->size_bytes));
    std::string text(member->size_bytes, '\0');
    const std::span<std::byte> bytes = std::as_writable_bytes(std::span(text));
    if (member->method == kZipDeflated) {
      WEIGHTFS_CHECK(InflateMember(through_, *member, FullName(record), bytes));
    } else {
      WEIGHTFS_CHECK(through_.ReadAt(member->data_offset_bytes, bytes));
    }
    while (!text.empty() && (text.back() == '\n' || text.back() == '\r' || text.back() == ' '))
      text.pop_back();
    return text;
  }

 private:
  Archive(FilePtr file, const RandomAccessFile& through, const SourceContext& context, ZipDirectory directory)
      : file_(std::move(file)), through_(through), cache_(context.cache), directory_(std::move(directory)) {
    const std::string_view first = directory_.name(0);
    root_ = first.substr(0, first.find('/'));
  }

  /// Every member lies below the root; folders, which other zip programs add, have no content.
  Status CheckRoot() const {
    const std::string prefix = root_ + "/";
    for (size_t i = 0; i < directory_.size(); ++i) {
      const std::string_view name = directory_.name(i);
      const bool folder = name.ends_with('/');
      if (name.starts_with(prefix) && (folder ? directory_.member(i).size_bytes == 0 : true)) continue;
      return Fail(ErrorCode::kCorrupt, fmt::format("{}: zip member {}; expected a file below {}",
                                                   file_->name(), Quoted(name), Quoted(prefix)));
    }
    return {};
  }

  FilePtr file_;
  const RandomAccessFile& through_;
  std::shared_ptr<BlockCache> cache_;
  ZipDirectory directory_;
  std::string root_;
};

/// Storages that are records `data/KEY`.
class ZipStorages final : public StorageSource {
 public:
  ZipStorages(Archive archive, bool big_endian)
      : StorageSource(archive.file()->name(), big_endian), archive_(std::move(archive)) {}

  Result<std::shared_ptr<const TorchStorage>> Find(const pickle::Node& persistent) override {
    WEIGHTFS_TRY(const StorageId id, DecodeStorageId(persistent, 5));
    return table_.Get(id, [&] { return Make(id); });
  }

 private:
  Result<std::shared_ptr<const TorchStorage>> Make(const StorageId& id) {
    std::string record = fmt::format("data/{}", id.key);
    TorchStorage storage{nullptr, id.storage_class, id.size_bytes, record};
    if (id.meta) return std::make_shared<const TorchStorage>(std::move(storage));
    const ZipMember* member = archive_.Find(record);
    if (member == nullptr)
      return Fail(ErrorCode::kCorrupt,
                  fmt::format("storage {} is not in the archive; expected {} bytes of {}", Quoted(id.key),
                              id.size_bytes, Quoted(archive_.RecordName(record))));
    if (member->size_bytes < id.size_bytes)
      return Fail(ErrorCode::kCorrupt,
                  fmt::format("zip member {} has {} bytes; expected {}, for {} elements of {}",
                              Quoted(archive_.RecordName(record)), member->size_bytes, id.size_bytes,
                              id.element_count, id.storage_class.dtype->name));
    WEIGHTFS_TRY(storage.bytes, archive_.Content(*member, record));
    if (member->size_bytes != id.size_bytes) {
      std::string name = storage.bytes->name();
      WEIGHTFS_TRY(storage.bytes, MakeSubFile(std::move(storage.bytes), 0, id.size_bytes, std::move(name)));
    }
    return std::make_shared<const TorchStorage>(std::move(storage));
  }

  const Archive archive_;
  StorageTable table_;
};

Status CheckVersion(const Archive& archive) {
  for (const std::string_view record : {".data/version", "version"}) {
    WEIGHTFS_TRY(const std::optional<std::string> text, archive.SmallText(record));
    if (!text) continue;
    uint64_t version = 0;
    const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), version);
    if (error != std::errc() || end != text->data() + text->size())
      return Fail(ErrorCode::kCorrupt,
                  fmt::format("{}: version {} in {}; expected a number", archive.file()->name(),
                              Quoted(*text), Quoted(archive.RecordName(record))));
    if (version < kVersionMin || version > kVersionMax)
      return Fail(ErrorCode::kUnsupported,
                  fmt::format("{}: version {} of the torch archive format; expected {} to {}",
                              archive.file()->name(), version, kVersionMin, kVersionMax));
  }
  return {};
}

Result<bool> IsBigEndian(const Archive& archive) {
  WEIGHTFS_TRY(const std::optional<std::string> order, archive.SmallText("byteorder"));
  if (!order || *order == "little") return false;
  if (*order == "big") return true;
  return Fail(ErrorCode::kCorrupt, fmt::format("{}: byte order {}; expected 'little' or 'big'",
                                               archive.file()->name(), Quoted(*order)));
}

Result<pickle::Tree> ParsePickle(const Archive& archive, const Limits& limits) {
  const ZipMember& member = *archive.Find(kPickleRecord);
  const std::string name = archive.FullName(kPickleRecord);
  if (member.size_bytes > limits.pickle_stream_bytes_max)
    return Fail(ErrorCode::kLimitExceeded, fmt::format("{}: a pickle of {} bytes; the limit is {}", name,
                                                       member.size_bytes, limits.pickle_stream_bytes_max));
  if (member.method != kZipDeflated) {
    WEIGHTFS_TRY(const FilePtr file,
                 MakeSubFile(archive.file(), member.data_offset_bytes, member.size_bytes, name));
    return pickle::Parse(*file, 0, name, limits);
  }
  // Compressed bytes fit: they lie within the file.
  if (member.size_bytes / kInflationMax > member.compressed_bytes + 1_MiB / kInflationMax)
    return Fail(ErrorCode::kLimitExceeded,
                fmt::format("{}: {} bytes deflated to {}; expected at most {} times as much when inflated",
                            name, member.size_bytes, member.compressed_bytes, kInflationMax));
  std::string bytes(member.size_bytes, '\0');
  WEIGHTFS_CHECK(InflateMember(archive.through(), member, name, std::as_writable_bytes(std::span(bytes))));
  return pickle::Parse(std::as_bytes(std::span(bytes)), name, limits);
}

/// The same of an archive that is likely to have the pickle of one before it.
Result<std::shared_ptr<const pickle::Tree>> ParseSmallPickle(const Archive& archive, const Limits& limits,
                                                             PickleCache& pickles) {
  const ZipMember& member = *archive.Find(kPickleRecord);
  if (member.method == kZipDeflated || member.size_bytes > kSmallPickleBytes) {
    WEIGHTFS_TRY(pickle::Tree tree, ParsePickle(archive, limits));
    return std::make_shared<const pickle::Tree>(std::move(tree));
  }
  std::string bytes(member.size_bytes, '\0');
  WEIGHTFS_CHECK(
      archive.through().ReadAt(member.data_offset_bytes, std::as_writable_bytes(std::span(bytes))));
  return pickles.Parse(std::move(bytes), archive.FullName(kPickleRecord), limits);
}

}  // namespace

Result<TorchObject> ReadTorchZipObject(const FilePtr& file, const SourceContext& context) {
  WEIGHTFS_TRY(Archive archive, Archive::Open(file, *file, context));
  WEIGHTFS_CHECK(CheckVersion(archive));
  WEIGHTFS_TRY(const bool big_endian, IsBigEndian(archive));
  TorchObject object;
  object.format = "torch-zip";
  WEIGHTFS_TRY(object.tree, ParsePickle(archive, context.limits));
  object.metadata_bytes = archive.metadata_bytes() + object.tree.size_bytes();
  object.storages = std::make_unique<ZipStorages>(std::move(archive), big_endian);
  return object;
}

Result<Checkpoint> ReadTorchZip(const FilePtr& file, const SourceContext& context) {
  WEIGHTFS_TRY(const TorchObject object, ReadTorchZipObject(file, context));
  return ReadStateDict(object, context);
}

Result<std::shared_ptr<const pickle::Tree>> PickleCache::Parse(std::string bytes, std::string_view name,
                                                               const Limits& limits) {
  for (const Entry& entry : entries_)
    if (entry.tree != nullptr && entry.bytes == bytes) return entry.tree;
  WEIGHTFS_TRY(pickle::Tree tree, pickle::Parse(std::as_bytes(std::span(bytes)), name, limits));
  Entry& entry = entries_[oldest_];
  oldest_ = (oldest_ + 1) % entries_.size();
  entry = {std::move(bytes), std::make_shared<const pickle::Tree>(std::move(tree))};
  return entry.tree;
}

Result<RebuiltTensor> ReadTorchZipTensor(const FilePtr& file, const RandomAccessFile& through,
                                         const SourceContext& context, PickleCache& pickles) {
  WEIGHTFS_TRY(Archive archive, Archive::Open(file, through, context));
  WEIGHTFS_CHECK(CheckVersion(archive));
  WEIGHTFS_TRY(const bool big_endian, IsBigEndian(archive));
  WEIGHTFS_TRY(const std::shared_ptr<const pickle::Tree> tree,
               ParseSmallPickle(archive, context.limits, pickles));
  const pickle::Node& root = *tree->root();
  ZipStorages storages(std::move(archive), big_endian);
  if (!IsTensor(root, storages))
    return Fail(ErrorCode::kCorrupt,
                fmt::format("{}: holds a {}; expected one tensor", file->name(), ClassName(root)));
  Result<RebuiltTensor> tensor = RebuildTensor(root, storages, context.limits);
  if (!tensor) return std::unexpected(tensor.error().Within(file->name()));
  return tensor;
}

}  // namespace weightfs
