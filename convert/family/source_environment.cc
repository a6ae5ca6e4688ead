// SourceEnvironment: functions of expressions that look at the source, and its metadata.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "convert/family/compare.h"
#include "convert/family/environment.h"

namespace weightfs::family {
namespace {

/// The argument as text.
Result<std::string> TextOf(Function function, const Value& value) {
  if (value.text() != nullptr) return *value.text();
  return Fail(ErrorCode::kCorrupt,
              fmt::format("{} of {}; expected text", FunctionName(function), value.Describe()));
}

/// `pieces` with `number` between them.
std::string NameOf(std::span<const Value> pieces, uint64_t number) {
  std::string name = *pieces[0].text();
  for (const Value& piece : pieces.subspan(1)) name += std::to_string(number) + *piece.text();
  return name;
}

/// The number that makes `name` of `pieces`, or nothing.
std::optional<uint64_t> NumberIn(std::string_view name, std::span<const Value> pieces) {
  const std::string& prefix = *pieces[0].text();
  if (!name.starts_with(prefix)) return std::nullopt;
  uint64_t number = 0;
  const char* end = name.data() + name.size();
  const auto [rest, error] = std::from_chars(name.data() + prefix.size(), end, number);
  if (error != std::errc() || NameOf(pieces, number) != name) return std::nullopt;
  return number;
}

}  // namespace

Result<const SourceIndex*> SourceEnvironment::Index() { return indexes_.For(table().names); }

Result<size_t> SourceEnvironment::Find(const std::string& name) {
  WEIGHTFS_TRY(const SourceIndex* index, Index());
  if (const std::optional<size_t> found = index->Find(name)) return *found;
  return Fail(ErrorCode::kCorrupt, fmt::format("no source tensor {}", name));
}

Result<std::optional<Value>> SourceEnvironment::Root(std::string_view name) {
  const auto* places = table().metadata.Find(name);
  if (places == nullptr) return std::nullopt;
  auto found = metadata_.find(name);
  if (found == metadata_.end()) {
    WEIGHTFS_TRY(Value value, Metadata(*places));
    found = metadata_.emplace(name, std::move(value)).first;
  }
  return found->second;
}

Result<Value> SourceEnvironment::Metadata(const std::vector<MetadataPlace>& places) const {
  for (const MetadataPlace& place : places) {
    WEIGHTFS_TRY(const nlohmann::json* at,
                 place.file.empty() ? input_.metadata->Values() : input_.metadata->File(place.file));
    for (const std::string& key : place.keys) {
      const auto found = at != nullptr && at->is_object() ? at->find(key) : nlohmann::json::const_iterator();
      at = at != nullptr && at->is_object() && found != at->end() ? &*found : nullptr;
    }
    if (at != nullptr && !at->is_null()) return Value::Of(*at);
  }
  return Value();
}

Result<Value> SourceEnvironment::CallSource(Function function, std::span<const Value> arguments) {
  switch (function) {
    case Function::kSourceName:
      return Value(input_.metadata->SourceName());
    case Function::kFile: {
      WEIGHTFS_TRY(const std::string name, TextOf(function, arguments[0]));
      return Value(input_.metadata->HasFile(name));
    }
    case Function::kHas: {
      WEIGHTFS_TRY(const std::string name, TextOf(function, arguments[0]));
      WEIGHTFS_TRY(const SourceIndex* index, Index());
      return Value(index->Find(name).has_value());
    }
    case Function::kAny:
    case Function::kStoredAny:
    case Function::kStoredAll:
    case Function::kWrapper:
    case Function::kCount: {
      std::string key(FunctionName(function));
      for (const Value& argument : arguments) key += "\n" + *argument.text();
      const auto known = answers_.find(key);
      if (known != answers_.end()) return known->second;
      WEIGHTFS_CHECK(Charge(1 + kMatchSteps * input_.tensors.size()));
      WEIGHTFS_TRY(Value answer,
                   function == Function::kCount ? Count(arguments) : Names(function, arguments));
      return answers_.emplace(std::move(key), std::move(answer)).first->second;
    }
    default:
      return Tensor(function, arguments);
  }
}

Result<Value> SourceEnvironment::Names(Function function, std::span<const Value> arguments) {
  if (function == Function::kWrapper) {
    WEIGHTFS_TRY(const SourceIndex* index, Index());
    std::string_view wrapper;
    for (const std::string& name : index->names()) {
      const std::string_view first = std::string_view(name).substr(0, name.find('.'));
      if (first.size() == name.size() || (!wrapper.empty() && first != wrapper)) return Value();
      wrapper = first;
    }
    return wrapper.empty() ? Value() : Value(wrapper);
  }
  WEIGHTFS_TRY(const re2::RE2* pattern, Pattern(*arguments[0].text()));
  const bool wanted = function != Function::kStoredAll;
  const auto matches = [&](const std::string& name) { return re2::RE2::FullMatch(name, *pattern) == wanted; };
  if (function == Function::kAny) {
    WEIGHTFS_TRY(const SourceIndex* index, Index());
    return Value(std::ranges::any_of(index->names(), matches));
  }
  return Value(std::ranges::any_of(input_.tensors, matches, &FamilyTensor::name) == wanted);
}

Result<Value> SourceEnvironment::Count(std::span<const Value> pieces) {
  WEIGHTFS_TRY(const SourceIndex* index, Index());
  uint64_t count = 0;
  while (index->Find(NameOf(pieces, count))) ++count;
  for (const std::string& name : index->names()) {
    const std::optional<uint64_t> number = NumberIn(name, pieces);
    if (number && *number >= count)
      return Fail(ErrorCode::kCorrupt, fmt::format("there is {} but no {}; expected numbers without a hole",
                                                   name, NameOf(pieces, count)));
  }
  return Value(static_cast<int64_t>(count));
}

Result<Value> SourceEnvironment::Tensor(Function function, std::span<const Value> arguments) {
  WEIGHTFS_TRY(const std::string name, TextOf(function, arguments[0]));
  if (function == Function::kSame) {
    WEIGHTFS_TRY(const std::string other, TextOf(function, arguments[1]));
    return Same(name, other);
  }
  WEIGHTFS_TRY(const size_t source, Find(name));
  return TensorFact(function, arguments, input_.tensors[source], input_.options);
}

Result<Value> SourceEnvironment::Same(const std::string& a, const std::string& b) {
  const std::string key = "same\n" + a + "\n" + b;
  if (const auto known = answers_.find(key); known != answers_.end()) return known->second;
  WEIGHTFS_TRY(const size_t source_a, Find(a));
  WEIGHTFS_TRY(const size_t source_b, Find(b));
  const std::vector<TensorView>&parts_a = input_.tensors[source_a].parts,
        &parts_b = input_.tensors[source_b].parts;
  bool same = parts_a.size() == parts_b.size();
  for (size_t i = 0; i < parts_a.size() && same; ++i) {
    auto equal = HoldSameElements(parts_a[i], parts_b[i], input_.limits, budget());
    if (!equal) return std::unexpected(equal.error().Within(fmt::format("{} and {}", a, b)));
    same = *equal;
  }
  return answers_.emplace(key, Value(same)).first->second;
}

Result<Value> TensorFact(Function function, std::span<const Value> arguments, const FamilyTensor& tensor,
                         const FamilyOptions& options) {
  if (function == Function::kParts) return Value(static_cast<int64_t>(tensor.parts.size()));
  if (tensor.parts.empty()) return Fail(ErrorCode::kInternal, fmt::format("{} has no parts", tensor.name));
  const TensorView& part = tensor.parts[0];
  const auto rank = static_cast<int64_t>(part.shape().size());
  switch (function) {
    case Function::kNdim:
      return Value(rank);
    case Function::kDtype:
      return Value(TorchName(part.dtype()));
    case Function::kServedDtype:
      return Value(TorchName(options.dtype && IsCastable(part.dtype()) ? *options.dtype : part.dtype()));
    case Function::kDim:
      break;
    default:
      return Fail(ErrorCode::kInternal, "no function of tensors");
  }
  const int64_t* index = arguments[1].integer();
  if (index == nullptr || *index >= rank || *index < -rank)
    return Fail(ErrorCode::kCorrupt,
                fmt::format("dimension {} of {}, which has {}", arguments[1].Describe(), tensor.name, rank));
  const uint64_t extent = part.shape()[static_cast<size_t>(*index < 0 ? *index + rank : *index)];
  if (extent > INT64_MAX)
    return Fail(ErrorCode::kCorrupt, fmt::format("{} of {} elements", tensor.name, extent));
  return Value(static_cast<int64_t>(extent));
}

}  // namespace weightfs::family
