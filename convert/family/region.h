/// \file
/// Which elements of a source tensor a line reads: sets of indices for each dimension. Whether several lines
/// read every element exactly once follows from them.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "convert/base/result.h"
#include "convert/family/rearrange.h"

namespace weightfs::family {

/// Half-open range of indices.
struct Interval {
  uint64_t begin = 0;
  uint64_t end = 0;
  friend bool operator==(const Interval&, const Interval&) = default;
};

/// The product of one set of indices for each dimension.
struct Region {
  bool is_whole = true;                           ///< All of the tensor; `dimensions` is empty.
  std::vector<std::vector<Interval>> dimensions;  ///< Sorted, apart from one another.
};

/// Elements of a region of a tensor of `shape`.
uint64_t ElementCount(const Region& region, std::span<const uint64_t> shape);
/// Whether two regions of one tensor have an element in common.
bool Overlap(const Region& a, const Region& b);

/// Follows which indices of a tensor's dimensions a list of steps takes.
class RegionTracker {
 public:
  explicit RegionTracker(std::span<const uint64_t> shape);

  /// \error kUnsupported  indices are taken of an axis that earlier steps put together of others
  Status Apply(const ResolvedStep& step);
  /// \error kLimitExceeded  sets of too many intervals
  Result<Region> Finish() const;

 private:
  /// A part of one source dimension: index i of it stands for `i * stride`, and `taken` says which.
  struct Atom {
    size_t dimension = 0;
    uint64_t stride = 1;
    uint64_t extent = 1;  ///< Indices before anything was taken.
    std::vector<Interval> taken;
    bool is_whole() const { return taken.size() == 1 && taken[0] == Interval{0, extent}; }
    uint64_t count() const;
  };

  /// The atoms of an axis of `size`, split off the end of `atoms`.
  Result<std::vector<size_t>> SplitOff(std::vector<size_t>& atoms, uint64_t size);

  std::vector<uint64_t> shape_;
  std::vector<Atom> atoms_;
  std::vector<std::vector<size_t>> view_;  ///< The current dimensions: atoms, outermost first.
  bool is_whole_ = true;
};

}  // namespace weightfs::family
