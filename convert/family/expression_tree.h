/// \file
/// What expressions are made of. Only the files of expression.h include this.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "convert/family/expression.h"

namespace weightfs::family {

enum class Op : uint8_t {
  kLiteral,
  kName,
  kList,
  kConcatenate,  ///< A template.
  kHash,         ///< The `{#}` in a template of `count`.
  kMember,
  kIndex,
  kCall,
  kCoalesce,
  kNot,
  kNegate,
  kMultiply,
  kDivide,
  kRemainder,
  kAdd,
  kSubtract,
  kEqual,
  kNotEqual,
  kLess,
  kLessEqual,
  kGreater,
  kGreaterEqual,
  kAnd,
  kOr,
  kChoose,
};

struct ExpressionNode {
  Op op = Op::kLiteral;
  Function function = Function::kHas;  ///< kCall
  bool quotes = false;                 ///< kConcatenate: what is filled in is quoted for RE2.
  uint16_t depth = 1;                  ///< Levels below and including this.
  uint32_t begin = 0;                  ///< In the text.
  uint32_t end = 0;
  uint32_t first = 0;  ///< Children: `count` of `children` from here.
  uint32_t count = 0;
  Value literal;  ///< kLiteral: the value; kName, kMember: the name.
};

struct ExpressionTree {
  std::string text;
  std::vector<ExpressionNode> nodes;
  std::vector<uint32_t> children;
  uint32_t root = 0;

  std::span<const uint32_t> ChildrenOf(const ExpressionNode& node) const {
    return std::span(children).subspan(node.first, node.count);
  }
  std::string_view TextOf(const ExpressionNode& node) const {
    return std::string_view(text).substr(node.begin, node.end - node.begin);
  }
};

/// What a function takes.
struct FunctionFacts {
  std::string_view name;
  Function function;
  uint32_t arguments_min;
  uint32_t arguments_max;
  bool takes_names;  ///< Arguments written as text are templates.
};
/// nullptr: there is no such function.
const FunctionFacts* FindFunction(std::string_view name);
/// All names, for messages.
std::string FunctionNames();

/// A function of its arguments alone.
/// \error kCorrupt  arguments that it does not take
Result<Value> CallPure(Function function, std::span<const Value> arguments, Environment& environment);

/// `a OP b` for arithmetic and comparisons; exact, checked.
Result<Value> Operate(Op op, const Value& a, const Value& b, Environment& environment);
/// The quotient of two integers, rounded down or up. `b` is not zero.
Result<Value> RoundedQuotient(int64_t a, int64_t b, bool up);

}  // namespace weightfs::family
