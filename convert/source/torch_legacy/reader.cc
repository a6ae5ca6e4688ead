#include "convert/source/torch_legacy/reader.h"

#include <fmt/format.h>

#include <array>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "convert/base/bytes.h"
#include "convert/pickle/unpickler.h"
#include "convert/source/torch/node_access.h"
#include "convert/source/torch/state_dict.h"
#include "convert/source/torch/storage.h"
#include "convert/source/torch_legacy/storage_ids.h"
#include "convert/source/utf8.h"

namespace weightfs {
namespace {

using pickle::Kind;
using pickle::Node;
using pickle::NodePtr;

constexpr int64_t kProtocolVersion = 1001;
/// 0x1950A86A20F9469CFC6C, least significant byte first.
constexpr std::string_view kMagic("\x6C\xFC\x9C\x46\xF9\x20\x6A\xA8\x50\x19", 10);

/// Reads the pickles at the front of a file, one after the other.
class Sections {
 public:
  Sections(const RandomAccessFile& file, const Limits& limits) : file_(file), limits_(limits) {}

  Result<pickle::Tree> Next() {
    WEIGHTFS_TRY(pickle::Tree tree, pickle::Parse(file_, offset_bytes_, file_.name(), limits_));
    offset_bytes_ += tree.size_bytes();
    return tree;
  }
  /// Where the next section begins.
  uint64_t offset_bytes() const { return offset_bytes_; }

 private:
  const RandomAccessFile& file_;
  const Limits& limits_;
  uint64_t offset_bytes_ = 0;
};

/// True for a dict of numbers, booleans and dicts of numbers: what torch writes about the machine.
bool IsSystemInfo(const Node& node) {
  if (!node.Is(Kind::kDict)) return false;
  for (const auto [key, value] : node.pairs()) {
    if (value->Is(Kind::kInt) || value->Is(Kind::kBool)) continue;
    if (!value->Is(Kind::kDict)) return false;
    for (const auto [type, size] : value->pairs())
      if (!size->Is(Kind::kInt)) return false;
  }
  return true;
}

Status ReadPreamble(Sections& sections, std::string_view file) {
  WEIGHTFS_TRY(const pickle::Tree magic, sections.Next());
  if (!IsTorchLegacyMagic(*magic.root()))
    return Fail(ErrorCode::kCorrupt,
                fmt::format("{}: the first pickle is a {}; expected torch's magic number", file,
                            ClassName(*magic.root())));
  const uint64_t protocol_offset = sections.offset_bytes();
  WEIGHTFS_TRY(const pickle::Tree protocol, sections.Next());
  if (!protocol.root()->Is(Kind::kInt))
    return Fail(ErrorCode::kCorrupt,
                fmt::format("{}: offset {}: a {}; expected the protocol version {}", file, protocol_offset,
                            ClassName(*protocol.root()), kProtocolVersion));
  if (protocol.root()->integer() != kProtocolVersion)
    return Fail(ErrorCode::kUnsupported,
                fmt::format("{}: offset {}: protocol version {}; expected {}", file, protocol_offset,
                            protocol.root()->integer(), kProtocolVersion));
  const uint64_t info_offset = sections.offset_bytes();
  WEIGHTFS_TRY(const pickle::Tree info, sections.Next());
  if (!IsSystemInfo(*info.root()))
    return Fail(ErrorCode::kCorrupt,
                fmt::format("{}: offset {}: a {}; expected a dict of numbers about the machine", file,
                            info_offset, ClassName(*info.root())));
  return {};
}

bool IsModuleId(const Node& persistent) {
  const NodeItems items = Items(PersistentId(persistent));
  return !items.empty() && items[0]->text() == "module";
}

/// Storages that lie one after the other behind the pickles.
class LegacyStorages final : public StorageSource {
 public:
  explicit LegacyStorages(FilePtr file) : StorageSource(file->name()), file_(std::move(file)) {}

  /// Learns the type and size of every storage that the object uses: where the bytes are follows from these.
  Status CollectIds(const pickle::Tree& object) {
    for (const NodePtr persistent : CollectPersistentIds(object)) {
      if (IsModuleId(*persistent)) continue;
      Result<StorageId> id = DecodeStorageId(*persistent, 6);
      if (!id) return std::unexpected(id.error().Within(file()));
      const auto [known, added] = roots_.try_emplace(std::string(id->key), Root{*id, 0, false});
      if (!added && known->second.id.size_bytes != id->size_bytes)
        return Fail(ErrorCode::kCorrupt,
                    fmt::format("{}: storage {} has two sizes, {} and {} bytes; expected one", file(),
                                Quoted(id->key), known->second.id.size_bytes, id->size_bytes));
    }
    return {};
  }

  /// Places the storages, which begin at `offset_bytes` in the order of `keys`.
  Status Place(const Node& keys, uint64_t offset_bytes) {
    if (!keys.Is(Kind::kList))
      return Fail(ErrorCode::kCorrupt,
                  fmt::format("{}: a {}; expected the list of storage keys", file(), ClassName(keys)));
    for (const NodePtr key : keys.items()) WEIGHTFS_CHECK(PlaceOne(*key, offset_bytes));
    for (const auto& [key, root] : roots_)
      if (!root.placed)
        return Fail(ErrorCode::kCorrupt,
                    fmt::format("{}: storage {} is used but not in the list of storages; expected it there",
                                file(), Quoted(key)));
    return {};
  }

  Result<std::shared_ptr<const TorchStorage>> Find(const Node& persistent) override {
    WEIGHTFS_TRY(const StorageId id, DecodeStorageId(persistent, 6));
    const Root& root = roots_.find(id.key)->second;  // CollectIds saw every id of the tree.
    WEIGHTFS_TRY(std::shared_ptr<const TorchStorage> storage, table_.Get(id, [&] { return Make(id, root); }));
    if (id.view_metadata == nullptr) return storage;
    return FindView(id, *storage);
  }

 private:
  struct Root {
    StorageId id;
    uint64_t data_offset_bytes = 0;
    bool placed = false;
  };

  Status PlaceOne(const Node& key, uint64_t& offset_bytes) {
    const auto found = key.Is(Kind::kString) ? roots_.find(key.text()) : roots_.end();
    if (found == roots_.end())
      return Fail(ErrorCode::kCorrupt,
                  fmt::format("{}: the list of storages names {}, which nothing uses; expected "
                              "the storages of the pickle",
                              file(), DescribeValue(key)));
    Root& root = found->second;
    if (root.placed)
      return Fail(ErrorCode::kCorrupt, fmt::format("{}: the list of storages names {} twice; expected once",
                                                   file(), Quoted(key.text())));
    std::array<std::byte, 8> bytes;
    if (!CheckedRange(offset_bytes, bytes.size(), file_->size_bytes())) return CutOff(root, offset_bytes, 8);
    WEIGHTFS_CHECK(file_->ReadAt(offset_bytes, bytes));
    const auto count = LoadLittleEndian<uint64_t>(bytes.data());
    if (count != root.id.element_count)
      return Fail(ErrorCode::kCorrupt,
                  fmt::format("{}: offset {}: storage {} of {} elements; expected {}, as the pickle says",
                              file(), offset_bytes, Quoted(root.id.key), count, root.id.element_count));
    offset_bytes += bytes.size();
    const auto data = CheckedRange(offset_bytes, root.id.size_bytes, file_->size_bytes());
    if (!data) return CutOff(root, offset_bytes, root.id.size_bytes);
    root.data_offset_bytes = offset_bytes;
    root.placed = true;
    offset_bytes = data->end;
    return {};
  }

  std::unexpected<Error> CutOff(const Root& root, uint64_t offset_bytes, uint64_t wanted) const {
    return Fail(ErrorCode::kCorrupt,
                fmt::format("{}: storage {} needs {} bytes at offset {}; expected them within the {} of the "
                            "file: is it cut off?",
                            file(), Quoted(root.id.key), wanted, offset_bytes, file_->size_bytes()));
  }

  Result<std::shared_ptr<const TorchStorage>> Make(const StorageId& id, const Root& root) {
    TorchStorage storage{nullptr, id.storage_class, id.size_bytes, std::string(id.key)};
    if (!id.meta) {
      WEIGHTFS_TRY(storage.bytes, MakeSubFile(file_, root.data_offset_bytes, id.size_bytes,
                                              fmt::format("{}!{}", file_->name(), id.key)));
    }
    return std::make_shared<const TorchStorage>(std::move(storage));
  }

  /// A view of a storage, which only files of torch 0.3 and before have: (key, offset, count), in elements.
  Result<std::shared_ptr<const TorchStorage>> FindView(const StorageId& id, const TorchStorage& root) {
    const NodeItems view = Items(*id.view_metadata);
    const uint64_t element_bytes = id.storage_class.dtype->element_bytes;
    const auto in_bytes = [&](size_t item) -> std::optional<uint64_t> {
      const std::optional<uint64_t> value = UnsignedValue(*view[item]);
      return value ? CheckedMultiply(*value, element_bytes) : std::nullopt;
    };
    std::optional<ByteRange> range;
    if (view.size() == 3 && in_bytes(1) && in_bytes(2))
      range = CheckedRange(*in_bytes(1), *in_bytes(2), root.size_bytes);
    if (!range || (!view[0]->Is(Kind::kString) && !view[0]->Is(Kind::kBytes)))
      return Fail(ErrorCode::kCorrupt,
                  fmt::format("a view of storage {} that is not (key, offset, count) within its "
                              "{} bytes",
                              Quoted(id.key), root.size_bytes));
    const std::pair<std::string, ByteRangeKey> key{std::string(id.key), {range->begin, range->end}};
    std::shared_ptr<const TorchStorage>& known = views_[key];
    if (known != nullptr && known->storage_class.dtype == id.storage_class.dtype) return known;
    TorchStorage storage = root;
    storage.storage_class = id.storage_class;
    storage.size_bytes = range->size();
    if (root.bytes != nullptr) {
      WEIGHTFS_TRY(storage.bytes, MakeSubFile(root.bytes, range->begin, range->size(), root.bytes->name()));
    }
    known = std::make_shared<const TorchStorage>(std::move(storage));
    return known;
  }

  using ByteRangeKey = std::pair<uint64_t, uint64_t>;

  FilePtr file_;
  std::map<std::string, Root, std::less<>> roots_;
  std::map<std::pair<std::string, ByteRangeKey>, std::shared_ptr<const TorchStorage>> views_;
  StorageTable table_;
};

}  // namespace

bool IsTorchLegacyMagic(const pickle::Node& root) { return root.Is(Kind::kBigInt) && root.text() == kMagic; }

Result<TorchObject> ReadTorchLegacyObject(const FilePtr& file, const SourceContext& context) {
  Sections sections(*file, context.limits);
  WEIGHTFS_CHECK(ReadPreamble(sections, file->name()));
  TorchObject object;
  object.format = "torch-legacy";
  WEIGHTFS_TRY(object.tree, sections.Next());
  auto storages = std::make_unique<LegacyStorages>(file);
  WEIGHTFS_CHECK(storages->CollectIds(object.tree));
  WEIGHTFS_TRY(const pickle::Tree keys, sections.Next());
  object.metadata_bytes = sections.offset_bytes() + 8 * Items(*keys.root()).size();
  WEIGHTFS_CHECK(storages->Place(*keys.root(), sections.offset_bytes()));
  object.storages = std::move(storages);
  return object;
}

Result<Checkpoint> ReadTorchLegacy(const FilePtr& file, const SourceContext& context) {
  WEIGHTFS_TRY(const TorchObject object, ReadTorchLegacyObject(file, context));
  return ReadStateDict(object, context);
}

}  // namespace weightfs
