/// \file
/// Who reads which elements of each source tensor, and whether that is every element exactly once.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "convert/base/result.h"
#include "convert/family/family.h"
#include "convert/family/region.h"
#include "convert/family/table.h"

namespace weightfs::family {

/// One line's reading of one source tensor.
struct SourceRead {
  const Line* line = nullptr;
  Region region;
  Shape shape;  ///< Of the joined tensor.
  PartsJoin join = PartsJoin::kReplicated;
  size_t dimension = 0;  ///< Of kCut.
};

/// Every source tensor's readings.
class SourceReads {
 public:
  explicit SourceReads(size_t sources) : reads_(sources) {}

  /// \error kLimitExceeded  too many readings of one tensor
  Status Add(size_t source, SourceRead read);
  bool IsRead(size_t source) const { return !reads_[source].empty(); }
  const Line& FirstReader(size_t source) const { return *reads_[source].front().line; }

  /// Checks every tensor that is read. Appends to `notes` what lines leave unread for a reason.
  /// \error kCorrupt  elements read twice, or never; parts that lines join in different ways. Names the
  /// tensor and
  ///                  the lines
  Status Check(std::span<const FamilyTensor> tensors, std::vector<std::string>& notes) const;

 private:
  Status CheckOne(std::string_view name, const std::vector<SourceRead>& reads,
                  std::vector<std::string>& notes) const;

  std::vector<std::vector<SourceRead>> reads_;
};

}  // namespace weightfs::family
