#include "convert/family/region.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "convert/base/bytes.h"

namespace weightfs::family {
namespace {

constexpr size_t kIntervalsMax = 1 << 20;

uint64_t CountOf(const std::vector<Interval>& intervals) {
  uint64_t count = 0;
  for (const Interval& interval : intervals) count += interval.end - interval.begin;
  return count;
}

bool Meet(const std::vector<Interval>& a, const std::vector<Interval>& b) {
  for (size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    if (std::max(a[i].begin, b[j].begin) < std::min(a[i].end, b[j].end)) return true;
    (a[i].end < b[j].end ? i : j) += 1;
  }
  return false;
}

void Append(std::vector<Interval>& intervals, Interval interval) {
  if (interval.begin == interval.end) return;
  if (!intervals.empty() && intervals.back().end == interval.begin)
    intervals.back().end = interval.end;
  else
    intervals.push_back(interval);
}

}  // namespace

uint64_t ElementCount(const Region& region, std::span<const uint64_t> shape) {
  if (region.is_whole) return CheckedProduct(shape).value_or(0);
  uint64_t count = 1;
  for (const std::vector<Interval>& dimension : region.dimensions) count *= CountOf(dimension);
  return count;
}

bool Overlap(const Region& a, const Region& b) {
  if (a.is_whole && b.is_whole) return true;
  const Region& part = a.is_whole ? b : a;
  for (size_t i = 0; i < part.dimensions.size(); ++i) {
    if (part.dimensions[i].empty()) return false;
    if (!a.is_whole && !b.is_whole && !Meet(a.dimensions[i], b.dimensions[i])) return false;
  }
  return true;
}

uint64_t RegionTracker::Atom::count() const { return CountOf(taken); }

RegionTracker::RegionTracker(std::span<const uint64_t> shape) : shape_(shape.begin(), shape.end()) {
  for (size_t i = 0; i < shape.size(); ++i) {
    view_.push_back({i});
    atoms_.push_back({.dimension = i, .extent = shape[i], .taken = {{0, shape[i]}}});
  }
}

Result<std::vector<size_t>> RegionTracker::SplitOff(std::vector<size_t>& atoms, uint64_t size) {
  std::vector<size_t> axis;
  while (size != 1) {
    if (atoms.empty() || size == 0)
      return Fail(ErrorCode::kInternal, "axes that do not make up their dimension");
    const size_t last = atoms.back();
    const uint64_t count = atoms_[last].count();
    if (count == 1) {
      atoms.pop_back();
      axis.insert(axis.begin(), last);
      continue;
    }
    if (count != 0 && size % count == 0) {
      atoms.pop_back();
      axis.insert(axis.begin(), last);
      size /= count;
      continue;
    }
    if (count % size != 0 || !atoms_[last].is_whole())
      return Fail(
          ErrorCode::kUnsupported,
          "a later step cuts across what an earlier one put together; expected one that takes whole axes",
          "Write the steps as one, or take the indices in the first.");
    // The atom is split in two: the inner one goes to the axis.
    Atom inner = atoms_[last];
    inner.extent = size;
    inner.taken = {{0, size}};
    atoms_[last].extent = count / size;
    atoms_[last].taken = {{0, count / size}};
    atoms_[last].stride *= size;
    atoms_.push_back(std::move(inner));
    axis.insert(axis.begin(), atoms_.size() - 1);
    size = 1;
  }
  return axis;
}

Status RegionTracker::Apply(const ResolvedStep& step) {
  std::vector<std::vector<size_t>> axes(step.axes.size());
  size_t end = step.axes.size();
  for (size_t dimension = step.axes_of.size(); dimension-- > 0;) {
    std::vector<size_t> atoms = view_[dimension];
    const size_t begin = end - step.axes_of[dimension];
    for (size_t axis = end; axis-- > begin;) {
      // The outermost axis takes the rest, which may be atoms of one index.
      if (axis == begin)
        axes[axis] = std::move(atoms);
      else {
        WEIGHTFS_TRY(axes[axis], SplitOff(atoms, step.axes[axis].size));
      }
    }
    end = begin;
  }
  for (size_t axis = 0; axis < step.axes.size(); ++axis) {
    const ResolvedAxis& resolved = step.axes[axis];
    if (resolved.IsWhole()) continue;
    is_whole_ = false;
    std::erase_if(axes[axis],
                  [&](size_t atom) { return atoms_[atom].count() == 1 && atoms_[atom].extent == 1; });
    if (axes[axis].size() != 1 || !atoms_[axes[axis][0]].is_whole())
      return Fail(
          ErrorCode::kUnsupported,
          fmt::format(
              "indices of {} are taken, which an earlier step put together or took indices of; expected "
              "an axis of the source",
              resolved.name));
    std::vector<Interval>& taken = atoms_[axes[axis][0]].taken;
    taken.clear();
    for (const auto& [begin, count] : resolved.taken) taken.push_back({begin, begin + count});
    std::ranges::sort(taken, {}, &Interval::begin);
    for (size_t i = 1; i < taken.size(); ++i)
      if (taken[i].begin < taken[i - 1].end)
        return Fail(ErrorCode::kInvalidArgument,
                    fmt::format("`at` takes an index of {} twice", resolved.name));
  }
  view_.clear();
  for (const std::vector<size_t>& dimension : step.right) {
    std::vector<size_t>& atoms = view_.emplace_back();
    for (const size_t axis : dimension) atoms.insert(atoms.end(), axes[axis].begin(), axes[axis].end());
  }
  return {};
}

Result<Region> RegionTracker::Finish() const {
  Region region;
  if (is_whole_ || CheckedProduct(shape_) == 0) return region;
  region.is_whole = false;
  for (size_t dimension = 0; dimension < shape_.size(); ++dimension) {
    std::vector<const Atom*> atoms;
    for (const Atom& atom : atoms_)
      if (atom.dimension == dimension) atoms.push_back(&atom);
    std::ranges::sort(atoms, {}, [](const Atom* atom) { return atom->stride; });
    std::vector<Interval> set = {{0, 1}};
    for (const Atom* atom : atoms) {
      const bool is_full = set.size() == 1 && set[0] == Interval{0, atom->stride};
      std::vector<Interval> next;
      for (const Interval& taken : atom->taken) {
        if (is_full) {
          Append(next, {taken.begin * atom->stride, taken.end * atom->stride});
          continue;
        }
        for (uint64_t i = taken.begin; i < taken.end; ++i) {
          for (const Interval& inner : set)
            Append(next, {i * atom->stride + inner.begin, i * atom->stride + inner.end});
          if (next.size() > kIntervalsMax)
            return Fail(ErrorCode::kLimitExceeded,
                        fmt::format("more than {} separate ranges of indices", kIntervalsMax));
        }
      }
      set = std::move(next);
    }
    region.dimensions.push_back(std::move(set));
  }
  return region;
}

}  // namespace weightfs::family
