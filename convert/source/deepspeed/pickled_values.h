/// \file
/// Reading the plain values that DeepSpeed pickles beside its tensors: shapes, counts, enumerators.
///
/// Every function names the key in its messages, not the file: who reads the file puts that before them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "convert/base/limits.h"
#include "convert/base/result.h"
#include "convert/pickle/value.h"
#include "convert/view/tensor_view.h"

namespace weightfs {

/// The shape of a parameter.
struct NamedShape {
  std::string name;
  Shape shape;
  uint64_t element_count = 0;
};

/// The parameters of one optimizer group, in the order in which they lie in its flat vector.
using ShapeGroup = std::vector<NamedShape>;

/// The value under `key` of `mapping`; nullptr when it is absent or None, or `mapping` is no mapping.
pickle::NodePtr FindValue(const pickle::Node& mapping, std::string_view key);

/// The pairs of a mapping under `key`; none when the key is absent or None.
/// \error kCorrupt  another value, or a key that is no text
Result<pickle::NodePairs> FindNamed(const pickle::Node& mapping, std::string_view key);

/// A number from 0 on under `key`; nothing when the key is absent or None.
/// \error kCorrupt  another value
Result<std::optional<uint64_t>> FindCount(const pickle::Node& mapping, std::string_view key);

/// Numbers from 0 on: a list of them under `key`, or one of them; empty when the key is absent or None.
/// \error kCorrupt  another value
Result<std::vector<uint64_t>> FindCounts(const pickle::Node& mapping, std::string_view key);

/// True when a boolean under `key` is true.
bool FindFlag(const pickle::Node& mapping, std::string_view key);

/// The text under `key`; empty when there is none.
std::string FindText(const pickle::Node& mapping, std::string_view key);

/// `zero_stage`: a number, or an enumerator pickled by value or by name.
/// \error kCorrupt  neither, or not 0 to 3
Result<std::optional<uint64_t>> FindZeroStage(const pickle::Node& mapping);

/// One mapping of names to shapes (torch.Size, tuples or lists).
/// \error kCorrupt        not that, or an element count that does not fit 64 bits
/// \error kLimitExceeded  rank, number of parameters
Result<ShapeGroup> ReadShapes(const pickle::Node& mapping, std::string_view what, const Limits& limits);

/// `key` as a list of such mappings, or one.
/// \return nothing when the key is absent or None
Result<std::optional<std::vector<ShapeGroup>>> FindShapeGroups(const pickle::Node& mapping,
                                                               std::string_view key, const Limits& limits);

}  // namespace weightfs
