// ReverseFamily: a table applied backwards.
#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>
#include <unordered_map>
#include <utility>

#include "convert/family/assemble.h"
#include "convert/family/compare.h"
#include "convert/family/line_walk.h"
#include "convert/family/reverse_environment.h"
#include "convert/view/algebra.h"

namespace weightfs::family {
namespace {

/// A native tensor that lines make, box by box; or one that is there already, under another name.
struct Native {
  std::string name;
  const Line* line = nullptr;  ///< The first that makes it.
  std::vector<Box> boxes;
  const Arrangement* arrangement = nullptr;  ///< With its marks.
  size_t skipped = 0;                        ///< Leading dimensions of the arrangement that it does not have.
  std::string alias;  ///< The name of the tensor that it repeats; then there are no boxes.
};

std::unexpected<Error> DoesNotInvert(const Line& line, std::string_view why) {
  return Fail(ErrorCode::kUnsupported, fmt::format("{}: does not invert: {}", line.place.Describe(), why));
}

/// The one name that a pattern matches; nothing when it is more than a name.
std::optional<std::string> NameOfPattern(std::string_view pattern) {
  std::string name;
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] == '\\' && i + 1 < pattern.size() &&
        !std::isalnum(static_cast<unsigned char>(pattern[i + 1])))
      ++i;
    else if (std::string_view("\\.*+?|()[]{}^$").contains(pattern[i]))
      return std::nullopt;
    name.push_back(pattern[i]);
  }
  return name;
}

class TableReverser {
 public:
  TableReverser(const FamilyTable& table, const ReverseInput& input, ReverseEnvironment& environment)
      : table_(table), input_(input), environment_(environment), is_used_(input.tensors.size()) {
    for (size_t i = 0; i < input.tensors.size(); ++i) targets_.emplace(input.tensors[i].name, i);
  }

  Result<ReverseResult> Reverse() {
    for (const LinePtr& line : table_.lines)
      WEIGHTFS_CHECK(ForEachOf(*line, environment_, [&] { return ReverseOnce(*line); }));
    WEIGHTFS_CHECK(KeepTheRest());
    ReverseResult result;
    std::map<std::string, size_t> made;
    for (const Native& native : natives_) {
      if (!native.alias.empty()) continue;
      auto whole = Assemble(native.boxes);
      if (!whole)
        return std::unexpected(
            whole.error().Within(fmt::format("{}: {}", native.line->place.Describe(), native.name)));
      WEIGHTFS_TRY(std::vector<TensorView> parts, CutIntoParts(native, *whole));
      made.emplace(native.name, result.tensors.size());
      result.tensors.push_back({native.name, std::move(parts)});
    }
    return WithAliases(std::move(result), made);
  }

 private:
  Status ReverseOnce(const Line& line) {
    if (const auto* drop = std::get_if<DropLine>(&line.kind)) return Undrop(line, *drop);
    if (std::holds_alternative<KeepLine>(line.kind)) {
      kept_.push_back(&line);
      return {};
    }
    WEIGHTFS_TRY(const std::string target, line.to->EvaluateText(environment_));
    const auto found = targets_.find(target);
    if (found == targets_.end())
      return Fail(ErrorCode::kNotFound, fmt::format("{}: {}, which the target lacks; expected it there",
                                                    line.place.Describe(), target));
    if (is_used_[found->second])
      return Fail(ErrorCode::kCorrupt,
                  fmt::format("{}: a second line makes {}", line.place.Describe(), target));
    is_used_[found->second] = true;
    const std::vector<TensorView>& parts = input_.tensors[found->second].parts;
    if (parts.size() != 1)
      return Fail(ErrorCode::kInvalidArgument, fmt::format("{}: expected one part", target));
    const Status done = std::holds_alternative<FillLine>(line.kind)
                            ? Unfill(std::get<FillLine>(line.kind), parts[0])
                            : Unrearrange(line, std::get<RearrangementLine>(line.kind), parts[0]);
    if (done || done.error().code == ErrorCode::kUnsupported) return done;
    return std::unexpected(done.error().Within(fmt::format("{}: {}", line.place.Describe(), target)));
  }

  Status Unfill(const FillLine& fill, const TensorView& view) {
    Shape shape;
    for (const PlacedExpression& extent : fill.shape) {
      WEIGHTFS_TRY(const Value value, extent.Evaluate(environment_));
      if (value.integer() == nullptr || *value.integer() < 0)
        return Fail(ErrorCode::kCorrupt, fmt::format("the size `{}` is {}", extent.text(), value.Describe()));
      shape.push_back(static_cast<uint64_t>(*value.integer()));
    }
    WEIGHTFS_TRY(const TensorView filled, weightfs::Fill(std::move(shape), view.dtype(), fill.value));
    WEIGHTFS_TRY(const bool equal, HoldSameElements(view, filled, input_.limits, environment_.budget()));
    if (equal) return {};
    return Fail(
        ErrorCode::kCorrupt,
        fmt::format(
            "has the shape {} and other values; expected {} in shape {}, as the native layout does not "
            "keep them",
            ShapeText(view.shape()), FloatText(fill.value), ShapeText(filled.shape())));
  }

  Status Unrearrange(const Line& line, const RearrangementLine& rearrangement, const TensorView& view) {
    if (rearrangement.scale || rearrangement.add) return DoesNotInvert(line, "arithmetic rounds");
    if (!rearrangement.trims.empty())
      return DoesNotInvert(line, "what it trims is not there: " + rearrangement.trims);
    const AxisScope scope(environment_, input_.parts);
    if (!rearrangement.is_joined) {
      WEIGHTFS_TRY(Box box, Unstep(line, rearrangement.steps, view, scope));
      return AddBox(line, rearrangement.from[0], rearrangement.steps[0].arrangement, 0, std::move(box));
    }
    WEIGHTFS_TRY(const Box box, Unstep(line, rearrangement.steps, view, scope));
    WEIGHTFS_TRY(const TensorView joined, Assemble({box}));
    return Unjoin(line, rearrangement, joined, scope);
  }

  /// Undoes `steps`: the box that they read.
  Result<Box> Unstep(const Line& line, const std::vector<Step>& steps, TensorView view,
                     const AxisScope& scope) {
    if (steps[0].arrangement.join == PartsJoin::kSum) return DoesNotInvert(line, "+ adds parts up");
    if (steps[0].arrangement.join == PartsJoin::kMean)
      return DoesNotInvert(line, "~ takes the mean of parts");
    for (size_t i = steps.size(); i-- > 0;) {
      WEIGHTFS_TRY(const ResolvedStep step, ResolveStepBackwards(steps[i], view.shape(), scope));
      WEIGHTFS_TRY(view, UndoMoves(step, view));
      if (i == 0) return Box{step.axes, step.axes_of, std::move(view)};
      if (!steps[i].at.empty()) return DoesNotInvert(line, "a later step takes indices");
      WEIGHTFS_TRY(view, Reshape(view, step.LeftShape()));
    }
    return Fail(ErrorCode::kInternal, "a line without steps");
  }

  /// From the right side's shape to one dimension for each left axis.
  static Result<TensorView> UndoMoves(const ResolvedStep& step, const TensorView& view) {
    // The axes of the right side, then those of one index that it lacks.
    std::vector<size_t> order;
    for (const std::vector<size_t>& dimension : step.right)
      order.insert(order.end(), dimension.begin(), dimension.end());
    for (size_t axis = 0; axis < step.axes.size(); ++axis)
      if (std::ranges::find(order, axis) == order.end()) order.push_back(axis);
    Shape shape;
    std::vector<size_t> inverse(order.size());
    for (size_t i = 0; i < order.size(); ++i) {
      shape.push_back(step.axes[order[i]].TakenCount());
      inverse[order[i]] = i;
    }
    WEIGHTFS_TRY(const TensorView flat, Reshape(view, std::move(shape)));
    return Permute(flat, inverse);
  }

  Status AddBox(const Line& line, const SourceTerm& term, const Arrangement& arrangement, size_t skipped,
                Box box) {
    WEIGHTFS_TRY(std::string name, term.name.EvaluateText(environment_));
    const auto [at, is_new] = by_name_.emplace(name, natives_.size());
    if (is_new) natives_.push_back({std::move(name), &line, {}, &arrangement, skipped, {}});
    Native& native = natives_[at->second];
    if (!native.alias.empty())
      return Fail(ErrorCode::kCorrupt,
                  fmt::format("{} is made of a line, and repeats {}", native.name, native.alias));
    if (native.arrangement->join != arrangement.join)
      return Fail(ErrorCode::kCorrupt,
                  fmt::format("{} joins the parts of {} in another way than {}", line.place.Describe(),
                              native.name, native.line->place.Describe()));
    native.boxes.push_back(std::move(box));
    return {};
  }

  /// Takes apart what was joined of several sources.
  Status Unjoin(const Line& line, const RearrangementLine& rearrangement, const TensorView& joined,
                const AxisScope& scope) {
    const Arrangement& arrangement = rearrangement.steps[0].arrangement;
    const size_t axis = rearrangement.join_axis.value_or(0);
    if (axis >= joined.shape().size())
      return Fail(ErrorCode::kCorrupt, fmt::format("the joined shape is {}; it has no dimension {}",
                                                   ShapeText(joined.shape()), axis));
    uint64_t begin = 0;
    for (const SourceTerm& term : rearrangement.from) {
      WEIGHTFS_TRY(const uint64_t extent,
                   rearrangement.join_axis ? JoinedExtent(line, term, axis, scope) : 1);
      if (begin + extent > joined.shape()[axis])
        return Fail(ErrorCode::kCorrupt,
                    fmt::format("the joined dimension {} is {}; expected more", axis, joined.shape()[axis]));
      WEIGHTFS_TRY(TensorView view, Narrow(joined, axis, begin, extent));
      begin += extent;
      if (!rearrangement.join_axis) {
        WEIGHTFS_TRY(view, Select(view, axis, 0));
      }
      if (!term.steps.empty()) {
        WEIGHTFS_TRY(Box box, Unstep(line, term.steps, view, scope));
        WEIGHTFS_CHECK(AddBox(line, term, term.steps[0].arrangement, 0, std::move(box)));
        continue;
      }
      Box box;
      for (const uint64_t size : view.shape()) {
        box.axes.push_back({.size = size, .taken = {{0, size}}});
        box.axes_of.push_back(1);
      }
      box.view = std::move(view);
      WEIGHTFS_CHECK(AddBox(line, term, arrangement, rearrangement.join_axis ? 0 : 1, std::move(box)));
    }
    if (begin == joined.shape()[axis]) return {};
    return Fail(ErrorCode::kCorrupt,
                fmt::format("the joined dimension {} is {}; expected {}", axis, joined.shape()[axis], begin));
  }

  /// How long a source is along the dimension in which it is joined: its own `do` says it.
  Result<uint64_t> JoinedExtent(const Line& line, const SourceTerm& term, size_t axis,
                                const AxisScope& scope) {
    if (term.steps.empty())
      return DoesNotInvert(
          line, fmt::format("no size of {} along dimension {} is known; a `do` of its own would say it",
                            term.name.text(), axis));
    Shape shape;
    for (const Dimension& dimension : term.steps[0].arrangement.left) {
      uint64_t extent = 1;
      for (const Axis& named : dimension.axes) {
        WEIGHTFS_TRY(const std::optional<uint64_t> size,
                     named.name.empty() ? Result<std::optional<uint64_t>>(1) : scope.Size(named.name));
        if (named.is_free || !size)
          return DoesNotInvert(line, fmt::format("the size of {} is not known", named.name));
        const std::optional<uint64_t> product = CheckedMultiply(extent, *size);
        if (!product) return DoesNotInvert(line, "a size that does not fit 64 bits");
        extent = *product;
      }
      if (dimension.is_ellipsis) return DoesNotInvert(line, "the dimensions of ... are not known");
      shape.push_back(extent);
    }
    for (const Step& step : term.steps) {
      WEIGHTFS_TRY(const ResolvedStep resolved, ResolveStep(step, shape, scope));
      shape = resolved.RightShape();
    }
    if (axis >= shape.size()) return DoesNotInvert(line, fmt::format("the source has no dimension {}", axis));
    return shape[axis];
  }

  /// A dropped tensor that repeats another is written again; others stay away.
  Status Undrop(const Line& line, const DropLine& drop) {
    if (!drop.alias) return {};
    std::string pattern = drop.pattern.text;
    if (drop.templated) {
      WEIGHTFS_TRY(pattern, drop.templated->EvaluateText(environment_));
    }
    std::optional<std::string> name = NameOfPattern(pattern);
    if (!name) return DoesNotInvert(line, fmt::format("the pattern {} is no single name", pattern));
    Native native{.name = *name, .line = &line};
    WEIGHTFS_TRY(native.alias, drop.alias->EvaluateText(environment_));
    if (!by_name_.emplace(*name, natives_.size()).second)
      return Fail(ErrorCode::kCorrupt, fmt::format("{}: {} is made twice", line.place.Describe(), *name));
    natives_.push_back(std::move(native));
    return {};
  }

  /// Every target tensor that no line used must be one that was kept.
  Status KeepTheRest() {
    for (size_t i = 0; i < input_.tensors.size(); ++i) {
      if (is_used_[i]) continue;
      const FamilyTensor& tensor = input_.tensors[i];
      const auto line = std::ranges::find_if(kept_, [&](const Line* kept) {
        const auto& keep = std::get<KeepLine>(kept->kind);
        return !keep.to.empty() || re2::RE2::FullMatch(tensor.name, *keep.pattern.pattern);
      });
      if (line == kept_.end())
        return Fail(ErrorCode::kCorrupt,
                    fmt::format("{}: no line of the family {} makes it", tensor.name, table_.name));
      if (!std::get<KeepLine>((*line)->kind).to.empty())
        return DoesNotInvert(**line, "it renames what it keeps");
      Box box;
      for (const uint64_t size : tensor.parts.at(0).shape()) {
        box.axes.push_back({.size = size, .taken = {{0, size}}});
        box.axes_of.push_back(1);
      }
      box.view = tensor.parts[0];
      static const Arrangement kReplicated;
      if (!by_name_.emplace(tensor.name, natives_.size()).second)
        return Fail(ErrorCode::kCorrupt, fmt::format("{}: made by a line, and kept", tensor.name));
      natives_.push_back({tensor.name, *line, {std::move(box)}, &kReplicated, 0, {}});
    }
    return {};
  }

  /// Cuts a native tensor into the parts of the ranks, as its marks say; without a mark each has it whole.
  Result<std::vector<TensorView>> CutIntoParts(const Native& native, const TensorView& whole) {
    const Arrangement& arrangement = *native.arrangement;
    if (input_.parts == 1 || arrangement.join == PartsJoin::kReplicated)
      return std::vector<TensorView>(input_.parts, whole);
    WEIGHTFS_TRY(const auto marked, MarkedDimensions(arrangement, whole.shape().size(), native.skipped));
    for (const auto& [dimension, unused] : marked) {
      const uint64_t extent = whole.shape()[dimension];
      if (extent % input_.parts != 0) continue;
      const std::vector<uint64_t> extents(input_.parts, extent / input_.parts);
      return Split(whole, dimension, extents);
    }
    return Fail(ErrorCode::kCorrupt,
                fmt::format("{}: {} of shape {} does not cut into {} equal parts along the marks of `{}`",
                            native.line->place.Describe(), native.name, ShapeText(whole.shape()),
                            input_.parts, arrangement.text));
  }

  Result<ReverseResult> WithAliases(ReverseResult result, const std::map<std::string, size_t>& made) {
    ReverseResult whole;
    for (const Native& native : natives_) {
      const auto found = made.find(native.alias.empty() ? native.name : native.alias);
      if (found == made.end())
        return Fail(ErrorCode::kNotFound,
                    fmt::format("{}: {} repeats {}, which no line makes", native.line->place.Describe(),
                                native.name, native.alias));
      whole.tensors.push_back({native.name, result.tensors[found->second].parts});
    }
    return whole;
  }

  const FamilyTable& table_;
  const ReverseInput& input_;
  ReverseEnvironment& environment_;
  std::unordered_map<std::string, size_t> targets_;
  std::vector<bool> is_used_;
  std::vector<Native> natives_;
  std::unordered_map<std::string, size_t> by_name_;
  std::vector<const Line*> kept_;
};

}  // namespace
}  // namespace weightfs::family

namespace weightfs {

Result<ReverseResult> ReverseFamily(const FamilyTable& table, const ReverseInput& input) {
  constexpr uint64_t kPartsMax = 65536;
  if (table.is_abstract)
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("the family {} is there to be extended; expected one that is whole", table.name));
  if (input.config == nullptr || !input.config->is_object())
    return Fail(ErrorCode::kInvalidArgument, "no config.json of the target; expected an object");
  if (input.parts == 0 || input.parts > kPartsMax)
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("{} parts; expected 1 to {}", input.parts, kPartsMax));
  family::Budget budget{input.limits.family_steps_max, family::kEvaluationDepthMax,
                        input.limits.family_compared_bytes_max};
  WEIGHTFS_TRY(auto options, family::OptionValues(table, input.options));
  WEIGHTFS_TRY(const auto environment,
               family::ReverseEnvironment::Make(table, input, std::move(options), budget));
  return family::TableReverser(table, input, *environment).Reverse();
}

}  // namespace weightfs
