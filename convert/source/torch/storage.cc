#include "convert/source/torch/storage.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "convert/base/bytes.h"
#include "convert/source/torch/node_access.h"
#include "convert/source/utf8.h"

namespace weightfs {
namespace {

constexpr TorchDType kDTypes[] = {
    {"float32", 4, DType::kF32, 4},
    {"float16", 2, DType::kF16, 2},
    {"bfloat16", 2, DType::kBF16, 2},
    {"float64", 8, DType::kF64, 8},
    {"int64", 8, DType::kI64, 8},
    {"int32", 4, DType::kI32, 4},
    {"int16", 2, DType::kI16, 2},
    {"int8", 1, DType::kI8, 1},
    {"uint8", 1, DType::kU8, 1},
    {"uint16", 2, DType::kU16, 2},
    {"uint32", 4, DType::kU32, 4},
    {"uint64", 8, DType::kU64, 8},
    {"bool", 1, DType::kBool, 1},
    {"complex64", 8, DType::kC64, 4},
    {"complex32", 4, std::nullopt, 2},
    {"complex128", 16, std::nullopt, 8},
    {"float8_e4m3fn", 1, DType::kF8E4M3, 1},
    {"float8_e5m2", 1, DType::kF8E5M2, 1},
    {"float8_e4m3fnuz", 1, DType::kF8E4M3Fnuz, 1},
    {"float8_e5m2fnuz", 1, DType::kF8E5M2Fnuz, 1},
    {"float8_e8m0fnu", 1, DType::kF8E8M0, 1},
    {"float4_e2m1fn_x2", 1, DType::kF4, 1},
    {"qint8", 1, std::nullopt, 1},
    {"quint8", 1, std::nullopt, 1},
    {"qint32", 4, std::nullopt, 4},
    {"quint4x2", 1, std::nullopt, 1},
    {"quint2x4", 1, std::nullopt, 1},
    {"bits8", 1, std::nullopt, 1},
    {"bits16", 2, std::nullopt, 2},
    {"bits1x8", 1, std::nullopt, 1},
    {"bits2x4", 1, std::nullopt, 1},
    {"bits4x2", 1, std::nullopt, 1},
    {"int1", 1, std::nullopt, 1},
    {"int2", 1, std::nullopt, 1},
    {"int3", 1, std::nullopt, 1},
    {"int4", 1, std::nullopt, 1},
    {"int5", 1, std::nullopt, 1},
    {"int6", 1, std::nullopt, 1},
    {"int7", 1, std::nullopt, 1},
    {"uint1", 1, std::nullopt, 1},
    {"uint2", 1, std::nullopt, 1},
    {"uint3", 1, std::nullopt, 1},
    {"uint4", 1, std::nullopt, 1},
    {"uint5", 1, std::nullopt, 1},
    {"uint6", 1, std::nullopt, 1},
    {"uint7", 1, std::nullopt, 1},
};

struct Alias {
  std::string_view alias, name;
};

constexpr Alias kDTypeAliases[] = {{"half", "float16"},      {"float", "float32"},    {"double", "float64"},
                                   {"short", "int16"},       {"int", "int32"},        {"long", "int64"},
                                   {"chalf", "complex32"},   {"cfloat", "complex64"}, {"char", "int8"},
                                   {"cdouble", "complex128"}};

constexpr Alias kStorageClasses[] = {
    {"FloatStorage", "float32"},
    {"HalfStorage", "float16"},
    {"BFloat16Storage", "bfloat16"},
    {"DoubleStorage", "float64"},
    {"LongStorage", "int64"},
    {"IntStorage", "int32"},
    {"ShortStorage", "int16"},
    {"CharStorage", "int8"},
    {"ByteStorage", "uint8"},
    {"BoolStorage", "bool"},
    {"QInt8Storage", "qint8"},
    {"QUInt8Storage", "quint8"},
    {"QInt32Storage", "qint32"},
    {"QUInt4x2Storage", "quint4x2"},
    {"QUInt2x4Storage", "quint2x4"},
    {"ComplexFloatStorage", "complex64"},
    {"ComplexDoubleStorage", "complex128"},
};

const TorchDType* DTypeNamed(std::string_view name) {
  const auto* found = std::ranges::find(kDTypes, name, &TorchDType::name);
  return found == std::end(kDTypes) ? nullptr : found;
}

/// `text` without `prefix`, or nothing when it begins otherwise.
std::optional<std::string_view> WithoutPrefix(std::string_view text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return std::nullopt;
  return text.substr(prefix.size());
}

Result<StorageClass> DecodeClass(const pickle::Node& node, std::string_view where) {
  if (node.Is(pickle::Kind::kGlobal)) {
    if (std::optional<StorageClass> known = StorageClassFromGlobal(node.text())) return *known;
    return Fail(ErrorCode::kUnsupported,
                fmt::format("{}: storage class {}; expected one of torch's", where, node.text()));
  }
  return Fail(ErrorCode::kCorrupt, fmt::format("{}: a storage class that is a {}; expected a global", where,
                                               pickle::TypeName(node)));
}

bool IsText(const pickle::Node& node) {
  return node.Is(pickle::Kind::kString) || node.Is(pickle::Kind::kBytes);
}

}  // namespace

const TorchDType* TorchDTypeFromGlobal(std::string_view dotted) {
  const std::optional<std::string_view> name = WithoutPrefix(dotted, "torch.");
  if (!name) return nullptr;
  const auto* alias = std::ranges::find(kDTypeAliases, *name, &Alias::alias);
  return DTypeNamed(alias == std::end(kDTypeAliases) ? *name : alias->name);
}

std::optional<StorageClass> StorageClassFromGlobal(std::string_view dotted) {
  if (!dotted.starts_with("torch.")) return std::nullopt;
  const std::string_view name = dotted.substr(dotted.rfind('.') + 1);
  if (name == "UntypedStorage" || name == "_UntypedStorage") return StorageClass{DTypeNamed("uint8"), true};
  const auto* found = std::ranges::find(kStorageClasses, name, &Alias::alias);
  if (found == std::end(kStorageClasses)) return std::nullopt;
  return StorageClass{DTypeNamed(found->name), false};
}

Result<StorageId> DecodeStorageId(const pickle::Node& persistent, size_t item_count) {
  const std::string where = fmt::format("pickle offset {}", persistent.offset_bytes());
  const pickle::Node& id = PersistentId(persistent);
  const NodeItems items = Items(id);
  if (!id.Is(pickle::Kind::kTuple) || items.empty() || !IsText(*items[0]) || items[0]->text() != "storage")
    return Fail(ErrorCode::kCorrupt,
                fmt::format("{}: a persistent id that is a {}; expected a tuple that begins with \"storage\"",
                            where, pickle::TypeName(id)));
  if (items.size() != item_count)
    return Fail(ErrorCode::kCorrupt,
                fmt::format("{}: a storage id of {} items; expected {}", where, items.size(), item_count));
  StorageId result;
  WEIGHTFS_TRY(result.storage_class, DecodeClass(*items[1], where));
  // Lightning's incremental writer counts storages instead of naming them.
  const std::optional<uint64_t> number = UnsignedValue(*items[2]);
  if ((!IsText(*items[2]) && !number) || !IsText(*items[3]))
    return Fail(ErrorCode::kCorrupt,
                fmt::format("{}: a storage id with a {} as key and a {} as location; expected text", where,
                            pickle::TypeName(*items[2]), pickle::TypeName(*items[3])));
  result.key = number ? std::to_string(*number) : std::string(items[2]->text());
  result.meta = items[3]->text() == "meta";
  const std::optional<uint64_t> count = UnsignedValue(*items[4]);
  if (!count)
    return Fail(ErrorCode::kCorrupt,
                fmt::format("{}: a storage with {} as its element count; expected a number "
                            "from 0 on",
                            where, DescribeValue(*items[4])));
  const std::optional<uint64_t> size = CheckedMultiply(*count, result.storage_class.dtype->element_bytes);
  if (!size)
    return Fail(ErrorCode::kCorrupt,
                fmt::format("{}: a storage of {} elements; its size does not fit 64 bits", where, *count));
  result.element_count = *count;
  result.size_bytes = *size;
  if (item_count > 5 && !items[5]->Is(pickle::Kind::kNone)) result.view_metadata = items[5];
  return result;
}

const TorchTensor* StorageSource::FindTensor(const pickle::Node&) const { return nullptr; }

Result<std::shared_ptr<const TorchStorage>> StorageTable::Get(const StorageId& id, const Make& make) {
  auto found = storages_.find(id.key);
  if (found == storages_.end()) {
    WEIGHTFS_TRY(std::shared_ptr<const TorchStorage> made, make());
    return storages_.emplace(std::string(id.key), std::move(made)).first->second;
  }
  const TorchStorage& known = *found->second;
  if (known.size_bytes != id.size_bytes)
    return Fail(ErrorCode::kCorrupt, fmt::format("storage {} has two sizes, {} and {} bytes; expected one",
                                                 Quoted(id.key), known.size_bytes, id.size_bytes));
  // torch gives every tensor of a storage the type that was named first: a second type would be a second
  // meaning.
  if (known.storage_class.dtype != id.storage_class.dtype && id.size_bytes != 0)
    return Fail(ErrorCode::kCorrupt,
                fmt::format("storage {} has two element types, {} and {}; expected one", Quoted(id.key),
                            known.storage_class.dtype->name, id.storage_class.dtype->name));
  if (known.storage_class.dtype == id.storage_class.dtype &&
      known.storage_class.untyped == id.storage_class.untyped)
    return found->second;
  TorchStorage other = known;
  other.storage_class = id.storage_class;
  return std::make_shared<const TorchStorage>(std::move(other));
}

}  // namespace weightfs
