#include "convert/source/deepspeed/partitions.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "convert/base/bytes.h"
#include "convert/source/utf8.h"
#include "convert/view/algebra.h"

namespace weightfs {
namespace {

const OptimizerStates* FirstThere(const OptimizerRanks& ranks) {
  const auto found =
      std::ranges::find_if(ranks, [](const OptimizerStates* states) { return states != nullptr; });
  return found == ranks.end() ? nullptr : *found;
}

/// The piece of group number `group` that a rank holds.
const TensorView& VectorOf(const OptimizerStates& states, size_t group) { return states.groups[group].view; }

std::unexpected<Error> FailLayout(const OptimizerStates& states, size_t group, uint64_t count,
                                  std::string_view expected) {
  return Fail(ErrorCode::kCorrupt,
              fmt::format("{}: {} elements of group {}; expected {}: files of different saves?", states.shown,
                          count, group, expected));
}

/// The vector of a group: pieces of one length, then a shorter one, then none.
Result<FlatVector> GatherGroup(const OptimizerRanks& ranks, size_t group) {
  uint64_t length = 0;
  for (const OptimizerStates* states : ranks)
    if (states != nullptr) length = std::max(length, VectorOf(*states, group).element_count());
  FlatVector vector;
  std::optional<uint64_t> before;
  for (const OptimizerStates* states : ranks) {
    if (states == nullptr) {
      // All but the last pieces have the full length; how short those are only matters to what lies in them.
      WEIGHTFS_CHECK(vector.AddMissing(length));
      continue;
    }
    const uint64_t count = VectorOf(*states, group).element_count();
    if (before && *before < length && count > 0)
      return FailLayout(*states, group, count,
                        fmt::format("none, as the rank before has {} of {}", *before, length));
    before = count;
    WEIGHTFS_CHECK(vector.Add(VectorOf(*states, group)));
  }
  return vector;
}

Status CheckGroups(const OptimizerRanks& ranks) {
  const OptimizerStates& first = *FirstThere(ranks);
  for (const OptimizerStates* states : ranks) {
    if (states == nullptr) continue;
    if (states->groups.size() != first.groups.size())
      return Fail(ErrorCode::kCorrupt,
                  fmt::format("{}: {} groups; expected {}, as in {}: files of different saves?",
                              states->shown, states->groups.size(), first.groups.size(), first.shown));
    for (size_t group = 0; group < first.groups.size(); ++group)
      if (VectorOf(*states, group).dtype() != VectorOf(first, group).dtype())
        return Fail(ErrorCode::kCorrupt,
                    fmt::format("{}: group {} is {}; expected {}, as in {}", states->shown, group,
                                TorchName(VectorOf(*states, group).dtype()),
                                TorchName(VectorOf(first, group).dtype()), first.shown));
  }
  return {};
}

}  // namespace

Status FlatVector::Add(const TensorView& vector) {
  WEIGHTFS_CHECK(AddMissing(vector.element_count()));
  vectors_.back() = vector;
  return {};
}

Status FlatVector::AddMissing(uint64_t element_count) {
  const std::optional<uint64_t> end = CheckedAdd(size(), element_count);
  if (!end) return Fail(ErrorCode::kCorrupt, "partitions of more elements than fit 64 bits");
  ends_.push_back(*end);
  vectors_.emplace_back();
  return {};
}

Result<bool> FlatVector::AppendRange(uint64_t begin, uint64_t count, std::vector<TensorView>& parts) const {
  auto at = static_cast<size_t>(std::ranges::upper_bound(ends_, begin) - ends_.begin());
  while (count > 0) {
    const uint64_t piece_begin = at == 0 ? 0 : ends_[at - 1];
    const uint64_t taken = std::min(count, ends_[at] - begin);
    if (taken > 0) {
      if (!vectors_[at]) return false;
      WEIGHTFS_TRY(TensorView part, Narrow(*vectors_[at], 0, begin - piece_begin, taken));
      parts.push_back(std::move(part));
    }
    begin += taken;
    count -= taken;
    ++at;
  }
  return true;
}

Result<TensorView> JoinParts(std::span<const TensorView> parts, DType dtype, const Shape& shape) {
  if (parts.empty()) {
    WEIGHTFS_TRY(Layout layout, Layout::Contiguous(0, UnitBytes(dtype), 0));
    return TensorView::Make(MakeMemoryFile("", "nothing"), std::move(layout), dtype, shape);
  }
  if (parts.size() == 1) return Reshape(parts.front(), shape);
  Result<TensorView> joined = Concat(parts, 0);
  if (joined) return Reshape(*joined, shape);
  // Parts that differ in their marks (negated, of other byte order) are a fault of the files, not of a
  // caller.
  Error error = std::move(joined).error();
  if (error.code == ErrorCode::kInvalidArgument) error.code = ErrorCode::kCorrupt;
  return std::unexpected(std::move(error));
}

Status CutGroup(const OptimizerRanks& ranks, size_t group, const ShapeGroup& shapes,
                std::span<const uint64_t> paddings, uint64_t alignment,
                std::vector<RebuiltParameter>& parameters) {
  WEIGHTFS_CHECK(CheckGroups(ranks));
  const OptimizerStates& first = *FirstThere(ranks);
  if (group >= first.groups.size())
    return Fail(ErrorCode::kCorrupt,
                fmt::format("{}: {} groups; expected group {}, of which the model states list "
                            "parameters",
                            first.shown, first.groups.size(), group));
  if (!paddings.empty() && paddings.size() != shapes.size())
    return Fail(
        ErrorCode::kCorrupt,
        fmt::format(
            "{}: param_alignment_paddings of group {}: {} numbers; expected {}, one for each parameter",
            first.shown, group, paddings.size(), shapes.size()));
  WEIGHTFS_TRY(const FlatVector vector, GatherGroup(ranks, group));
  const TensorView& piece = VectorOf(first, group);
  const std::string file =
      NameRange(first.file, (*std::ranges::find_if(ranks.rbegin(), ranks.rend(), [](const auto* r) {
                              return r != nullptr;
                            }))->file);
  uint64_t offset = 0;
  for (size_t i = 0; i < shapes.size(); ++i) {
    const NamedShape& named = shapes[i];
    const std::optional<uint64_t> end = CheckedAdd(offset, named.element_count);
    if (!end || *end > vector.size())
      return FailLayout(first, group, vector.size(),
                        fmt::format("more, for parameter {} of {} elements at {}", Quoted(named.name),
                                    named.element_count, offset));
    RebuiltParameter parameter{named.name, std::nullopt, file, first.groups[group].storage};
    std::vector<TensorView> parts;
    WEIGHTFS_TRY(const bool is_whole, vector.AppendRange(offset, named.element_count, parts));
    if (is_whole) {
      WEIGHTFS_TRY(parameter.view, JoinParts(parts, piece.dtype(), named.shape));
    }
    parameters.push_back(std::move(parameter));
    const std::optional<uint64_t> next = CheckedAdd(*end, paddings.empty() ? 0 : paddings[i]);
    if (!next) return FailLayout(first, group, vector.size(), "paddings that fit 64 bits");
    offset = *next;
  }
  const bool is_last_there = ranks.back() != nullptr;
  if (is_last_there ? vector.size() >= CheckedAdd(offset, alignment).value_or(UINT64_MAX) : false)
    return FailLayout(
        first, group, vector.size(),
        fmt::format("{} in all, as its parameters have, and less than {} of padding", offset, alignment));
  return {};
}

Status JoinPartitions(const OptimizerRanks& ranks, std::span<const ShapeGroup> shapes,
                      std::vector<RebuiltParameter>& parameters) {
  WEIGHTFS_CHECK(CheckGroups(ranks));
  const OptimizerStates& first = *FirstThere(ranks);
  const uint64_t world_size = ranks.size();
  std::vector<FlatVector> vectors(world_size);
  for (size_t group = 0; group < first.groups.size(); ++group) {
    const uint64_t count = VectorOf(first, group).element_count();
    for (size_t rank = 0; rank < world_size; ++rank) {
      if (ranks[rank] == nullptr) {
        WEIGHTFS_CHECK(vectors[rank].AddMissing(count));
        continue;
      }
      if (VectorOf(*ranks[rank], group).element_count() != count)
        return FailLayout(*ranks[rank], group, VectorOf(*ranks[rank], group).element_count(),
                          fmt::format("{}, as in {}", count, first.shown));
      WEIGHTFS_CHECK(vectors[rank].Add(VectorOf(*ranks[rank], group)));
    }
  }
  const DType dtype = first.groups.empty() ? DType::kF32 : VectorOf(first, 0).dtype();
  const std::string file =
      NameRange(first.file, (*std::ranges::find_if(ranks.rbegin(), ranks.rend(), [](const auto* r) {
                              return r != nullptr;
                            }))->file);
  uint64_t offset = 0, wanted = 0;
  for (const ShapeGroup& group : shapes)
    for (const NamedShape& named : group)
      wanted = CheckedAdd(wanted, named.element_count).value_or(UINT64_MAX);
  const uint64_t available = vectors.front().size();
  if (available == 0 && wanted != 0)
    return Fail(
        ErrorCode::kUnsupported,
        fmt::format("{}: empty fp32_flat_groups; expected the masters: NVMe offload leaves them in its swap "
                    "files (offloaded_tensors/)",
                    first.shown),
        "load and save the run without NVMe offload, or gather 16-bit weights with save_16bit_model");
  for (const ShapeGroup& group : shapes)
    for (const NamedShape& named : group) {
      const uint64_t each =
          named.element_count / world_size + (named.element_count % world_size != 0 ? 1 : 0);
      if (each > available - offset)
        return FailLayout(first, first.groups.size() - 1, available,
                          fmt::format("more in all groups, for parameter {} of {} elements on {} ranks at {}",
                                      Quoted(named.name), named.element_count, world_size, offset));
      RebuiltParameter parameter{named.name, std::nullopt, file, first.groups.front().storage};
      std::vector<TensorView> parts;
      bool is_whole = true;
      uint64_t left = named.element_count;
      for (size_t rank = 0; rank < world_size && left > 0 && is_whole; ++rank) {
        const uint64_t count = std::min(each, left);
        WEIGHTFS_TRY(is_whole, vectors[rank].AppendRange(offset, count, parts));
        left -= count;
      }
      if (is_whole) {
        WEIGHTFS_TRY(parameter.view, JoinParts(parts, dtype, named.shape));
      }
      parameters.push_back(std::move(parameter));
      offset += each;
    }
  if (offset != available)
    return Fail(
        ErrorCode::kCorrupt,
        fmt::format("{}: {} elements in fp32_flat_groups; expected {}, as its parameters take on {} ranks",
                    first.shown, available, offset, world_size));
  return {};
}

std::string NameRange(const std::string& first, const std::string& last) {
  if (first == last) return first;
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  auto begin = static_cast<size_t>(std::ranges::mismatch(first, last).in1 - first.begin());
  while (begin > 0 && is_digit(first[begin - 1])) --begin;
  size_t first_end = begin, last_end = begin;
  while (first_end < first.size() && is_digit(first[first_end])) ++first_end;
  while (last_end < last.size() && is_digit(last[last_end])) ++last_end;
  if (first.substr(first_end) != last.substr(last_end)) return fmt::format("{}, ..., {}", first, last);
  return fmt::format("{}{{{}..{}}}{}", first.substr(0, begin), first.substr(begin, first_end - begin),
                     last.substr(begin, last_end - begin), first.substr(first_end));
}

}  // namespace weightfs
