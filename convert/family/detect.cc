// DetectFamily: the table all of whose conditions hold.
#include <fmt/format.h>

#include <algorithm>

#include "convert/family/environment.h"
#include "convert/family/table.h"

namespace weightfs {
namespace {

using family::Condition;

/// Whether the table fits; `evidence` gets a line for each condition that held.
bool Fits(const FamilyTable& table, const FamilyInput& input, family::SourceIndexes& indexes,
          std::vector<std::string>& evidence) {
  family::Budget budget = family::Budget::For(input.limits, input.tensors.size());
  // What the user says about a family does not make a source one.
  auto options = family::OptionValues(table, {});
  if (!options) return false;
  family::SourceEnvironment environment(table, input, indexes, *std::move(options), budget);
  for (const Condition& condition : table.detect) {
    const auto holds = condition.that.expression.EvaluateCondition(environment);
    if (!holds || !*holds) return false;
    const std::vector<std::string> seen = condition.that.expression.Observe(environment);
    std::string line;
    for (const std::string& fact : seen) {
      const bool says_only_true = fact == condition.that.text() + " is true";
      line += (line.empty() ? "" : ", ") + (says_only_true ? condition.that.text() : fact);
    }
    evidence.push_back(line.empty() ? condition.that.text() : line);
  }
  return true;
}

std::unexpected<Error> Ambiguous(const std::vector<FamilyChoice>& fitting) {
  std::string message = "the source fits several families; expected one";
  for (const FamilyChoice& choice : fitting) {
    message += fmt::format("\n{} ({}): ", choice.table->name, choice.table->title);
    for (size_t i = 0; i < choice.evidence.size(); ++i) message += (i == 0 ? "" : "; ") + choice.evidence[i];
  }
  std::string names;
  for (const FamilyChoice& choice : fitting)
    names += (names.empty() ? "" : " or ") + std::string("--family ") + choice.table->name;
  return Fail(ErrorCode::kAmbiguous, std::move(message), fmt::format("Say which: {}.", names));
}

}  // namespace

bool FitsFamily(const FamilyTable& table, const FamilyInput& input) {
  family::SourceIndexes indexes(input.tensors);
  std::vector<std::string> evidence;
  return Fits(table, input, indexes, evidence);
}

Result<FamilyChoice> DetectFamily(const FamilyRegistry& registry, const FamilyInput& input) {
  family::SourceIndexes indexes(input.tensors);
  std::vector<FamilyChoice> fitting;
  for (const auto& table : registry.tables()) {
    if (table->is_abstract) continue;
    FamilyChoice choice;
    if (!Fits(*table, input, indexes, choice.evidence)) continue;
    choice.table = table;
    fitting.push_back(std::move(choice));
  }
  // One that extends another is the more special one.
  const std::vector<FamilyChoice> all = fitting;
  std::erase_if(fitting, [&](const FamilyChoice& choice) {
    return std::ranges::any_of(all, [&](const FamilyChoice& other) {
      return std::ranges::find(other.table->ancestors, choice.table->name) != other.table->ancestors.end();
    });
  });
  if (fitting.empty()) return FamilyChoice{};
  if (fitting.size() > 1) return Ambiguous(fitting);
  return std::move(fitting.front());
}

}  // namespace weightfs
