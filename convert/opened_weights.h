/// \file
/// The tensors of one weight set, by name, whether a file holds them whole or files of ranks hold parts of
/// them. Internal to `convert`.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "convert/base/result.h"
#include "convert/source/checkpoint.h"

namespace weightfs {

/// Movable; refers to itself, so not copyable.
class OpenedWeights {
 public:
  /// One tensor: a part of each rank, or the whole as the only part.
  using Parts = std::vector<const SourceTensor*>;

  /// A set that is not of ranks.
  explicit OpenedWeights(Checkpoint whole);

  /// Joins the files of ranks by the names of their tensors. A name that one file has alone is a whole
  /// tensor.
  /// \param ranks  in their order, at least one
  /// \param files  of each rank the name that its tensors have as `file`
  /// \error kNotFound  some ranks have a name and some lack it: names both
  /// \error kCorrupt   parts of one tensor differ in dtype
  static Result<OpenedWeights> JoinRanks(std::vector<Checkpoint> ranks,
                                         const std::vector<std::string>& files);

  OpenedWeights(OpenedWeights&&) = default;
  OpenedWeights& operator=(OpenedWeights&&) = default;

  /// How many files of ranks there are; 1 when each tensor is whole.
  size_t rank_count() const { return ranks_.size(); }
  /// Format, metadata and what was left out: of the first rank, with warnings and sizes of all.
  /// Its tensors are those of the first rank only.
  const Checkpoint& first() const { return ranks_.front(); }
  /// In source order, names of later ranks last.
  const std::vector<Parts>& tensors() const { return tensors_; }
  /// Of all ranks, each name once.
  const std::vector<UnsupportedTensor>& unsupported() const { return unsupported_; }

 private:
  OpenedWeights() = default;
  std::vector<Checkpoint> ranks_;
  std::vector<Parts> tensors_;  ///< Into `ranks_`.
  std::vector<UnsupportedTensor> unsupported_;
};

}  // namespace weightfs
