#include "convert/target/hf/served_tensor.h"

#include <unordered_map>

namespace weightfs {
namespace {

/// Equal for views that are aliases of each other; rarely equal otherwise. \pre the view has elements
uint64_t AliasHash(const TensorView& view) {
  // Where the first unit lies: the same however a view was put together.
  RandomAccessFile::Location first;
  if (view.pieces() == nullptr) {
    first = OriginOf(view.storage());
    first.offset_bytes += view.layout().offset_bytes();
  } else {
    const PieceMap& term = view.pieces()->terms.front();
    size_t piece = 0;
    const uint64_t position = term.PositionOf(0, &piece);
    first = OriginOf(term.pieces()[piece].storage);
    first.offset_bytes += position;
  }
  uint64_t hash = reinterpret_cast<uintptr_t>(first.file);
  for (const uint64_t part :
       {first.offset_bytes, view.size_bytes(), uint64_t(view.dtype()), uint64_t(view.stored_dtype())})
    hash = (hash ^ part) * 0x9E3779B97F4A7C15u;
  return hash;
}

}  // namespace

AliasReport FindAliases(std::span<const ServedTensor> tensors) {
  AliasReport report;
  report.first.resize(tensors.size());
  std::unordered_multimap<uint64_t, size_t> distinct;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const TensorView& view = tensors[i].view;
    report.first[i] = i;
    if (view.element_count() == 0) continue;
    const uint64_t hash = AliasHash(view);
    const auto [begin, end] = distinct.equal_range(hash);
    for (auto candidate = begin; candidate != end && report.first[i] == i; ++candidate)
      if (view.IsAliasOf(tensors[candidate->second].view)) report.first[i] = candidate->second;
    if (report.first[i] != i) {
      ++report.alias_count;
      report.alias_bytes += view.size_bytes();
    } else {
      report.distinct_elements += view.element_count();
      distinct.emplace(hash, i);
    }
  }
  return report;
}

}  // namespace weightfs
