/// \file
/// A tensor of the view, as the targets take it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "convert/view/tensor_view.h"

namespace weightfs {

/// One tensor to serve. A value; immutable once built.
struct ServedTensor {
  std::string name;         ///< Valid UTF-8, unique within its list, not `__metadata__`.
  TensorView view;          ///< As served (cast done).
  size_t source_index = 0;  ///< Which tensor of the checkpoint it is made from.
};

/// Which tensors of a list serve the same stored elements as an earlier one.
struct AliasReport {
  /// For each tensor: the index of the first tensor of the list that serves the same elements (itself when
  /// none).
  std::vector<size_t> first;
  uint64_t alias_count = 0;        ///< Tensors with `first[i] != i`.
  uint64_t alias_bytes = 0;        ///< Their bytes as served.
  uint64_t distinct_elements = 0;  ///< Elements of all tensors that are no alias.
};

/// Finds aliases in about linear time; tensors without elements are never aliases. Thread-safe.
AliasReport FindAliases(std::span<const ServedTensor> tensors);

}  // namespace weightfs
