#include "convert/family/rearrangement.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

namespace weightfs::family {
namespace {

constexpr size_t kTextMax = 512;
constexpr size_t kAxesMax = 32;  ///< Of one side.

bool IsLetter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }

class ArrangementParser {
 public:
  explicit ArrangementParser(std::string_view text) : text_(text) {}

  Result<Arrangement> Parse() {
    Arrangement arrangement;
    arrangement.text = text_;
    if (text_.size() > kTextMax) return FailAt(0, fmt::format("longer than {} bytes", kTextMax));
    SkipSpace();
    if (Take("+"))
      arrangement.join = PartsJoin::kSum;
    else if (Take("~"))
      arrangement.join = PartsJoin::kMean;
    WEIGHTFS_CHECK(Side(arrangement, arrangement.left, true));
    arrangement.has_arrow = Take("->");
    if (arrangement.has_arrow) WEIGHTFS_CHECK(Side(arrangement, arrangement.right, false));
    if (at_ != text_.size()) return FailAt(at_, "expected axes, brackets, ... or ->");
    if (arrangement.has_arrow) WEIGHTFS_CHECK(CheckRight(arrangement));
    return arrangement;
  }

 private:
  std::unexpected<Error> FailAt(size_t at, std::string_view what) const {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("column {} of `{}`: {}", at + 1, text_.substr(0, 100), what));
  }
  void SkipSpace() {
    while (at_ < text_.size() && text_[at_] == ' ') ++at_;
  }
  bool Take(std::string_view sign) {
    if (!text_.substr(at_).starts_with(sign)) return false;
    at_ += sign.size();
    SkipSpace();
    return true;
  }

  Status Side(Arrangement& arrangement, std::vector<Dimension>& side, bool is_left) {
    std::set<std::string> names;
    size_t ellipses = 0;
    while (at_ < text_.size() && !text_.substr(at_).starts_with("->")) {
      const size_t begin = at_;
      Dimension dimension;
      WEIGHTFS_CHECK(Mark(arrangement, dimension, is_left));
      if (Take("...")) {
        if (dimension.is_marked || ++ellipses > 1)
          return FailAt(begin, "expected one ... a side, without a mark");
        dimension.is_ellipsis = true;
      } else if (Take("(")) {
        while (!Take(")")) WEIGHTFS_CHECK(AxisInto(dimension));
        if (dimension.axes.empty()) return FailAt(begin, "empty brackets; expected axes in them");
      } else {
        WEIGHTFS_CHECK(AxisInto(dimension));
      }
      for (const Axis& axis : dimension.axes) {
        if (!axis.name.empty() && !names.insert(axis.name).second)
          return FailAt(begin,
                        fmt::format("{} occurs twice on one side; expected every name once", axis.name));
      }
      if (names.size() > kAxesMax || side.size() > kAxesMax)
        return FailAt(begin, fmt::format("more than {} axes", kAxesMax));
      side.push_back(std::move(dimension));
    }
    return {};
  }

  Status Mark(Arrangement& arrangement, Dimension& dimension, bool is_left) {
    const size_t begin = at_;
    const bool cut = Take("|");
    if (!cut && !Take("?")) return {};
    if (!is_left) return FailAt(begin, "a mark on the right; expected marks on left dimensions");
    const PartsJoin join = cut ? PartsJoin::kCut : PartsJoin::kCutOneOf;
    if (arrangement.join == PartsJoin::kCut ||
        (arrangement.join != join && arrangement.join != PartsJoin::kReplicated))
      return FailAt(begin, "a second mark; expected one |, or ? alone on several dimensions, or + or ~");
    arrangement.join = join;
    dimension.is_marked = true;
    return {};
  }

  Status AxisInto(Dimension& dimension) {
    const size_t begin = at_;
    Axis axis;
    if (at_ < text_.size() && text_[at_] == '1' && (at_ + 1 == text_.size() || !IsDigit(text_[at_ + 1]))) {
      ++at_;
    } else {
      if (at_ == text_.size() || !IsLetter(text_[at_])) {
        const std::string what = at_ == text_.size() ? "the end" : std::string(text_.substr(at_, 1));
        return FailAt(at_, fmt::format("{}; expected the name of an axis, or 1", what));
      }
      while (at_ < text_.size() && (IsLetter(text_[at_]) || IsDigit(text_[at_]))) ++at_;
      axis.name = text_.substr(begin, at_ - begin);
      if (at_ < text_.size() && text_[at_] == '*') {
        axis.is_free = true;
        ++at_;
      }
    }
    if (at_ < text_.size() && (IsLetter(text_[at_]) || IsDigit(text_[at_])))
      return FailAt(at_, "expected a space between axes");
    SkipSpace();
    if (dimension.axes.size() >= kAxesMax) return FailAt(begin, fmt::format("more than {} axes", kAxesMax));
    const bool has_free = std::ranges::any_of(dimension.axes, &Axis::is_free);
    if (axis.is_free && has_free)
      return FailAt(begin, "a second free axis in one dimension; expected one at most");
    dimension.axes.push_back(std::move(axis));
    return {};
  }

  Status CheckRight(const Arrangement& arrangement) const {
    const auto is_ellipsis = [](const Dimension& dimension) { return dimension.is_ellipsis; };
    if (std::ranges::any_of(arrangement.left, is_ellipsis) !=
        std::ranges::any_of(arrangement.right, is_ellipsis))
      return FailAt(text_.find("->"), "expected ... on both sides, or on neither");
    for (const Dimension& dimension : arrangement.right)
      for (const Axis& axis : dimension.axes)
        if (!axis.name.empty() && arrangement.FindLeft(axis.name) == nullptr)
          return FailAt(text_.find("->"),
                        fmt::format("{} occurs on the right alone; expected it on the left too", axis.name));
    return {};
  }

  std::string_view text_;
  size_t at_ = 0;
};

bool OccursOn(const std::vector<Dimension>& side, std::string_view name) {
  return std::ranges::any_of(side, [&](const Dimension& dimension) {
    return std::ranges::any_of(dimension.axes, [&](const Axis& axis) { return axis.name == name; });
  });
}

}  // namespace

const Axis* Arrangement::FindLeft(std::string_view name) const {
  for (const Dimension& dimension : left)
    for (const Axis& axis : dimension.axes)
      if (axis.name == name) return &axis;
  return nullptr;
}

Result<Arrangement> ParseArrangement(std::string_view text) { return ArrangementParser(text).Parse(); }

Status FinishStep(Step& step, bool is_first) {
  Arrangement& arrangement = step.arrangement;
  const auto fail = [&](std::string what) {
    return Fail(ErrorCode::kInvalidArgument, fmt::format("`{}`: {}", arrangement.text, what));
  };
  if (!is_first && arrangement.join != PartsJoin::kReplicated)
    return fail("a mark in a later step; expected marks in the first, where parts join");
  for (const auto& [name, indices] : step.at)
    if (name.empty() || arrangement.FindLeft(name) == nullptr)
      return fail(fmt::format("`at` names {}; expected an axis of the left side", name));
  const auto is_taken = [&](const Axis& axis) {
    const auto found = axis.name.empty() ? step.at.end() : step.at.find(axis.name);
    return found != step.at.end() && found->second.kind == AxisIndices::Kind::kOne;
  };
  if (!arrangement.has_arrow) {
    for (Dimension dimension : arrangement.left) {
      std::erase_if(dimension.axes, is_taken);
      if (dimension.axes.empty() && !dimension.is_ellipsis) continue;
      dimension.is_marked = false;
      arrangement.right.push_back(std::move(dimension));
    }
    return {};
  }
  for (const Dimension& dimension : arrangement.left) {
    for (const Axis& axis : dimension.axes) {
      if (axis.name.empty()) continue;
      const bool is_right = OccursOn(arrangement.right, axis.name);
      if (is_taken(axis) && is_right)
        return fail(
            fmt::format("one index of {} is taken; expected the axis to be missing on the right", axis.name));
      if (!is_taken(axis) && !is_right)
        return fail(
            fmt::format("{} is missing on the right; expected every axis there but those of which `at` takes "
                        "one index",
                        axis.name));
    }
  }
  return {};
}

}  // namespace weightfs::family
