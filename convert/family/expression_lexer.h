/// \file
/// Tokens of expressions. Only expression_parser.cc includes this.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "convert/base/result.h"

namespace weightfs::family {

struct Token {
  enum class Kind : uint8_t { kEnd, kName, kInteger, kFloat, kText, kSign };
  Kind kind = Kind::kEnd;
  uint32_t begin = 0;  ///< In the whole text.
  uint32_t end = 0;
  int64_t integer = 0;
  double number = 0;
  std::string text;  ///< The name, the content of a text, or the sign.

  bool Is(std::string_view sign) const { return kind == Kind::kSign && text == sign; }
};

/// Reads `text` from `at` on.
class Lexer {
 public:
  Lexer(std::string_view text, size_t begin, size_t end) : text_(text), at_(begin), end_(end) {}

  /// \error kInvalidArgument  `column N of TEXT: what; expected what`
  Result<Token> Next();
  /// A failure at this byte.
  std::unexpected<Error> FailAt(size_t at, std::string_view what) const;

 private:
  Result<Token> Number(Token token);
  Result<Token> Text(Token token);

  std::string_view text_;
  size_t at_;
  size_t end_;
};

}  // namespace weightfs::family
