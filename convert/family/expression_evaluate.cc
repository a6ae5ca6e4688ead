// Expression::Evaluate and what messages say of expressions.
#include <fmt/format.h>
#include <re2/re2.h>

#include <algorithm>
#include <array>
#include <utility>

#include "convert/family/expression.h"
#include "convert/family/expression_tree.h"

namespace weightfs::family {

/// Walks one tree. Recurses at most as deep as the tree is, and within the budget's depth.
class ExpressionEvaluator {
 public:
  ExpressionEvaluator(const ExpressionTree& tree, Environment& environment)
      : tree_(tree), environment_(environment) {}

  Result<Value> Node(uint32_t index) {
    const ExpressionNode& node = tree_.nodes[index];
    WEIGHTFS_CHECK(environment_.Charge(1));
    Budget& budget = environment_.budget();
    if (budget.depth == 0)
      return Fail(ErrorCode::kLimitExceeded,
                  "values that use one another are nested too deep; expected fewer levels");
    --budget.depth;
    Result<Value> value = Inner(node);
    ++budget.depth;
    return value;
  }

  Result<bool> Condition(uint32_t index) {
    WEIGHTFS_TRY(const Value value, Node(index));
    if (const bool* boolean = value.boolean()) return *boolean;
    return Fail(ErrorCode::kCorrupt, fmt::format("`{}` is {}; expected true or false",
                                                 tree_.TextOf(tree_.nodes[index]), value.Describe()));
  }

 private:
  Result<Value> Inner(const ExpressionNode& node) {
    const std::span<const uint32_t> children = tree_.ChildrenOf(node);
    switch (node.op) {
      case Op::kLiteral:
        return node.literal;
      case Op::kName:
        return environment_.Name(*node.literal.text());
      case Op::kHash:
        return Fail(ErrorCode::kInternal, "a {#} outside count");
      case Op::kList: {
        Value::List list;
        for (const uint32_t child : children) {
          WEIGHTFS_TRY(list.emplace_back(), Node(child));
        }
        return Value(std::move(list));
      }
      case Op::kConcatenate:
        return Concatenate(node);
      case Op::kMember: {
        WEIGHTFS_TRY(const Value object, Node(children[0]));
        const std::optional<Value> member = object.Member(*node.literal.text());
        if (member) return *member;
        return Fail(ErrorCode::kCorrupt,
                    fmt::format("`{}` is {}; expected a mapping that may have the key {}", Text(children[0]),
                                object.Describe(), *node.literal.text()));
      }
      case Op::kIndex:
        return Index(children);
      case Op::kCall:
        return Call(node);
      case Op::kCoalesce: {
        WEIGHTFS_TRY(Value left, Node(children[0]));
        if (!left.is_null()) return left;
        return Node(children[1]);
      }
      case Op::kNot: {
        WEIGHTFS_TRY(const bool operand, Condition(children[0]));
        return Value(!operand);
      }
      case Op::kNegate: {
        WEIGHTFS_TRY(const Value operand, Node(children[0]));
        return Explained(node, Operate(Op::kSubtract, Value(int64_t{0}), operand, environment_));
      }
      case Op::kAnd:
      case Op::kOr: {
        WEIGHTFS_TRY(const bool left, Condition(children[0]));
        if (left == (node.op == Op::kOr)) return Value(left);
        WEIGHTFS_TRY(const bool right, Condition(children[1]));
        return Value(right);
      }
      case Op::kChoose: {
        WEIGHTFS_TRY(const bool condition, Condition(children[0]));
        return Node(children[condition ? 1 : 2]);
      }
      default:
        break;
    }
    WEIGHTFS_TRY(const Value left, Node(children[0]));
    WEIGHTFS_TRY(const Value right, Node(children[1]));
    return Explained(node, Operate(node.op, left, right, environment_));
  }

  std::string_view Text(uint32_t index) const { return tree_.TextOf(tree_.nodes[index]); }

  /// A failure of arithmetic, with what was computed.
  Result<Value> Explained(const ExpressionNode& node, Result<Value> value) const {
    if (value || value.error().code != ErrorCode::kCorrupt) return value;
    return Fail(ErrorCode::kCorrupt, fmt::format("`{}`: {}", tree_.TextOf(node), value.error().message));
  }

  Result<Value> Index(std::span<const uint32_t> children) {
    WEIGHTFS_TRY(const Value object, Node(children[0]));
    WEIGHTFS_TRY(const Value index, Node(children[1]));
    if (object.is_null()) return Value();
    if (object.is_list() && index.integer() != nullptr) {
      const int64_t i = *index.integer();
      if (i < 0 || static_cast<uint64_t>(i) >= object.list_size()) return Value();
      return object.ListItem(static_cast<uint64_t>(i));
    }
    if (object.is_mapping()) {
      if (const std::string* key = index.text()) return *object.Member(*key);
      if (const int64_t* key = index.integer()) return *object.Member(std::to_string(*key));
    }
    return Fail(ErrorCode::kCorrupt,
                fmt::format("`{}` is {} and its index {}; expected a list and an integer, or a "
                            "mapping and a key",
                            Text(children[0]), object.Describe(), index.Describe()));
  }

  /// The text that a value stands for in a template.
  Result<std::string> Filled(uint32_t index, bool quotes) {
    const ExpressionNode& node = tree_.nodes[index];
    if (node.op == Op::kLiteral && node.literal.text() != nullptr && !IsWrittenAsText(node))
      return *node.literal.text();
    WEIGHTFS_TRY(const Value value, Node(index));
    if (const int64_t* integer = value.integer()) return std::to_string(*integer);
    if (const double* number = value.floating()) return FloatText(*number);
    if (const std::string* text = value.text()) return quotes ? re2::RE2::QuoteMeta(*text) : *text;
    return Fail(ErrorCode::kCorrupt, fmt::format("`{}` in `{}` is {}; expected text or a number", Text(index),
                                                 tree_.text, value.Describe()));
  }
  /// A literal of a template may be plain text, or an expression that is `'text'`.
  bool IsWrittenAsText(const ExpressionNode& node) const {
    return node.begin > 0 && tree_.text[node.begin] == '\'' && tree_.text[node.end - 1] == '\'' &&
           node.end - node.begin >= node.literal.text()->size() + 2;
  }

  Result<Value> Concatenate(const ExpressionNode& node) {
    std::string text;
    for (const uint32_t child : tree_.ChildrenOf(node)) {
      WEIGHTFS_TRY(const std::string piece, Filled(child, node.quotes));
      text += piece;
      if (text.size() > kTextBytesMax)
        return Fail(ErrorCode::kLimitExceeded,
                    fmt::format("`{}` is longer than {} bytes", tree_.text, kTextBytesMax));
    }
    WEIGHTFS_CHECK(environment_.Charge(text.size() / 64));
    return Value(std::move(text));
  }

  Result<Value> Call(const ExpressionNode& node) {
    const std::span<const uint32_t> children = tree_.ChildrenOf(node);
    if (node.function == Function::kCount) return Count(children[0]);
    // `floor(a / b)` takes the quotient, which need not be exact.
    const bool rounds = node.function == Function::kFloor || node.function == Function::kCeil;
    if (rounds && tree_.nodes[children[0]].op == Op::kDivide) {
      const std::span<const uint32_t> sides = tree_.ChildrenOf(tree_.nodes[children[0]]);
      WEIGHTFS_TRY(const Value a, Node(sides[0]));
      WEIGHTFS_TRY(const Value b, Node(sides[1]));
      if (a.integer() != nullptr && b.integer() != nullptr && *b.integer() != 0)
        return Explained(node, RoundedQuotient(*a.integer(), *b.integer(), node.function == Function::kCeil));
      WEIGHTFS_TRY(const Value quotient, Explained(node, Operate(Op::kDivide, a, b, environment_)));
      return Explained(node, CallPure(node.function, std::array{quotient}, environment_));
    }
    std::vector<Value> arguments;
    for (const uint32_t child : children) {
      WEIGHTFS_TRY(arguments.emplace_back(), Node(child));
    }
    return Explained(node, LooksAtSource(node.function) ? environment_.CallSource(node.function, arguments)
                                                        : CallPure(node.function, arguments, environment_));
  }

  Result<Value> Count(uint32_t argument) {
    const ExpressionNode& node = tree_.nodes[argument];
    std::vector<Value> pieces;
    std::string text;
    if (node.op == Op::kConcatenate) {
      for (const uint32_t child : tree_.ChildrenOf(node)) {
        if (tree_.nodes[child].op == Op::kHash) {
          pieces.emplace_back(std::exchange(text, {}));
          continue;
        }
        WEIGHTFS_TRY(const std::string piece, Filled(child, false));
        text += piece;
      }
      pieces.emplace_back(text);
    }
    if (pieces.size() < 2)
      return Fail(
          ErrorCode::kInvalidArgument,
          fmt::format("count({}) has no {{#}}; expected one where the number stands", Text(argument)));
    return environment_.CallSource(Function::kCount, pieces);
  }

  const ExpressionTree& tree_;
  Environment& environment_;
};

namespace {

/// The topmost nodes that say something of the source: names, members of them, source functions.
void CollectObservable(const ExpressionTree& tree, uint32_t index, std::vector<uint32_t>& found) {
  const ExpressionNode& node = tree.nodes[index];
  const bool is_call = node.op == Op::kCall && LooksAtSource(node.function);
  if (node.op == Op::kName || node.op == Op::kMember || node.op == Op::kIndex || is_call) {
    found.push_back(index);
    return;
  }
  for (const uint32_t child : tree.ChildrenOf(node)) CollectObservable(tree, child, found);
}

bool IsComparison(Op op) { return op >= Op::kEqual && op <= Op::kGreaterEqual; }

}  // namespace

Budget Budget::For(const Limits& limits, uint64_t tensors) {
  constexpr uint64_t kStepsPerTensor = 512;
  return {limits.family_steps_max + kStepsPerTensor * tensors, kEvaluationDepthMax,
          limits.family_compared_bytes_max};
}

Status Environment::Charge(uint64_t steps) {
  if (budget_.steps < steps) {
    budget_.steps = 0;
    return Fail(ErrorCode::kLimitExceeded, "evaluating the table takes too many steps; expected fewer",
                "Narrow the ranges of its lines, and the lists that its expressions walk.");
  }
  budget_.steps -= steps;
  return {};
}

const std::string& Expression::text() const { return tree_->text; }

Result<Value> Expression::Evaluate(Environment& environment) const {
  if (tree_->nodes.empty()) return Value();
  return ExpressionEvaluator(*tree_, environment).Node(tree_->root);
}

Result<bool> Expression::EvaluateCondition(Environment& environment) const {
  if (tree_->nodes.empty()) return true;
  return ExpressionEvaluator(*tree_, environment).Condition(tree_->root);
}

Result<std::string> Expression::EvaluateText(Environment& environment) const {
  WEIGHTFS_TRY(const Value value, Evaluate(environment));
  if (const std::string* text = value.text()) return *text;
  return Fail(ErrorCode::kCorrupt, fmt::format("`{}` is {}; expected text", text(), value.Describe()));
}

std::vector<std::string> Expression::Observe(Environment& environment) const {
  constexpr size_t kLinesMax = 12;
  std::vector<std::string> lines;
  if (tree_->nodes.empty()) return lines;
  std::vector<uint32_t> observable;
  const ExpressionNode& root = tree_->nodes[tree_->root];
  if (IsComparison(root.op))
    for (const uint32_t side : tree_->ChildrenOf(root))
      if (tree_->nodes[side].op != Op::kLiteral) observable.push_back(side);
  CollectObservable(*tree_, tree_->root, observable);
  for (const uint32_t index : observable) {
    const auto value = ExpressionEvaluator(*tree_, environment).Node(index);
    if (!value) continue;
    std::string line = fmt::format("{} is {}", tree_->TextOf(tree_->nodes[index]), value->Describe());
    if (lines.size() < kLinesMax && std::ranges::find(lines, line) == lines.end())
      lines.push_back(std::move(line));
  }
  return lines;
}

std::vector<NameUse> Expression::Names() const {
  std::vector<NameUse> names;
  for (const ExpressionNode& node : tree_->nodes)
    if (node.op == Op::kName) names.push_back({*node.literal.text(), {}});
  // A member names its object's name too; objects come before members in the tree.
  for (const ExpressionNode& node : tree_->nodes) {
    if (node.op != Op::kMember) continue;
    const ExpressionNode& object = tree_->nodes[tree_->ChildrenOf(node)[0]];
    if (object.op == Op::kName) names.push_back({*object.literal.text(), *node.literal.text()});
  }
  return names;
}

std::optional<std::string> Expression::AsPlainName() const {
  if (tree_->nodes.size() != 1 || tree_->nodes[0].op != Op::kName) return std::nullopt;
  return *tree_->nodes[0].literal.text();
}

std::vector<std::string> Expression::LiteralPatterns() const {
  std::vector<std::string> patterns;
  for (const ExpressionNode& node : tree_->nodes) {
    if (node.op != Op::kCall || (node.function != Function::kAny && node.function != Function::kMatches))
      continue;
    const ExpressionNode& argument = tree_->nodes[tree_->ChildrenOf(node).back()];
    if (argument.op == Op::kLiteral && argument.literal.text() != nullptr)
      patterns.push_back(*argument.literal.text());
  }
  return patterns;
}

}  // namespace weightfs::family
