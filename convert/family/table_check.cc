// CheckTable: what can be known of a table without a source.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "convert/family/environment.h"
#include "convert/family/table_loader.h"

namespace weightfs::family {
namespace {

using Names = std::set<std::string, std::less<>>;

/// Stands for a source of which nothing is known. An expression that does not ask has one value, whatever the
/// source.
class NoSource final : public Environment {
 public:
  using Environment::Environment;

  Result<Value> Name(std::string_view) override { return Asked(); }
  Result<Value> CallSource(Function, std::span<const Value>) override { return Asked(); }
  Result<const re2::RE2*> Pattern(const std::string&) override { return Asked(); }
  bool was_asked() const { return was_asked_; }

 private:
  std::unexpected<Error> Asked() {
    was_asked_ = true;
    return Fail(ErrorCode::kUnsupported, "asks for the source");
  }

  bool was_asked_ = false;
};

class TableChecker {
 public:
  explicit TableChecker(const FamilyTable& table) : table_(table) {
    for (const auto& item : table.lets.items) lets_.insert(item.first);
    known_ = lets_;
    for (const auto& item : table.metadata.items) known_.insert(item.first);
    known_.insert("options");
  }

  Status Check() {
    for (const Condition& condition : table_.detect) WEIGHTFS_CHECK(Expect(condition.that, {}));
    for (const Condition& condition : table_.checks) WEIGHTFS_CHECK(Expect(condition.that, {}));
    for (const auto& [name, let] : table_.lets.items) WEIGHTFS_CHECK(Expect(let, {}));
    WEIGHTFS_CHECK(CheckCircles(table_.lets));
    for (const LinePtr& line : table_.lines) WEIGHTFS_CHECK(CheckLine(*line));
    for (const auto* config : {&table_.config, &table_.generation_config})
      for (const auto& [key, value] : config->items) WEIGHTFS_CHECK(CheckConfig(*value, {}));
    WEIGHTFS_CHECK(CheckSurroundings());
    return CheckReverse();
  }

 private:
  Status ExpectNames(const Expression& expression, const Place& place, const Names& locals) const {
    for (const NameUse& use : expression.Names()) {
      if (!known_.contains(use.name) && !locals.contains(use.name)) {
        std::vector<std::string_view> known(known_.begin(), known_.end());
        known.insert(known.end(), locals.begin(), locals.end());
        const std::string_view near = NearestWord(use.name, known);
        return place.Fail(
            fmt::format("`{}` uses {}; expected an index of the line, or a name of let, metadata or options",
                        expression.text(), use.name),
            near.empty() ? std::string() : fmt::format("Did you mean {}?", near));
      }
      if (use.name != "options" || locals.contains("options") || use.member.empty()) continue;
      if (use.member == "vocab_size" || use.member == "trim_vocab") continue;
      if (table_.options.Find(use.member) == nullptr)
        return place.Fail(
            fmt::format("`{}` uses the option {}; expected one of options", expression.text(), use.member));
    }
    return {};
  }
  Status Expect(const PlacedExpression& placed, const Names& locals) const {
    WEIGHTFS_CHECK(ExpectNames(placed.expression, placed.place, locals));
    constexpr uint64_t kStepsMax = 1 << 16;
    Budget budget{kStepsMax, kEvaluationDepthMax, 0};
    NoSource nothing(budget);
    const Result<Value> value = placed.expression.Evaluate(nothing);
    if (value || nothing.was_asked()) return {};
    return placed.place.Fail(value.error().message);
  }

  /// The names that `groups` define are added to `locals`; a range may use those before it.
  Status AddIndices(const std::vector<Indices>& groups, Names& locals) const {
    for (const Indices& group : groups) {
      for (const Expression& expression : group.range)
        WEIGHTFS_CHECK(ExpectNames(expression, group.place, locals));
      locals.insert(group.names.begin(), group.names.end());
    }
    return {};
  }

  Status CheckLine(const Line& line) const {
    Names locals;
    WEIGHTFS_CHECK(AddIndices(line.indices, locals));
    if (line.when) WEIGHTFS_CHECK(Expect(*line.when, locals));
    for (const LocalSize& size : line.sizes) {
      WEIGHTFS_CHECK(Expect(size.text, locals));
      locals.insert(size.name);
    }
    if (line.to) WEIGHTFS_CHECK(Expect(*line.to, locals));
    if (const auto* rearrangement = std::get_if<RearrangementLine>(&line.kind)) {
      for (const SourceTerm& term : rearrangement->from) {
        WEIGHTFS_CHECK(Expect(term.name, locals));
        for (const Step& step : term.steps) WEIGHTFS_CHECK(CheckStep(line, step, locals));
      }
      for (const Step& step : rearrangement->steps) WEIGHTFS_CHECK(CheckStep(line, step, locals));
    } else if (const auto* fill = std::get_if<FillLine>(&line.kind)) {
      for (const PlacedExpression& extent : fill->shape) WEIGHTFS_CHECK(Expect(extent, locals));
      WEIGHTFS_CHECK(Expect(fill->dtype, locals));
    } else if (const auto* drop = std::get_if<DropLine>(&line.kind)) {
      if (drop->templated) WEIGHTFS_CHECK(Expect(*drop->templated, locals));
      if (drop->alias) WEIGHTFS_CHECK(Expect(*drop->alias, locals));
    }
    return {};
  }

  Status CheckStep(const Line& line, const Step& step, const Names& locals) const {
    for (const Dimension& dimension : step.arrangement.left) {
      for (const Axis& axis : dimension.axes) {
        const bool is_known =
            axis.name.empty() || axis.is_free || axis.name == "T" || lets_.contains(axis.name) ||
            std::ranges::any_of(line.sizes, [&](const LocalSize& size) { return size.name == axis.name; });
        if (!is_known)
          return line.place.Fail(
              fmt::format("`{}` has the axis {}, whose size nothing gives", step.arrangement.text, axis.name),
              fmt::format("Define {} in `with` or `let`, or write {}* when any size will do.", axis.name,
                          axis.name));
      }
    }
    for (const auto& [name, indices] : step.at)
      for (const Expression& expression : indices.values)
        WEIGHTFS_CHECK(ExpectNames(expression, line.place, locals));
    return {};
  }

  Status CheckConfig(const ConfigValue& value, const Names& locals) const {
    if (const auto* expression = std::get_if<PlacedExpression>(&value.value))
      return Expect(*expression, locals);
    if (const auto* object = std::get_if<ConfigValue::Object>(&value.value)) {
      for (const auto& [key, member] : object->members) WEIGHTFS_CHECK(CheckConfig(*member, locals));
    } else if (const auto* list = std::get_if<ConfigValue::List>(&value.value)) {
      for (const ConfigValuePtr& item : list->items) WEIGHTFS_CHECK(CheckConfig(*item, locals));
    } else if (const auto* choice = std::get_if<ConfigValue::When>(&value.value)) {
      WEIGHTFS_CHECK(Expect(choice->condition, locals));
      WEIGHTFS_CHECK(CheckConfig(*choice->value, locals));
      if (choice->otherwise != nullptr) WEIGHTFS_CHECK(CheckConfig(*choice->otherwise, locals));
    } else if (const auto* repeated = std::get_if<ConfigValue::For>(&value.value)) {
      Names inner = locals;
      WEIGHTFS_CHECK(AddIndices(repeated->indices, inner));
      WEIGHTFS_CHECK(CheckConfig(*repeated->value, inner));
    }
    return {};
  }

  Status CheckSurroundings() const {
    for (const Note& note : table_.notes) {
      WEIGHTFS_CHECK(Expect(note.when, {}));
      WEIGHTFS_CHECK(Expect(note.say, {}));
    }
    for (const auto& [folder, options] : table_.pipeline.options.items)
      for (const auto& [key, value] : options.items) WEIGHTFS_CHECK(Expect(value, {}));
    for (const auto& [path, file] : table_.pipeline.files.items)
      for (const auto& [key, value] : file.items) WEIGHTFS_CHECK(CheckConfig(*value, {}));
    return {};
  }

  /// Backwards there is no metadata, and `c` is the target's config.
  Status CheckReverse() const {
    Names locals = {"c"};
    for (const auto& item : table_.reverse_lets.items) locals.insert(item.first);
    for (const auto& [name, let] : table_.reverse_lets.items) {
      WEIGHTFS_CHECK(Expect(let, locals));
      for (const NameUse& use : let.expression.Names())
        if (table_.metadata.Find(use.name) != nullptr && !locals.contains(use.name))
          return let.place.Fail(
              fmt::format("`{}` uses the metadata {}, which the target does not have; expected values "
                          "of c, the config.json of the target",
                          let.text(), use.name));
    }
    return CheckCircles(table_.reverse_lets);
  }

  /// Visits every let once; the path is an explicit stack.
  static Status CheckCircles(const NamedList<PlacedExpression>& lets) {
    enum class State : uint8_t { kNew, kOpen, kDone };
    struct Visit {
      std::string name;
      std::vector<NameUse> uses;
      size_t next = 0;
    };
    std::map<std::string, State, std::less<>> states;
    std::vector<Visit> path;
    const auto open = [&](const std::string& name, const PlacedExpression& let) {
      states[name] = State::kOpen;
      path.push_back({name, let.expression.Names()});
    };
    for (const auto& [name, let] : lets.items) {
      if (states[name] != State::kNew) continue;
      open(name, let);
      while (!path.empty()) {
        Visit& visit = path.back();
        if (visit.next == visit.uses.size()) {
          states[visit.name] = State::kDone;
          path.pop_back();
          continue;
        }
        const std::string used = visit.uses[visit.next++].name;
        const PlacedExpression* other = lets.Find(used);
        if (other == nullptr || states[used] == State::kDone) continue;
        if (states[used] == State::kNew) {
          open(used, *other);
          continue;
        }
        std::string circle = used;
        for (auto at = std::ranges::find(path, used, &Visit::name) + 1; at != path.end(); ++at)
          circle += " -> " + at->name;
        return other->place.Fail(
            fmt::format("values that use one another in a circle: {} -> {}", circle, used));
      }
    }
    return {};
  }

  const FamilyTable& table_;
  Names lets_, known_;
};

}  // namespace

Status CheckTable(const FamilyTable& table) {
  if (table.is_abstract) return {};
  return TableChecker(table).Check();
}

}  // namespace weightfs::family
