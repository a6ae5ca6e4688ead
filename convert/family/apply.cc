// ApplyFamily: from the tensors and metadata of a source to those of the target.
#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <unordered_map>
#include <utility>

#include "convert/family/config.h"
#include "convert/family/environment.h"
#include "convert/family/line_walk.h"
#include "convert/family/pattern.h"
#include "convert/family/pipeline.h"
#include "convert/family/reads.h"
#include "convert/family/rearrange.h"
#include "convert/family/table.h"
#include "convert/view/algebra.h"

namespace weightfs::family {
namespace {

/// A drop that holds: of a line, or of one combination of its indices.
struct ActiveDrop {
  const Line* line = nullptr;
  std::shared_ptr<const re2::RE2> pattern;
};

/// A failure of the algebra: the sources do not fit one another.
std::unexpected<Error> DoesNotFit(Error error) {
  if (error.code == ErrorCode::kInvalidArgument) error.code = ErrorCode::kCorrupt;
  return std::unexpected(std::move(error));
}

class TableApplier {
 public:
  TableApplier(const FamilyTable& table, const FamilyInput& input, SourceEnvironment& environment,
               const SourceIndex& index)
      : table_(table),
        input_(input),
        environment_(environment),
        index_(index),
        reads_(input.tensors.size()) {}

  Result<FamilyResult> Apply() {
    for (const Condition& check : table_.checks) WEIGHTFS_CHECK(Check(check));
    for (const LinePtr& line : table_.lines) {
      WEIGHTFS_CHECK(ForEachOf(*line, environment_, [&] { return ApplyOnce(*line); }));
    }
    WEIGHTFS_CHECK(reads_.Check(input_.tensors, result_.notes));
    WEIGHTFS_CHECK(DropAndKeep());
    PutInOrder();
    if (table_.has_config) {
      // Loaders of diffusers know no such key.
      const std::string dtype =
          table_.target == kDiffusers ? "" : MostServedDType(result_.tensors, input_.options);
      WEIGHTFS_TRY(result_.config_json, WriteConfig(table_.config, dtype, environment_));
    }
    if (table_.has_generation_config) {
      WEIGHTFS_TRY(result_.generation_config_json, WriteConfig(table_.generation_config, {}, environment_));
    }
    WEIGHTFS_CHECK(DescribeSurroundings(table_, input_.options, environment_, result_));
    return std::move(result_);
  }

 private:
  Status Check(const Condition& check) {
    WEIGHTFS_TRY(const bool holds, check.that.EvaluateCondition(environment_));
    if (holds) return {};
    std::string message =
        fmt::format("{}: `{}` does not hold", check.that.place.Describe(), check.that.text());
    if (!check.why.empty()) message += ": " + check.why;
    const std::vector<std::string> seen = check.that.expression.Observe(environment_);
    for (size_t i = 0; i < seen.size(); ++i) message += (i == 0 ? "; " : ", ") + seen[i];
    return Fail(ErrorCode::kCorrupt, std::move(message));
  }

  Status ApplyOnce(const Line& line) {
    if (const auto* drop = std::get_if<DropLine>(&line.kind)) return AddDrop(line, *drop);
    if (std::holds_alternative<KeepLine>(line.kind)) {
      kept_.push_back(&line);
      return {};
    }
    WEIGHTFS_TRY(std::string target, line.to->EvaluateText(environment_));
    WEIGHTFS_CHECK(AddTarget(target, line));
    ProducedTensor produced;
    produced.name = target;
    Status made;
    if (const auto* fill = std::get_if<FillLine>(&line.kind))
      made = Filled(*fill, produced);
    else
      made = Rearranged(line, std::get<RearrangementLine>(line.kind), produced);
    if (!made)
      return std::unexpected(made.error().Within(fmt::format("{}: {}", line.place.Describe(), target)));
    Produce(line, std::move(produced));
    return {};
  }

  void Produce(const Line& line, ProducedTensor produced) {
    result_.tensors.push_back(std::move(produced));
    made_by_.push_back(&line);
  }

  Status AddTarget(const std::string& target, const Line& line) {
    if (targets_.size() >= input_.limits.tensors_max)
      return Fail(ErrorCode::kLimitExceeded, fmt::format("{}: more than {} tensors in the target",
                                                         line.place.Describe(), input_.limits.tensors_max));
    const auto [other, is_new] = targets_.emplace(target, &line);
    if (is_new) return {};
    return Fail(ErrorCode::kCorrupt, fmt::format("{}: two lines make it, {} and {}; expected one", target,
                                                 other->second->place.Describe(), line.place.Describe()));
  }

  Status Filled(const FillLine& fill, ProducedTensor& produced) {
    Shape shape;
    for (const PlacedExpression& extent : fill.shape) {
      WEIGHTFS_TRY(const Value value, extent.Evaluate(environment_));
      if (value.integer() == nullptr || *value.integer() < 0)
        return Fail(ErrorCode::kCorrupt, fmt::format("the size `{}` is {}; expected an integer from 0 on",
                                                     extent.text(), value.Describe()));
      shape.push_back(static_cast<uint64_t>(*value.integer()));
    }
    WEIGHTFS_TRY(const std::string name, fill.dtype.EvaluateText(environment_));
    const std::optional<DType> dtype = DTypeFromTorchName(name);
    if (!dtype)
      return Fail(ErrorCode::kCorrupt,
                  fmt::format("the dtype {}; expected a name of torch", name.substr(0, 40)));
    WEIGHTFS_TRY(produced.view, Fill(std::move(shape), *dtype, fill.value));
    produced.rule = fmt::format("fill {}", FloatText(fill.value));
    return {};
  }

  Status Rearranged(const Line& line, const RearrangementLine& rearrangement, ProducedTensor& produced) {
    std::vector<TensorView> views;
    uint64_t parts = 1;
    for (const SourceTerm& term : rearrangement.from) {
      WEIGHTFS_TRY(const std::string name, term.name.EvaluateText(environment_));
      const std::optional<size_t> source = index_.Find(name);
      if (!source) return Missing(name);
      const FamilyTensor& tensor = input_.tensors[*source];
      if (views.empty()) parts = tensor.parts.size();
      auto view = ReadSource(line, rearrangement, term, *source);
      if (!view) return std::unexpected(view.error().Within("from " + tensor.name));
      views.push_back(*std::move(view));
      if (std::ranges::find(produced.sources, *source) == produced.sources.end())
        produced.sources.push_back(*source);
    }
    WEIGHTFS_TRY(produced.view, Joined(rearrangement, views));
    auto rearranged = Steps(rearrangement.steps, std::move(produced.view), AxisScope(environment_, parts));
    if (!rearranged) return std::unexpected(rearranged.error().Within(SourceNames(produced.sources)));
    produced.view = *std::move(rearranged);
    if (rearrangement.scale) {
      WEIGHTFS_TRY(produced.view, produced.view.Scale(*rearrangement.scale));
    }
    if (rearrangement.add) {
      WEIGHTFS_TRY(produced.view, produced.view.AddScalar(*rearrangement.add));
    }
    produced.rule = rearrangement.text;
    return {};
  }

  std::unexpected<Error> Missing(const std::string& name) const {
    const std::string_view nearest = index_.Nearest(name);
    return Fail(
        ErrorCode::kNotFound,
        fmt::format("needs {}, which the source lacks{}", name,
                    nearest.empty() ? std::string() : fmt::format("; the nearest name is {}", nearest)));
  }

  /// The tensor of one source term: its parts joined, its own steps done. Notes what is read of it.
  Result<TensorView> ReadSource(const Line& line, const RearrangementLine& rearrangement,
                                const SourceTerm& term, size_t source) {
    const FamilyTensor& tensor = input_.tensors[source];
    const bool is_own = !term.steps.empty();
    const std::vector<Step>& steps = is_own ? term.steps : rearrangement.steps;
    const AxisScope scope(environment_, tensor.parts.size());
    const size_t skipped = !is_own && rearrangement.is_joined && !rearrangement.join_axis ? 1 : 0;
    WEIGHTFS_TRY(JoinedParts joined,
                 JoinParts(steps[0].arrangement, tensor.parts, skipped, scope, input_.limits));
    SourceRead read{&line, {}, joined.view.shape(), joined.join, joined.dimension};
    WEIGHTFS_TRY(read.region, RegionOf(steps, joined.view.shape(), scope));
    WEIGHTFS_CHECK(reads_.Add(source, std::move(read)));
    if (!is_own) return std::move(joined.view);
    return Steps(steps, std::move(joined.view), scope);
  }

  static Result<TensorView> Steps(const std::vector<Step>& steps, TensorView view, const AxisScope& scope) {
    for (const Step& step : steps) {
      WEIGHTFS_TRY(const ResolvedStep resolved, ResolveStep(step, view.shape(), scope));
      WEIGHTFS_TRY(view, ApplyStep(resolved, view));
    }
    return view;
  }

  std::string SourceNames(const std::vector<size_t>& sources) const {
    std::string names = "from " + input_.tensors[sources[0]].name;
    return sources.size() == 1 ? names : names + fmt::format(" and {} more", sources.size() - 1);
  }

  /// What `steps` take of a tensor of `shape`.
  static Result<Region> RegionOf(const std::vector<Step>& steps, Shape shape, const AxisScope& scope) {
    size_t tracked = 0;  // up to the last step that takes indices
    for (size_t i = 0; i < steps.size(); ++i)
      if (!steps[i].at.empty()) tracked = i + 1;
    if (tracked == 0 || CheckedProduct(shape) == 0) return Region{};
    RegionTracker tracker(shape);
    for (size_t i = 0; i < tracked; ++i) {
      WEIGHTFS_TRY(const ResolvedStep resolved, ResolveStep(steps[i], shape, scope));
      WEIGHTFS_CHECK(tracker.Apply(resolved));
      shape = resolved.RightShape();
    }
    return tracker.Finish();
  }

  static Result<TensorView> Joined(const RearrangementLine& rearrangement,
                                   std::span<const TensorView> views) {
    if (!rearrangement.is_joined) return views[0];
    auto joined = rearrangement.join_axis ? Concat(views, *rearrangement.join_axis) : Stack(views, 0);
    if (!joined) return DoesNotFit(std::move(joined).error());
    return joined;
  }

  Status AddDrop(const Line& line, const DropLine& drop) {
    if (!drop.templated) {
      drops_.push_back({&line, drop.pattern.pattern});
      return {};
    }
    // One pattern for each combination: matching is charged when it is done.
    WEIGHTFS_TRY(const std::string text, drop.templated->EvaluateText(environment_));
    auto pattern = CompilePattern(text);
    if (!pattern) return drop.templated->Explain(std::move(pattern).error());
    WEIGHTFS_CHECK(environment_.Charge(kCompileSteps));
    drops_.push_back({&line, *std::move(pattern)});
    return {};
  }

  const Line* FindDrop(const std::string& name) const {
    for (const ActiveDrop& drop : drops_)
      if (re2::RE2::FullMatch(name, *drop.pattern)) return drop.line;
    return nullptr;
  }

  /// Every source tensor that no line reads is dropped or kept; one that a line reads is neither.
  Status DropAndKeep() {
    std::vector<size_t> unmatched;
    for (size_t source = 0; source < input_.tensors.size(); ++source) {
      const std::string& name = index_.names()[source];
      WEIGHTFS_CHECK(environment_.Charge(1 + kMatchSteps * (drops_.size() + kept_.size())));
      const Line* drop = FindDrop(name);
      if (drop != nullptr && reads_.IsRead(source))
        return Fail(ErrorCode::kCorrupt,
                    fmt::format("{}: read by {} and dropped by {}; expected one of the two", name,
                                reads_.FirstReader(source).place.Describe(), drop->place.Describe()));
      if (reads_.IsRead(source)) continue;
      if (drop != nullptr) {
        result_.dropped.push_back({source, std::get<DropLine>(drop->kind).why});
        continue;
      }
      WEIGHTFS_TRY(const bool is_kept, Keep(source, name));
      if (!is_kept) unmatched.push_back(source);
    }
    if (!unmatched.empty()) return Unmatched(unmatched);
    return {};
  }

  Result<bool> Keep(size_t source, const std::string& name) {
    for (const Line* line : kept_) {
      const auto& keep = std::get<KeepLine>(line->kind);
      const re2::RE2& pattern = *keep.pattern.pattern;
      std::vector<re2::StringPiece> groups(
          1 + static_cast<size_t>(std::max(0, pattern.NumberOfCapturingGroups())));
      if (!pattern.Match(name, 0, name.size(), re2::RE2::ANCHOR_BOTH, groups.data(),
                         static_cast<int>(groups.size())))
        continue;
      ProducedTensor produced;
      produced.name = name;
      if (!keep.to.empty()) {
        produced.name.clear();
        if (!pattern.Rewrite(&produced.name, keep.to, groups.data(), static_cast<int>(groups.size())))
          return Fail(ErrorCode::kInvalidArgument,
                      fmt::format("{}: {} makes no name of {}", line->place.Describe(), keep.to, name));
      }
      WEIGHTFS_CHECK(AddTarget(produced.name, *line));
      const AxisScope scope(environment_, 1);
      auto joined = JoinParts(Arrangement{}, input_.tensors[source].parts, 0, scope, input_.limits);
      if (!joined)
        return std::unexpected(joined.error().Within(fmt::format("{}: {}", line->place.Describe(), name)));
      produced.view = std::move(joined->view);
      produced.sources = {source};
      produced.rule = fmt::format("keep {}", keep.pattern.text);
      Produce(*line, std::move(produced));
      return true;
    }
    return false;
  }

  std::unexpected<Error> Unmatched(const std::vector<size_t>& unmatched) const {
    constexpr size_t kNamedMax = 8;
    std::string message;
    for (size_t i = 0; i < std::min(unmatched.size(), kNamedMax); ++i) {
      const std::string& name = index_.names()[unmatched[i]];
      std::optional<size_t> nearest;
      for (size_t source = 0; source < input_.tensors.size(); ++source)
        if (reads_.IsRead(source) &&
            (!nearest || Likeness(name, index_.names()[source]) > Likeness(name, index_.names()[*nearest])))
          nearest = source;
      message += fmt::format("{}{}: no line of the family {} reads, drops or keeps it", i == 0 ? "" : "\n",
                             name, table_.name);
      if (nearest)
        message += fmt::format("; the nearest is {}, which reads {}",
                               reads_.FirstReader(*nearest).place.Describe(), index_.names()[*nearest]);
    }
    if (unmatched.size() > kNamedMax) message += fmt::format("\nand {} more", unmatched.size() - kNamedMax);
    return Fail(ErrorCode::kCorrupt, std::move(message),
                "A rules file (--rules) can extend the family by lines for these tensors.");
  }

  /// Kept tensors were made last; they belong where their line stands.
  void PutInOrder() {
    std::unordered_map<const Line*, size_t> positions;
    for (size_t i = 0; i < table_.lines.size(); ++i) positions.emplace(table_.lines[i].get(), i);
    std::vector<size_t> order(result_.tensors.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::ranges::stable_sort(order, {}, [&](size_t i) { return positions.at(made_by_[i]); });
    std::vector<ProducedTensor> sorted;
    sorted.reserve(order.size());
    for (const size_t i : order) sorted.push_back(std::move(result_.tensors[i]));
    result_.tensors = std::move(sorted);
  }

  const FamilyTable& table_;
  const FamilyInput& input_;
  SourceEnvironment& environment_;
  const SourceIndex& index_;
  SourceReads reads_;
  FamilyResult result_;
  std::vector<const Line*> made_by_;  ///< Of each tensor of the result.
  std::unordered_map<std::string, const Line*> targets_;
  std::vector<ActiveDrop> drops_;
  std::vector<const Line*> kept_;
};

}  // namespace
}  // namespace weightfs::family

namespace weightfs {

Result<FamilyResult> ApplyFamily(const FamilyTable& table, const FamilyInput& input) {
  if (table.is_abstract)
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("the family {} is there to be extended; expected one that is whole", table.name));
  family::Budget budget = family::Budget::For(input.limits, input.tensors.size());
  WEIGHTFS_TRY(auto options, family::OptionValues(table, input.options));
  family::SourceIndexes indexes(input.tensors);
  family::SourceEnvironment environment(table, input, indexes, std::move(options), budget);
  WEIGHTFS_TRY(const family::SourceIndex* index, environment.Index());
  return family::TableApplier(table, input, environment, *index).Apply();
}

}  // namespace weightfs
