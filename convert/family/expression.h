/// \file
/// Expressions and templates of family tables (docs/families.md, "Expressions"): parsed once, evaluated
/// lazily.
///
/// Bounds, so that a hostile table costs little: text of 4096 bytes, trees of 64 levels, values of text of 64
/// KiB, lists of 65536 items; evaluation takes one step of the environment's budget for each node, and more
/// for long values.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "convert/base/limits.h"
#include "convert/base/result.h"
#include "convert/family/value.h"

namespace re2 {
class RE2;
}

namespace weightfs::family {

inline constexpr size_t kExpressionBytesMax = 4096;
inline constexpr uint32_t kExpressionDepthMax = 64;
inline constexpr size_t kTextBytesMax = 65536;        ///< Of a value of text.
inline constexpr uint32_t kEvaluationDepthMax = 400;  ///< Nodes within one another, through named values.
/// Steps that compiling a pattern, and matching a name, is charged as.
inline constexpr uint64_t kCompileSteps = 20'000, kMatchSteps = 8;
inline constexpr uint64_t kListItemsMax = 65536;  ///< Of a list that an expression makes.

enum class Function : uint8_t {
  kHas,
  kAny,
  kCount,
  kDim,
  kNdim,
  kParts,
  kDtype,
  kServedDtype,
  kSame,
  kFile,
  kSourceName,
  kStoredAny,
  kStoredAll,
  kWrapper,  // up to here they look at the source
  kCeil,
  kFloor,
  kInt,
  kFloat,
  kStr,
  kLen,
  kMin,
  kMax,
  kAbs,
  kLn,
  kStarts,
  kMatches,
  kLower,
  kGet,
  kRange,
};
std::string_view FunctionName(Function function);
/// Whether the function looks at the source rather than at its arguments alone.
inline bool LooksAtSource(Function function) { return function <= Function::kWrapper; }

/// What bounds the work of one application of a table (limits.h).
struct Budget {
  /// For a source of `tensors` tensors: more of them take more steps.
  static Budget For(const Limits& limits, uint64_t tensors);

  uint64_t steps = 0;           ///< Left.
  uint32_t depth = 0;           ///< Evaluations within one another that may still begin.
  uint64_t compared_bytes = 0;  ///< That `same` and replicas may still read.
};

/// What names and functions mean where an expression is evaluated. Not thread-safe.
class Environment {
 public:
  explicit Environment(Budget& budget) : budget_(budget) {}
  virtual ~Environment() = default;
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

  virtual Result<Value> Name(std::string_view name) = 0;
  /// A function that looks at the source. `count` gets the pieces of text around its `{#}`.
  virtual Result<Value> CallSource(Function function, std::span<const Value> arguments) = 0;
  /// A compiled pattern, kept.
  /// \error kInvalidArgument  it does not compile
  virtual Result<const re2::RE2*> Pattern(const std::string& text) = 0;

  /// \error kLimitExceeded  the budget is spent
  Status Charge(uint64_t steps);
  Budget& budget() { return budget_; }

 private:
  Budget& budget_;
};

/// A name in an expression.
struct NameUse {
  std::string name;
  std::string member;  ///< The key that is looked up in it, or empty: `options.act`.
};

struct ExpressionTree;  // expression_tree.h

/// A parsed expression, or template (an expression whose value is text). Immutable; thread-safe; cheap to
/// copy.
class Expression {
 public:
  Expression();

  /// \error kInvalidArgument  `column N of EXPRESSION: what; expected what`
  static Result<Expression> Parse(std::string_view text);
  /// Text with expressions in braces; `{{` and `}}` are braces. With `is_pattern`, what is filled in is
  /// quoted for RE2.
  static Result<Expression> ParseTemplate(std::string_view text, bool is_pattern = false);
  /// `N`, or `A:B`: one expression or two.
  static Result<std::vector<Expression>> ParseRange(std::string_view text);

  const std::string& text() const;
  Result<Value> Evaluate(Environment& environment) const;
  /// `Evaluate`, where something else than true or false is an error.
  Result<bool> EvaluateCondition(Environment& environment) const;
  /// `Evaluate`, where something else than text is an error.
  Result<std::string> EvaluateText(Environment& environment) const;

  /// What the names, members and source functions in it are now, one each: `m.n_embd is 48`; and both sides
  /// of a comparison. For messages; what does not evaluate is left out.
  std::vector<std::string> Observe(Environment& environment) const;

  /// Every name in it, in order; one that occurs twice comes twice.
  std::vector<NameUse> Names() const;
  /// The name that this expression is, and nothing else; nothing when it is more.
  std::optional<std::string> AsPlainName() const;
  /// The patterns that are written as text: arguments of `any`, `matches` and the like.
  std::vector<std::string> LiteralPatterns() const;

 private:
  explicit Expression(std::shared_ptr<const ExpressionTree> tree) : tree_(std::move(tree)) {}
  std::shared_ptr<const ExpressionTree> tree_;
};

}  // namespace weightfs::family
