// Expression::Parse and its kin: precedence climbing into a flat tree.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "convert/family/expression.h"
#include "convert/family/expression_lexer.h"
#include "convert/family/expression_tree.h"

namespace weightfs::family {
namespace {

struct BinaryOperator {
  std::string_view sign;
  Op op;
  int binding;  ///< Higher binds tighter.
};
constexpr int kComparison = 3;
constexpr BinaryOperator kBinaryOperators[] = {
    {"||", Op::kOr, 1},
    {"&&", Op::kAnd, 2},
    {"==", Op::kEqual, kComparison},
    {"!=", Op::kNotEqual, kComparison},
    {"<=", Op::kLessEqual, kComparison},
    {">=", Op::kGreaterEqual, kComparison},
    {"<", Op::kLess, kComparison},
    {">", Op::kGreater, kComparison},
    {"+", Op::kAdd, 4},
    {"-", Op::kSubtract, 4},
    {"*", Op::kMultiply, 5},
    {"/", Op::kDivide, 5},
    {"%", Op::kRemainder, 5},
};

const BinaryOperator* FindBinary(const Token& token) {
  for (const BinaryOperator& candidate : kBinaryOperators)
    if (token.Is(candidate.sign)) return &candidate;
  return nullptr;
}

}  // namespace

/// Parses one range of one text into a tree. Recurses at most `kExpressionDepthMax` levels.
class ExpressionParser {
 public:
  ExpressionParser(ExpressionTree& tree, size_t begin, size_t end, uint32_t level = 0)
      : tree_(tree), lexer_(tree.text, begin, end), level_(level) {}

  Status Start() { return Advance(); }
  const Token& token() const { return token_; }
  Status Advance() {
    previous_end_ = token_.end;
    WEIGHTFS_TRY(token_, lexer_.Next());
    return {};
  }
  std::unexpected<Error> Unexpected(std::string_view expected) const {
    const std::string what =
        token_.kind == Token::Kind::kEnd
            ? "the end"
            : tree_.text.substr(token_.begin, std::min<size_t>(token_.end - token_.begin, 40));
    return lexer_.FailAt(token_.begin, fmt::format("{}; expected {}", what, expected));
  }

  Result<uint32_t> Choice() {
    if (++level_ > kExpressionDepthMax)
      return lexer_.FailAt(token_.begin, fmt::format("nested deeper than {} levels", kExpressionDepthMax));
    WEIGHTFS_TRY(uint32_t node, Binary(1));
    if (token_.Is("?")) {
      const uint32_t begin = tree_.nodes[node].begin;
      WEIGHTFS_CHECK(Advance());
      WEIGHTFS_TRY(const uint32_t yes, Choice());
      WEIGHTFS_CHECK(Take(":"));
      WEIGHTFS_TRY(const uint32_t no, Choice());
      WEIGHTFS_TRY(node, Add({.op = Op::kChoose, .begin = begin}, {node, yes, no}));
    }
    --level_;
    return node;
  }

  /// The pieces of a template between `begin` and `end`, as children of one node.
  Result<uint32_t> Template(size_t begin, size_t end, bool quotes, bool takes_hash);

 private:
  Status Take(std::string_view sign) {
    if (!token_.Is(sign)) return Unexpected(sign);
    return Advance();
  }

  /// Appends a node whose text ends where the last token ended.
  Result<uint32_t> Add(ExpressionNode node, const std::vector<uint32_t>& children = {}) {
    node.end = previous_end_;
    return AddWhole(std::move(node), children);
  }
  Result<uint32_t> AddWhole(ExpressionNode node, const std::vector<uint32_t>& children) {
    for (const uint32_t child : children)
      node.depth = std::max<uint16_t>(node.depth, static_cast<uint16_t>(tree_.nodes[child].depth + 1));
    if (node.depth > kExpressionDepthMax)
      return lexer_.FailAt(node.begin, fmt::format("nested deeper than {} levels", kExpressionDepthMax));
    node.first = static_cast<uint32_t>(tree_.children.size());
    node.count = static_cast<uint32_t>(children.size());
    tree_.children.insert(tree_.children.end(), children.begin(), children.end());
    tree_.nodes.push_back(std::move(node));
    return static_cast<uint32_t>(tree_.nodes.size() - 1);
  }

  Result<uint32_t> Binary(int binding_min) {
    WEIGHTFS_TRY(uint32_t left, Unary());
    bool compared = false;
    while (true) {
      const BinaryOperator* found = FindBinary(token_);
      if (found == nullptr || found->binding < binding_min) return left;
      if (found->binding == kComparison && std::exchange(compared, true))
        return Unexpected("no second comparison; join two with &&");
      WEIGHTFS_CHECK(Advance());
      WEIGHTFS_TRY(const uint32_t right, Binary(found->binding + 1));
      WEIGHTFS_TRY(left, Add({.op = found->op, .begin = tree_.nodes[left].begin}, {left, right}));
    }
  }

  Result<uint32_t> Unary() {
    if (!token_.Is("!") && !token_.Is("-")) return Coalesce();
    const Op op = token_.Is("!") ? Op::kNot : Op::kNegate;
    const uint32_t begin = token_.begin;
    if (++level_ > kExpressionDepthMax)
      return lexer_.FailAt(begin, fmt::format("nested deeper than {} levels", kExpressionDepthMax));
    WEIGHTFS_CHECK(Advance());
    WEIGHTFS_TRY(const uint32_t operand, Unary());
    --level_;
    return Add({.op = op, .begin = begin}, {operand});
  }

  Result<uint32_t> Coalesce() {
    WEIGHTFS_TRY(uint32_t left, Postfix());
    while (token_.Is("??")) {
      WEIGHTFS_CHECK(Advance());
      // The right side may be negative: `m.x ?? -1`.
      const bool is_signed = token_.Is("-") || token_.Is("!");
      auto right = is_signed ? Unary() : Postfix();
      if (!right) return right;
      WEIGHTFS_TRY(left, Add({.op = Op::kCoalesce, .begin = tree_.nodes[left].begin}, {left, *right}));
    }
    return left;
  }

  Result<uint32_t> Postfix() {
    WEIGHTFS_TRY(uint32_t node, Primary());
    while (true) {
      const uint32_t begin = tree_.nodes[node].begin;
      if (token_.Is(".")) {
        WEIGHTFS_CHECK(Advance());
        if (token_.kind != Token::Kind::kName) return Unexpected("a key after the dot");
        ExpressionNode member{.op = Op::kMember, .begin = begin, .literal = Value(token_.text)};
        WEIGHTFS_CHECK(Advance());
        WEIGHTFS_TRY(node, Add(std::move(member), {node}));
      } else if (token_.Is("[")) {
        WEIGHTFS_CHECK(Advance());
        WEIGHTFS_TRY(const uint32_t index, Choice());
        WEIGHTFS_CHECK(Take("]"));
        WEIGHTFS_TRY(node, Add({.op = Op::kIndex, .begin = begin}, {node, index}));
      } else {
        return node;
      }
    }
  }

  Result<uint32_t> Primary() {
    const Token token = token_;
    switch (token.kind) {
      case Token::Kind::kInteger:
        return Literal(token, Value(token.integer));
      case Token::Kind::kFloat:
        return Literal(token, Value(token.number));
      case Token::Kind::kText:
        return Literal(token, Value(token.text));
      case Token::Kind::kName: {
        if (token.text == "null") return Literal(token, Value());
        if (token.text == "true" || token.text == "false") return Literal(token, Value(token.text == "true"));
        WEIGHTFS_CHECK(Advance());
        if (token_.Is("(")) return Call(token);
        return Add({.op = Op::kName, .begin = token.begin, .literal = Value(token.text)});
      }
      default:
        break;
    }
    if (token.Is("(")) {
      WEIGHTFS_CHECK(Advance());
      WEIGHTFS_TRY(const uint32_t inner, Choice());
      WEIGHTFS_CHECK(Take(")"));
      return inner;
    }
    if (token.Is("[")) {
      WEIGHTFS_CHECK(Advance());
      std::vector<uint32_t> items;
      WEIGHTFS_CHECK(Items("]", items));
      return Add({.op = Op::kList, .begin = token.begin}, items);
    }
    return Unexpected("a value");
  }

  Result<uint32_t> Literal(const Token& token, Value value) {
    WEIGHTFS_CHECK(Advance());
    return Add({.op = Op::kLiteral, .begin = token.begin, .literal = std::move(value)});
  }

  /// Expressions with commas between them up to `close`, which is taken.
  Status Items(std::string_view close, std::vector<uint32_t>& items) {
    while (!token_.Is(close)) {
      if (!items.empty()) WEIGHTFS_CHECK(Take(","));
      WEIGHTFS_TRY(const uint32_t item, Choice());
      items.push_back(item);
    }
    return Advance();
  }

  Result<uint32_t> Call(const Token& name) {
    const FunctionFacts* facts = FindFunction(name.text);
    if (facts == nullptr)
      return lexer_.FailAt(name.begin,
                           fmt::format("no function {}; expected one of {}", name.text, FunctionNames()));
    WEIGHTFS_CHECK(Advance());
    std::vector<uint32_t> arguments;
    WEIGHTFS_CHECK(Items(")", arguments));
    if (arguments.size() < facts->arguments_min || arguments.size() > facts->arguments_max)
      return lexer_.FailAt(name.begin, fmt::format("{} of {} arguments; expected {}", name.text,
                                                   arguments.size(), facts->arguments_min));
    const bool is_count = facts->function == Function::kCount;
    for (uint32_t& argument : arguments) {
      const ExpressionNode node = tree_.nodes[argument];
      const std::string* text = node.op == Op::kLiteral ? node.literal.text() : nullptr;
      if (is_count && text == nullptr)
        return lexer_.FailAt(node.begin, "no text; expected the template of count written as text");
      if (!facts->takes_names || text == nullptr || !text->contains('{')) continue;
      if (text->size() + 2 != node.end - node.begin)
        return lexer_.FailAt(node.begin, "a doubled quote beside braces; expected one or the other");
      WEIGHTFS_TRY(argument, Template(node.begin + 1, node.end - 1, false, is_count));
    }
    return Add({.op = Op::kCall, .function = facts->function, .begin = name.begin}, arguments);
  }

  ExpressionTree& tree_;
  Lexer lexer_;
  Token token_;
  uint32_t previous_end_ = 0;
  uint32_t level_ = 0;
};

Result<uint32_t> ExpressionParser::Template(size_t begin, size_t end, bool quotes, bool takes_hash) {
  const std::string& text = tree_.text;
  std::vector<uint32_t> pieces;
  std::string plain;
  size_t plain_begin = begin;
  const auto flush = [&](size_t to) -> Status {
    if (plain.empty()) return {};
    ExpressionNode node{.op = Op::kLiteral,
                        .begin = static_cast<uint32_t>(plain_begin),
                        .end = static_cast<uint32_t>(to),
                        .literal = Value(std::exchange(plain, {}))};
    WEIGHTFS_TRY(const uint32_t piece, AddWhole(std::move(node), {}));
    pieces.push_back(piece);
    return {};
  };
  for (size_t at = begin; at < end;) {
    const char c = text[at];
    if (c != '{' || (at + 1 < end && text[at + 1] == '{')) {
      const bool is_doubled = (c == '{' || c == '}') && at + 1 < end && text[at + 1] == c;
      plain.push_back(c);
      at += is_doubled ? 2 : 1;
      continue;
    }
    WEIGHTFS_CHECK(flush(at));
    ExpressionParser inner(tree_, at + 1, end, level_ + 1);
    WEIGHTFS_CHECK(inner.Start());
    if (takes_hash && inner.token().Is("#")) {
      WEIGHTFS_CHECK(inner.Advance());
      WEIGHTFS_TRY(const uint32_t hash, AddWhole({.op = Op::kHash,
                                                  .begin = static_cast<uint32_t>(at),
                                                  .end = static_cast<uint32_t>(at + 3)},
                                                 {}));
      pieces.push_back(hash);
    } else {
      WEIGHTFS_TRY(const uint32_t piece, inner.Choice());
      pieces.push_back(piece);
    }
    if (!inner.token().Is("}")) return inner.Unexpected("} at the end of what is filled in");
    at = plain_begin = inner.token().end;
  }
  WEIGHTFS_CHECK(flush(end));
  return AddWhole({.op = Op::kConcatenate,
                   .quotes = quotes,
                   .begin = static_cast<uint32_t>(begin),
                   .end = static_cast<uint32_t>(end)},
                  pieces);
}

namespace {

Result<std::shared_ptr<ExpressionTree>> NewTree(std::string_view text) {
  if (text.size() > kExpressionBytesMax)
    return Fail(ErrorCode::kInvalidArgument, fmt::format("{} bytes; expected an expression of at most {}",
                                                         text.size(), kExpressionBytesMax));
  auto tree = std::make_shared<ExpressionTree>();
  tree->text = text;
  return tree;
}

}  // namespace

Expression::Expression() : tree_(std::make_shared<const ExpressionTree>()) {}

Result<Expression> Expression::Parse(std::string_view text) {
  WEIGHTFS_TRY(auto tree, NewTree(text));
  ExpressionParser parser(*tree, 0, text.size());
  WEIGHTFS_CHECK(parser.Start());
  WEIGHTFS_TRY(tree->root, parser.Choice());
  if (parser.token().kind != Token::Kind::kEnd) return parser.Unexpected("an operator or the end");
  return Expression(std::move(tree));
}

Result<Expression> Expression::ParseTemplate(std::string_view text, bool is_pattern) {
  WEIGHTFS_TRY(auto tree, NewTree(text));
  ExpressionParser parser(*tree, 0, text.size());
  WEIGHTFS_TRY(tree->root, parser.Template(0, text.size(), is_pattern, false));
  return Expression(std::move(tree));
}

Result<std::vector<Expression>> Expression::ParseRange(std::string_view text) {
  WEIGHTFS_TRY(auto tree, NewTree(text));
  ExpressionParser parser(*tree, 0, text.size());
  WEIGHTFS_CHECK(parser.Start());
  WEIGHTFS_CHECK(parser.Choice());
  const size_t colon = parser.token().begin;
  if (!parser.token().Is(":")) {
    WEIGHTFS_TRY(Expression whole, Parse(text));
    return std::vector<Expression>{std::move(whole)};
  }
  WEIGHTFS_TRY(Expression first, Parse(text.substr(0, colon)));
  WEIGHTFS_TRY(Expression last, Parse(text.substr(colon + 1)));
  return std::vector<Expression>{std::move(first), std::move(last)};
}

}  // namespace weightfs::family
