/// \file
/// The tensors of a source by name, after the rewrites of a table.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "convert/base/result.h"
#include "convert/family/family.h"
#include "convert/family/table.h"

namespace weightfs::family {

/// Immutable; thread-safe.
class SourceIndex {
 public:
  /// \error kCorrupt        two names that become one
  /// \error kLimitExceeded  names that grow beyond reason
  static Result<SourceIndex> Build(std::span<const FamilyTensor> tensors, std::span<const Rewrite> rewrites);

  /// As rewritten, in source order.
  const std::vector<std::string>& names() const { return names_; }
  std::optional<size_t> Find(std::string_view name) const;
  /// The name that is most like `name`, for messages; empty when there are none.
  std::string_view Nearest(std::string_view name) const;

 private:
  std::vector<std::string> names_;
  std::unordered_map<std::string_view, size_t> by_name_;  // of strings of names_
};

/// The indexes of one source, one for each list of rewrites, each made when it is first wanted. Not
/// thread-safe.
class SourceIndexes {
 public:
  explicit SourceIndexes(std::span<const FamilyTensor> tensors) : tensors_(tensors) {}

  /// \error as SourceIndex::Build
  Result<const SourceIndex*> For(const std::vector<Rewrite>& rewrites);
  std::span<const FamilyTensor> tensors() const { return tensors_; }

 private:
  std::span<const FamilyTensor> tensors_;
  std::map<std::string, Result<SourceIndex>> indexes_;
};

/// How much two names have in common, counting from both ends.
size_t Likeness(std::string_view a, std::string_view b);

}  // namespace weightfs::family
