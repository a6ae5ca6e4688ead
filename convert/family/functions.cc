// Arithmetic, comparisons, and the functions of expressions that look at their arguments alone.
#include <fmt/format.h>
#include <re2/re2.h>

#include <charconv>
#include <cmath>
#include <numeric>
#include <utility>

#include "convert/family/expression.h"
#include "convert/family/expression_tree.h"

namespace weightfs::family {
namespace {

constexpr uint32_t kAny = 32;  ///< Most arguments of `min` and `max`.
constexpr FunctionFacts kFunctions[] = {
    {"has", Function::kHas, 1, 1, true},
    {"any", Function::kAny, 1, 1, false},
    {"count", Function::kCount, 1, 1, true},
    {"dim", Function::kDim, 2, 2, true},
    {"ndim", Function::kNdim, 1, 1, true},
    {"parts", Function::kParts, 1, 1, true},
    {"dtype", Function::kDtype, 1, 1, true},
    {"served_dtype", Function::kServedDtype, 1, 1, true},
    {"same", Function::kSame, 2, 2, true},
    {"file", Function::kFile, 1, 1, false},
    {"source_name", Function::kSourceName, 0, 0, false},
    {"stored_any", Function::kStoredAny, 1, 1, false},
    {"stored_all", Function::kStoredAll, 1, 1, false},
    {"wrapper", Function::kWrapper, 0, 0, false},
    {"ceil", Function::kCeil, 1, 1, false},
    {"floor", Function::kFloor, 1, 1, false},
    {"int", Function::kInt, 1, 1, false},
    {"float", Function::kFloat, 1, 1, false},
    {"str", Function::kStr, 1, 1, false},
    {"len", Function::kLen, 1, 1, false},
    {"min", Function::kMin, 1, kAny, false},
    {"max", Function::kMax, 1, kAny, false},
    {"abs", Function::kAbs, 1, 1, false},
    {"ln", Function::kLn, 1, 1, false},
    {"starts", Function::kStarts, 2, 2, false},
    {"matches", Function::kMatches, 2, 2, false},
    {"lower", Function::kLower, 1, 1, false},
    {"get", Function::kGet, 2, 2, false},
    {"range", Function::kRange, 1, 1, false},
};

std::unexpected<Error> Wrong(std::string message) { return Fail(ErrorCode::kCorrupt, std::move(message)); }
std::unexpected<Error> Overflow(int64_t a, std::string_view sign, int64_t b) {
  return Wrong(fmt::format("{} {} {} does not fit 64 bits", a, sign, b));
}

/// A float that arithmetic made: one that is no number helps nobody.
Result<Value> Finite(double value) {
  if (std::isfinite(value)) return Value(value);
  return Wrong("the result is no finite number");
}

Result<Value> IntegerArithmetic(Op op, int64_t a, int64_t b) {
  int64_t result = 0;
  switch (op) {
    case Op::kAdd:
      if (__builtin_add_overflow(a, b, &result)) return Overflow(a, "+", b);
      return Value(result);
    case Op::kSubtract:
      if (__builtin_sub_overflow(a, b, &result)) return Overflow(a, "-", b);
      return Value(result);
    case Op::kMultiply:
      if (__builtin_mul_overflow(a, b, &result)) return Overflow(a, "*", b);
      return Value(result);
    default:
      break;
  }
  if (b == 0) return Wrong(fmt::format("{} divided by 0", a));
  if (a == INT64_MIN && b == -1)
    return op == Op::kDivide ? Overflow(a, "/", b) : Result<Value>(Value(int64_t{0}));
  if (op == Op::kRemainder) {
    result = a % b;
    // The sign of the divisor, so that floor(a / b) * b + a % b is a.
    if (result != 0 && (result < 0) != (b < 0)) result += b;
    return Value(result);
  }
  if (a % b != 0) return Wrong(fmt::format("{} / {} leaves a rest of {}; expected a multiple", a, b, a % b));
  return Value(a / b);
}

Result<Value> Arithmetic(Op op, const Value& a, const Value& b) {
  if (a.integer() != nullptr && b.integer() != nullptr)
    return IntegerArithmetic(op, *a.integer(), *b.integer());
  if (op == Op::kAdd && a.text() != nullptr && b.text() != nullptr) {
    if (a.text()->size() + b.text()->size() > kTextBytesMax)
      return Fail(ErrorCode::kLimitExceeded, fmt::format("text longer than {} bytes", kTextBytesMax));
    return Value(*a.text() + *b.text());
  }
  const std::optional<double> x = a.number(), y = b.number();
  if (!x || !y) return Wrong(fmt::format("{} and {}; expected two numbers", a.Describe(), b.Describe()));
  switch (op) {
    case Op::kAdd:
      return Finite(*x + *y);
    case Op::kSubtract:
      return Finite(*x - *y);
    case Op::kMultiply:
      return Finite(*x * *y);
    case Op::kDivide:
      if (*y == 0) return Wrong(fmt::format("{} divided by 0", a.Describe()));
      return Finite(*x / *y);
    default:
      return Wrong(fmt::format("{} % {}; expected two integers", a.Describe(), b.Describe()));
  }
}

/// Recurses into lists, which the budget's steps and depth bound.
Result<bool> Equal(const Value& a, const Value& b, Environment& environment) {
  WEIGHTFS_CHECK(environment.Charge(1));
  if (a.is_null() || b.is_null()) return a.is_null() && b.is_null();
  if (a.boolean() != nullptr && b.boolean() != nullptr) return *a.boolean() == *b.boolean();
  if (a.text() != nullptr && b.text() != nullptr) return *a.text() == *b.text();
  if (a.integer() != nullptr && b.integer() != nullptr) return *a.integer() == *b.integer();
  if (a.number() && b.number()) return *a.number() == *b.number();
  if (!a.is_list() || !b.is_list()) return false;
  if (a.list_size() != b.list_size()) return false;
  Budget& budget = environment.budget();
  if (budget.depth == 0) return Fail(ErrorCode::kLimitExceeded, "lists nested too deep to compare");
  --budget.depth;
  Result<bool> equal = true;
  for (uint64_t i = 0; i < a.list_size() && equal && *equal; ++i)
    equal = Equal(a.ListItem(i), b.ListItem(i), environment);
  ++budget.depth;
  return equal;
}

/// Less than zero, zero, greater than zero.
Result<int> Compare(const Value& a, const Value& b) {
  if (a.integer() != nullptr && b.integer() != nullptr)
    return *a.integer() < *b.integer() ? -1 : *a.integer() > *b.integer() ? 1 : 0;
  if (a.number() && b.number()) return *a.number() < *b.number() ? -1 : *a.number() > *b.number() ? 1 : 0;
  if (a.text() != nullptr && b.text() != nullptr) return a.text()->compare(*b.text());
  return Wrong(
      fmt::format("{} and {} have no order; expected two numbers, or two texts", a.Describe(), b.Describe()));
}

Result<Value> Rounded(double value) {
  // 2^63 is exact in a double; INT64_MAX is not.
  constexpr double kLimit = 9223372036854775808.0;
  if (!(value >= -kLimit && value < kLimit))
    return Wrong(fmt::format("{} does not fit 64 bits", FloatText(value)));
  return Value(static_cast<int64_t>(value));
}

Result<Value> ToNumber(Function function, const Value& value) {
  const bool to_integer = function == Function::kInt;
  if (const bool* boolean = value.boolean())
    return to_integer ? Value(int64_t{*boolean}) : Value(*boolean ? 1.0 : 0.0);
  if (const std::string* text = value.text()) {
    const char* end = text->data() + text->size();
    int64_t integer = 0;
    double number = 0;
    const auto result =
        to_integer ? std::from_chars(text->data(), end, integer) : std::from_chars(text->data(), end, number);
    if (result.ec != std::errc() || result.ptr != end)
      return Wrong(fmt::format("{} is no number", value.Describe()));
    return to_integer ? Value(integer) : Value(number);
  }
  if (!value.number()) return Wrong(fmt::format("{}; expected a number, or text", value.Describe()));
  if (!to_integer) return Value(*value.number());
  if (value.integer() != nullptr) return value;
  return Rounded(std::trunc(*value.floating()));
}

Result<Value> ToText(const Value& value) {
  if (value.text() != nullptr) return value;
  if (value.boolean() != nullptr || value.number()) return Value(value.Describe());
  return Wrong(fmt::format("{}; expected text, a number, true or false", value.Describe()));
}

Result<Value> Extreme(Function function, std::span<const Value> arguments, Environment& environment) {
  Value::List items(arguments.begin(), arguments.end());
  if (arguments.size() == 1) {
    if (!arguments[0].is_list())
      return arguments[0].number() ? Result<Value>(arguments[0]) : Wrong("no list of numbers");
    items.clear();
    WEIGHTFS_CHECK(environment.Charge(arguments[0].list_size()));
    for (uint64_t i = 0; i < arguments[0].list_size(); ++i) items.push_back(arguments[0].ListItem(i));
  }
  if (items.empty()) return Wrong("an empty list; expected numbers");
  Value best = items[0];
  for (const Value& item : items) {
    if (!item.number()) return Wrong(fmt::format("{}; expected numbers", item.Describe()));
    WEIGHTFS_TRY(const int order, Compare(item, best));
    if (function == Function::kMin ? order < 0 : order > 0) best = item;
  }
  return best;
}

Result<Value> ListFunction(Function function, std::span<const Value> arguments, Environment& environment) {
  const Value& value = arguments[0];
  if (function == Function::kRange) {
    const int64_t* count = value.integer();
    if (count == nullptr || *count < 0) return Wrong(fmt::format("{}; expected a count", value.Describe()));
    if (static_cast<uint64_t>(*count) > kListItemsMax)
      return Fail(ErrorCode::kLimitExceeded,
                  fmt::format("a range of {}; expected at most {}", *count, kListItemsMax));
    WEIGHTFS_CHECK(environment.Charge(static_cast<uint64_t>(*count)));
    Value::List list;
    for (int64_t i = 0; i < *count; ++i) list.emplace_back(i);
    return Value(std::move(list));
  }
  if (function == Function::kLen && value.text() != nullptr)
    return Value(static_cast<int64_t>(value.text()->size()));
  if (!value.is_list()) return Wrong(fmt::format("{}; expected a list", value.Describe()));
  if (function == Function::kLen) return Value(static_cast<int64_t>(value.list_size()));
  const int64_t* index = arguments[1].integer();
  if (index == nullptr) return Wrong(fmt::format("{}; expected an integer", arguments[1].Describe()));
  if (*index < 0 || static_cast<uint64_t>(*index) >= value.list_size()) return Value();
  return value.ListItem(static_cast<uint64_t>(*index));
}

Result<Value> TextFunction(Function function, std::span<const Value> arguments, Environment& environment) {
  for (const Value& argument : arguments)
    if (argument.text() == nullptr) return Wrong(fmt::format("{}; expected text", argument.Describe()));
  const std::string& text = *arguments[0].text();
  WEIGHTFS_CHECK(environment.Charge(1 + text.size() / 16));
  if (function == Function::kStarts) return Value(text.starts_with(*arguments[1].text()));
  if (function == Function::kMatches) {
    WEIGHTFS_TRY(const re2::RE2* pattern, environment.Pattern(*arguments[1].text()));
    return Value(re2::RE2::FullMatch(text, *pattern));
  }
  std::string lower = text;
  for (char& c : lower)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return Value(std::move(lower));
}

}  // namespace

const FunctionFacts* FindFunction(std::string_view name) {
  for (const FunctionFacts& facts : kFunctions)
    if (facts.name == name) return &facts;
  return nullptr;
}

std::string_view FunctionName(Function function) {
  for (const FunctionFacts& facts : kFunctions)
    if (facts.function == function) return facts.name;
  return {};
}

std::string FunctionNames() {
  std::string names;
  for (const FunctionFacts& facts : kFunctions)
    names += (names.empty() ? "" : ", ") + std::string(facts.name);
  return names;
}

Result<Value> RoundedQuotient(int64_t a, int64_t b, bool up) {
  if (a == INT64_MIN && b == -1) return Overflow(a, "/", b);
  int64_t quotient = a / b;
  const bool is_negative = (a < 0) != (b < 0);
  if (a % b != 0 && up && !is_negative) ++quotient;
  if (a % b != 0 && !up && is_negative) --quotient;
  return Value(quotient);
}

Result<Value> Operate(Op op, const Value& a, const Value& b, Environment& environment) {
  switch (op) {
    case Op::kEqual:
    case Op::kNotEqual: {
      WEIGHTFS_TRY(const bool equal, Equal(a, b, environment));
      return Value(equal == (op == Op::kEqual));
    }
    case Op::kLess:
    case Op::kLessEqual:
    case Op::kGreater:
    case Op::kGreaterEqual: {
      WEIGHTFS_TRY(const int order, Compare(a, b));
      return Value(op == Op::kLess        ? order < 0
                   : op == Op::kLessEqual ? order <= 0
                   : op == Op::kGreater   ? order > 0
                                          : order >= 0);
    }
    default:
      return Arithmetic(op, a, b);
  }
}

Result<Value> CallPure(Function function, std::span<const Value> arguments, Environment& environment) {
  const Value& value = arguments[0];
  switch (function) {
    case Function::kCeil:
    case Function::kFloor:
      if (value.integer() != nullptr) return value;
      if (value.floating() == nullptr) return Wrong(fmt::format("{}; expected a number", value.Describe()));
      return Rounded(function == Function::kCeil ? std::ceil(*value.floating())
                                                 : std::floor(*value.floating()));
    case Function::kInt:
    case Function::kFloat:
      return ToNumber(function, value);
    case Function::kStr:
      return ToText(value);
    case Function::kMin:
    case Function::kMax:
      return Extreme(function, arguments, environment);
    case Function::kAbs:
      if (value.floating() != nullptr) return Value(std::fabs(*value.floating()));
      if (value.integer() == nullptr) return Wrong(fmt::format("{}; expected a number", value.Describe()));
      if (*value.integer() >= 0) return value;
      return IntegerArithmetic(Op::kSubtract, 0, *value.integer());
    case Function::kLn:
      if (!value.number() || !(*value.number() > 0))
        return Wrong(fmt::format("{}; expected a number above 0", value.Describe()));
      return Finite(std::log(*value.number()));
    case Function::kLen:
    case Function::kGet:
    case Function::kRange:
      return ListFunction(function, arguments, environment);
    case Function::kStarts:
    case Function::kMatches:
    case Function::kLower:
      return TextFunction(function, arguments, environment);
    default:
      return Fail(ErrorCode::kInternal, "a function of the source was called without one");
  }
}

}  // namespace weightfs::family
