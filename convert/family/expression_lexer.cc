#include "convert/family/expression_lexer.h"

#include <fmt/format.h>

#include <charconv>

namespace weightfs::family {
namespace {

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsLetter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

}  // namespace

std::unexpected<Error> Lexer::FailAt(size_t at, std::string_view what) const {
  constexpr size_t kShownBytesMax = 100;
  const std::string_view shown = text_.substr(0, kShownBytesMax);
  return Fail(ErrorCode::kInvalidArgument, fmt::format("column {} of `{}{}`: {}", at + 1, shown,
                                                       shown.size() < text_.size() ? "..." : "", what));
}

Result<Token> Lexer::Next() {
  while (at_ < end_ && (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n')) ++at_;
  Token token;
  token.begin = token.end = static_cast<uint32_t>(at_);
  if (at_ == end_) return token;
  const char c = text_[at_];
  if (IsDigit(c)) return Number(std::move(token));
  if (c == '\'') return Text(std::move(token));
  if (IsLetter(c)) {
    while (at_ < end_ && (IsLetter(text_[at_]) || IsDigit(text_[at_]))) ++at_;
    token.kind = Token::Kind::kName;
  } else {
    constexpr std::string_view kLongSigns[] = {"||", "&&", "==", "!=", "<=", ">=", "??"};
    constexpr std::string_view kSigns = "?:<>+-*/%!.[](),{}#";
    size_t size = 0;
    for (const std::string_view sign : kLongSigns)
      if (text_.substr(at_, end_ - at_).starts_with(sign)) size = sign.size();
    if (size == 0 && kSigns.contains(c)) size = 1;
    if (size == 0) {
      const std::string_view hint = c == '"'   ? "; text is written 'text'"
                                    : c == '=' ? "; equality is =="
                                    : c == '&' ? "; and is &&"
                                    : c == '|' ? "; or is ||"
                                               : "";
      const bool plain = c > ' ' && c < 0x7f;
      return FailAt(
          at_, fmt::format("{}; expected an expression{}",
                           plain ? fmt::format("the sign {}", c) : "a byte that no expression has", hint));
    }
    at_ += size;
    token.kind = Token::Kind::kSign;
  }
  token.end = static_cast<uint32_t>(at_);
  token.text = text_.substr(token.begin, token.end - token.begin);
  return token;
}

Result<Token> Lexer::Number(Token token) {
  size_t at = at_;
  const auto digits = [&] {
    while (at < end_ && IsDigit(text_[at])) ++at;
  };
  digits();
  token.kind = Token::Kind::kInteger;
  if (at + 1 < end_ && text_[at] == '.' && IsDigit(text_[at + 1])) {
    token.kind = Token::Kind::kFloat;
    ++at;
    digits();
  }
  if (at < end_ && (text_[at] == 'e' || text_[at] == 'E')) {
    size_t exponent = at + 1;
    if (exponent < end_ && (text_[exponent] == '-' || text_[exponent] == '+')) ++exponent;
    if (exponent < end_ && IsDigit(text_[exponent])) {
      token.kind = Token::Kind::kFloat;
      at = exponent;
      digits();
    }
  }
  if (at < end_ && IsLetter(text_[at])) return FailAt(at, "a letter in a number; expected digits");
  const char* begin = text_.data() + at_;
  const char* end = text_.data() + at;
  const auto result = token.kind == Token::Kind::kInteger ? std::from_chars(begin, end, token.integer)
                                                          : std::from_chars(begin, end, token.number);
  if (result.ec != std::errc())
    return FailAt(at_, fmt::format("{}; expected a number that fits 64 bits", std::string_view(begin, end)));
  at_ = at;
  token.end = static_cast<uint32_t>(at_);
  return token;
}

Result<Token> Lexer::Text(Token token) {
  token.kind = Token::Kind::kText;
  for (size_t at = at_ + 1; at < end_; ++at) {
    if (text_[at] != '\'') {
      token.text.push_back(text_[at]);
    } else if (at + 1 < end_ && text_[at + 1] == '\'') {
      token.text.push_back('\'');
      ++at;
    } else {
      at_ = at + 1;
      token.end = static_cast<uint32_t>(at_);
      return token;
    }
  }
  return FailAt(at_, "text without an end; expected a closing '");
}

}  // namespace weightfs::family
