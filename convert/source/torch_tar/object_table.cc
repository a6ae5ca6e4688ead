#include "convert/source/torch_tar/object_table.h"

#include <fmt/format.h>

#include <array>
#include <utility>

#include "convert/base/bytes.h"
#include "convert/pickle/unpickler.h"
#include "convert/source/torch/branch.h"
#include "convert/source/torch/node_access.h"
#include "convert/source/utf8.h"

namespace weightfs {

using pickle::Kind;
using pickle::Node;
using pickle::NodePtr;

/// A position in a member, where pickles and numbers alternate.
class TarObjects::Cursor {
 public:
  Cursor(const RandomAccessFile& member, const Limits& limits) : member_(member), limits_(limits) {}

  Result<pickle::Tree> Pickle() {
    WEIGHTFS_TRY(pickle::Tree tree, pickle::Parse(member_, offset_bytes_, member_.name(), limits_));
    offset_bytes_ += tree.size_bytes();
    return tree;
  }

  Result<uint64_t> Count() {
    const uint64_t at = offset_bytes_;
    WEIGHTFS_TRY(const pickle::Tree tree, Pickle());
    if (const std::optional<uint64_t> count = UnsignedValue(*tree.root())) return *count;
    return Fail(ErrorCode::kCorrupt,
                fmt::format("{}: offset {}: a count that is {}; expected a number from 0 on", member_.name(),
                            at, DescribeValue(*tree.root())));
  }

  template <typename T>
  Result<T> Number() {
    std::array<std::byte, sizeof(T)> bytes;
    WEIGHTFS_TRY(const ByteRange range, Skip(sizeof(T)));
    WEIGHTFS_CHECK(member_.ReadAt(range.begin, bytes));
    return LoadLittleEndian<T>(bytes.data());
  }

  /// A 64-bit number that must not be negative.
  Result<uint64_t> Unsigned(std::string_view what) {
    const uint64_t at = offset_bytes_;
    WEIGHTFS_TRY(const int64_t value, Number<int64_t>());
    if (value >= 0) return static_cast<uint64_t>(value);
    return Fail(ErrorCode::kCorrupt, fmt::format("{}: offset {}: a {} of {}; expected 0 or more",
                                                 member_.name(), at, what, value));
  }

  Result<ByteRange> Skip(uint64_t count) {
    const std::optional<ByteRange> range = CheckedRange(offset_bytes_, count, member_.size_bytes());
    if (!range)
      return Fail(
          ErrorCode::kCorrupt,
          fmt::format(
              "{}: offset {}: {} bytes are needed; expected them within the {} of the member: is the file "
              "cut off?",
              member_.name(), offset_bytes_, count, member_.size_bytes()));
    offset_bytes_ = range->end;
    return *range;
  }

  std::unexpected<Error> Corrupt(std::string_view what) const {
    return Fail(ErrorCode::kCorrupt, fmt::format("{}: offset {}: {}", member_.name(), offset_bytes_, what));
  }

 private:
  const RandomAccessFile& member_;
  const Limits& limits_;
  uint64_t offset_bytes_ = 0;
};

Status TarObjects::ReadStorages(const FilePtr& member, const Limits& limits) {
  Cursor cursor(*member, limits);
  WEIGHTFS_TRY(const uint64_t count, cursor.Count());
  metadata_bytes_ += member->size_bytes();
  for (uint64_t i = 0; i < count; ++i) WEIGHTFS_CHECK(ReadStorage(member, cursor));
  WEIGHTFS_TRY(const pickle::Tree views, cursor.Pickle());
  if (!views.root()->Is(Kind::kList))
    return cursor.Corrupt(fmt::format("a {}; expected the list of views", ClassName(*views.root())));
  for (const NodePtr view : views.root()->items()) WEIGHTFS_CHECK(AddView(*view, member->name()));
  return {};
}

Status TarObjects::ReadStorage(const FilePtr& member, Cursor& cursor) {
  WEIGHTFS_TRY(const pickle::Tree tree, cursor.Pickle());
  const NodeItems items = Items(*tree.root());
  std::optional<std::string> key;
  std::optional<StorageClass> storage_class;
  if (items.size() == 3) {
    key = KeyText(*items[0]);
    if (items[2]->Is(Kind::kGlobal)) storage_class = StorageClassFromGlobal(items[2]->text());
  }
  if (!key || !storage_class) return cursor.Corrupt("no (key, location, storage class) before this");
  WEIGHTFS_TRY(const uint64_t count, cursor.Unsigned("storage size"));
  const std::optional<uint64_t> size = CheckedMultiply(count, storage_class->dtype->element_bytes);
  if (!size)
    return cursor.Corrupt(fmt::format("a storage of {} elements; its size does not fit 64 bits", count));
  WEIGHTFS_TRY(const ByteRange data, cursor.Skip(*size));
  metadata_bytes_ -= data.size();
  TorchStorage storage{nullptr, *storage_class, data.size(), *key};
  WEIGHTFS_TRY(storage.bytes,
               MakeSubFile(member, data.begin, data.size(), fmt::format("{}!{}", member->name(), *key)));
  if (!storages_.emplace(*key, std::make_shared<const TorchStorage>(std::move(storage))).second)
    return cursor.Corrupt(fmt::format("storage {} a second time; expected each once", Quoted(*key)));
  return {};
}

Status TarObjects::AddView(const Node& view, std::string_view member) {
  const NodeItems items = Items(view);
  const auto corrupt = [&](std::string_view what) {
    return Fail(ErrorCode::kCorrupt, fmt::format("{}: a storage view {}", member, what));
  };
  if (items.size() != 4) return corrupt("that is not (key, root key, offset, count)");
  const std::optional<std::string> key = KeyText(*items[0]), root_key = KeyText(*items[1]);
  const std::optional<uint64_t> offset = UnsignedValue(*items[2]), count = UnsignedValue(*items[3]);
  if (!key || !root_key || !offset || !count) return corrupt("that is not (key, root key, offset, count)");
  const auto root = storages_.find(*root_key);
  if (root == storages_.end()) return corrupt(fmt::format("of {}, which is no storage", Quoted(*root_key)));
  const uint64_t element_bytes = root->second->storage_class.dtype->element_bytes;
  const auto begin = CheckedMultiply(*offset, element_bytes), bytes = CheckedMultiply(*count, element_bytes);
  const auto range = begin && bytes ? CheckedRange(*begin, *bytes, root->second->size_bytes) : std::nullopt;
  if (!range)
    return corrupt(fmt::format("of {} elements from {}; expected them within the {} bytes of {}", *count,
                               *offset, root->second->size_bytes, Quoted(*root_key)));
  TorchStorage storage = *root->second;
  storage.size_bytes = range->size();
  WEIGHTFS_TRY(storage.bytes,
               MakeSubFile(root->second->bytes, range->begin, range->size(), storage.bytes->name()));
  if (!storages_.emplace(*key, std::make_shared<const TorchStorage>(std::move(storage))).second)
    return corrupt(fmt::format("{} a second time; expected each once", Quoted(*key)));
  return {};
}

Status TarObjects::ReadTensors(const FilePtr& member, const Limits& limits) {
  Cursor cursor(*member, limits);
  WEIGHTFS_TRY(const uint64_t count, cursor.Count());
  metadata_bytes_ += member->size_bytes();
  if (count > limits.tensors_max)
    return Fail(ErrorCode::kLimitExceeded,
                fmt::format("{}: {} tensors; the limit is {}", member->name(), count, limits.tensors_max));
  for (uint64_t i = 0; i < count; ++i) WEIGHTFS_CHECK(ReadTensor(cursor, limits));
  return {};
}

Status TarObjects::ReadTensor(Cursor& cursor, const Limits& limits) {
  WEIGHTFS_TRY(const pickle::Tree tree, cursor.Pickle());
  const NodeItems items = Items(*tree.root());
  std::optional<std::string> key, storage_key;
  if (items.size() == 3) key = KeyText(*items[0]), storage_key = KeyText(*items[1]);
  if (!key || !storage_key) return cursor.Corrupt("no (key, storage key, tensor class) before this");
  const auto storage = storages_.find(*storage_key);
  if (storage == storages_.end())
    return cursor.Corrupt(
        fmt::format("tensor {} of storage {}, which is not there", Quoted(*key), Quoted(*storage_key)));
  TorchTensor tensor;
  tensor.storage = storage->second;
  WEIGHTFS_TRY(const int32_t rank, cursor.Number<int32_t>());
  WEIGHTFS_TRY([[maybe_unused]] const uint32_t unused, cursor.Number<uint32_t>());
  if (rank < 0) return cursor.Corrupt(fmt::format("tensor {} of {} dimensions", Quoted(*key), rank));
  if (static_cast<uint32_t>(rank) > limits.tensor_rank_max)
    return Fail(ErrorCode::kLimitExceeded, fmt::format("{}: tensor {} of {} dimensions; the limit is {}",
                                                       file(), Quoted(*key), rank, limits.tensor_rank_max));
  for (auto* numbers : {&tensor.shape, &tensor.strides}) {
    for (int32_t i = 0; i < rank; ++i) {
      WEIGHTFS_TRY(const uint64_t number, cursor.Unsigned("size or stride"));
      numbers->push_back(number);
    }
  }
  WEIGHTFS_TRY(tensor.offset, cursor.Unsigned("storage offset"));
  if (storages_.contains(*key) || !tensors_.emplace(*key, std::move(tensor)).second)
    return cursor.Corrupt(fmt::format("tensor {} a second time; expected each key once", Quoted(*key)));
  return {};
}

Result<std::shared_ptr<const TorchStorage>> TarObjects::Find(const Node& persistent) {
  const std::optional<std::string> key = KeyText(PersistentId(persistent));
  const auto found = key ? storages_.find(*key) : storages_.end();
  if (found != storages_.end()) return found->second;
  return Fail(ErrorCode::kCorrupt,
              fmt::format("pickle offset {}: no storage {}; expected one of the member 'storages'",
                          persistent.offset_bytes(), DescribeValue(PersistentId(persistent))));
}

const TorchTensor* TarObjects::FindTensor(const Node& persistent) const {
  const std::optional<std::string> key = KeyText(PersistentId(persistent));
  const auto found = key ? tensors_.find(*key) : tensors_.end();
  return found == tensors_.end() ? nullptr : &found->second;
}

}  // namespace weightfs
