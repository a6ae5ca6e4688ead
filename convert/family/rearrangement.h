/// \file
/// Rearrangements in einops notation, with marks that say how parts join (docs/families.md, "Lines"): the
/// parsed form. What one does to views is in rearrange.h.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "convert/base/result.h"
#include "convert/family/expression.h"

namespace weightfs::family {

/// How the parts of one tensor become one tensor.
enum class PartsJoin : uint8_t {
  kReplicated,  ///< No mark: every part is the tensor.
  kCut,         ///< `|`: they follow each other along the marked dimension.
  kCutOneOf,    ///< `?`: along the one of the marked dimensions for which the sizes fit.
  kSum,         ///< `+`
  kMean,        ///< `~`
};

struct Axis {
  std::string name;      ///< Empty: `1`.
  bool is_free = false;  ///< `a*`: its size follows from the dimension.
};

/// One dimension of one side.
struct Dimension {
  std::vector<Axis> axes;  ///< Outermost first. Empty for `...`.
  bool is_ellipsis = false;
  bool is_marked = false;  ///< With `|` or `?`.
};

/// One arrangement. Every name of the right occurs on the left.
struct Arrangement {
  std::string text;
  PartsJoin join = PartsJoin::kReplicated;
  std::vector<Dimension> left, right;
  bool has_arrow = false;

  /// The axis of this name on the left; nullptr when there is none.
  const Axis* FindLeft(std::string_view name) const;
};

/// \error kInvalidArgument  `column N of TEXT: what; expected what`
Result<Arrangement> ParseArrangement(std::string_view text);

/// Which indices of a left axis are taken.
struct AxisIndices {
  enum class Kind : uint8_t { kOne, kRange, kSome };
  Kind kind = Kind::kOne;
  std::vector<Expression> values;  ///< One; begin and end; or all of them.
};

/// An arrangement and its `at`.
struct Step {
  Arrangement arrangement;
  std::map<std::string, AxisIndices, std::less<>> at;  ///< By the name of the axis.
};

/// Makes the right side what it is without an arrow, and checks that `at` suits: an axis of which one index
/// is taken is missing on the right, every other one is there.
/// \error kInvalidArgument  it does not suit
Status FinishStep(Step& step, bool is_first);

}  // namespace weightfs::family
