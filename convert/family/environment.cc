#include "convert/family/environment.h"

#include <fmt/format.h>

#include "convert/family/pattern.h"

namespace weightfs::family {

ScopedEnvironment::ScopedEnvironment(const FamilyTable& table, nlohmann::json options, Budget& budget)
    : Environment(budget), table_(table), options_(std::move(options)) {}

Result<Value> ScopedEnvironment::Name(std::string_view name) {
  for (const Names* names : {&indices, &sizes})
    for (const auto& [key, value] : *names)
      if (key == name) return value;
  if (const PlacedExpression* let = FindLet(name)) return Let(std::string(name), *let);
  WEIGHTFS_TRY(std::optional<Value> root, Root(name));
  if (root) return *std::move(root);
  if (name == "options") return Value::Of(options_);
  return Fail(
      ErrorCode::kInvalidArgument,
      fmt::format("no name {}; expected an index of the line, or a name of let, metadata or options", name));
}

Result<Value> ScopedEnvironment::Let(const std::string& name, const PlacedExpression& let) {
  const auto [state, is_new] = lets_.emplace(name, LetState{});
  if (!is_new && state->second.is_done) return state->second.value;
  if (!is_new)
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("{}: {} uses itself, directly or by others", let.place.Describe(), name));
  // A named value is the same wherever it is used: it does not see the indices of the line that uses it.
  Names outer_indices = std::exchange(indices, {}), outer_sizes = std::exchange(sizes, {});
  OnLet(let, true);
  state->second.value = let.Evaluate(*this);
  OnLet(let, false);
  state->second.is_done = true;
  indices = std::move(outer_indices);
  sizes = std::move(outer_sizes);
  return state->second.value;
}

Result<const re2::RE2*> ScopedEnvironment::Pattern(const std::string& text) {
  constexpr size_t kPatternsMax = 4096;
  auto found = patterns_.find(text);
  if (found == patterns_.end()) {
    if (patterns_.size() >= kPatternsMax)
      return Fail(ErrorCode::kLimitExceeded, fmt::format("more than {} different patterns", kPatternsMax));
    WEIGHTFS_CHECK(Charge(kCompileSteps));
    WEIGHTFS_TRY(auto pattern, CompilePattern(text));
    found = patterns_.emplace(text, std::move(pattern)).first;
  }
  return found->second.get();
}

Result<std::optional<uint64_t>> ScopedEnvironment::AxisSize(const std::string& axis) {
  const Value* value = nullptr;
  Value named;
  for (const auto& [key, size] : sizes)
    if (key == axis) value = &size;
  if (value == nullptr) {
    const PlacedExpression* let = FindLet(axis);
    if (let != nullptr) {
      WEIGHTFS_TRY(named, Let(axis, *let));
    } else {
      WEIGHTFS_TRY(std::optional<Value> root, Root(axis));
      if (!root) return std::nullopt;
      named = *std::move(root);
    }
    value = &named;
  }
  if (value->integer() != nullptr && *value->integer() >= 0) return static_cast<uint64_t>(*value->integer());
  return Fail(ErrorCode::kCorrupt,
              fmt::format("the size {} is {}; expected an integer from 0 on", axis, value->Describe()));
}

Result<Value> ScopedEnvironment::EvaluateText(const std::string& text) {
  constexpr size_t kExpressionsMax = 65536;
  auto found = expressions_.find(text);
  if (found == expressions_.end()) {
    if (expressions_.size() >= kExpressionsMax)
      return Fail(ErrorCode::kLimitExceeded,
                  fmt::format("more than {} different expressions", kExpressionsMax));
    WEIGHTFS_CHECK(Charge(1 + text.size()));
    WEIGHTFS_TRY(Expression expression, Expression::Parse(text));
    found = expressions_.emplace(text, std::move(expression)).first;
  }
  return found->second.Evaluate(*this);
}

std::unexpected<Error> PlacedExpression::Explain(Error error) const {
  const bool has_place = place.file != nullptr && error.message.starts_with(*place.file + ":");
  if (!has_place) error = error.Within(place.Describe());
  return std::unexpected(std::move(error));
}

Result<Value> PlacedExpression::Evaluate(Environment& environment) const {
  auto value = expression.Evaluate(environment);
  if (!value) return Explain(std::move(value).error());
  return value;
}

Result<bool> PlacedExpression::EvaluateCondition(Environment& environment) const {
  auto value = expression.EvaluateCondition(environment);
  if (!value) return Explain(std::move(value).error());
  return value;
}

Result<std::string> PlacedExpression::EvaluateText(Environment& environment) const {
  auto value = expression.EvaluateText(environment);
  if (!value) return Explain(std::move(value).error());
  return value;
}

}  // namespace weightfs::family
