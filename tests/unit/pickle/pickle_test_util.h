/// \file
/// Writes pickles opcode by opcode and reads them back as text.
#pragma once

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "convert/pickle/unpickler.h"

namespace weightfs::pickle::testing {

/// Assembles a pickle: two hexadecimal digits are a byte, 'text' is itself, `/` a line feed, u32:N and u64:N
/// little-endian numbers. Blanks separate.
inline std::string Assemble(std::string_view source) {
  std::string bytes;
  for (size_t i = 0; i < source.size();) {
    if (source[i] == ' ') {
      ++i;
    } else if (source[i] == '/') {
      bytes += '\n', ++i;
    } else if (source[i] == '\'') {
      const size_t end = source.find('\'', i + 1);
      bytes += source.substr(i + 1, end - i - 1);
      i = end + 1;
    } else if (source[i] == 'u') {
      const size_t width = source.substr(i, 4) == "u64:" ? 8 : 4;
      uint64_t value = 0;
      const char* end = std::from_chars(source.data() + i + 4, source.data() + source.size(), value).ptr;
      bytes.append(reinterpret_cast<const char*>(&value), width);
      i = static_cast<size_t>(end - source.data());
    } else {
      unsigned value = 0;
      std::from_chars(source.data() + i, source.data() + i + 2, value, 16);
      bytes += static_cast<char>(value);
      i += 2;
    }
  }
  return bytes;
}

/// A value as Python would show it; calls as `name(arguments)`, with `[items]`, `{pairs}` and `!state` after
/// it where they are; persistent ids as `<id>`; a value inside itself as `...`. Bytes that are not ASCII are
/// escaped.
class Renderer {
 public:
  std::string Render(NodePtr node) {
    switch (node->kind()) {
      case Kind::kNone:
        return "None";
      case Kind::kBool:
        return node->boolean() ? "True" : "False";
      case Kind::kInt:
        return fmt::format("{}", node->integer());
      case Kind::kBigInt:
        return "int:" + Quoted(node->text());
      case Kind::kFloat:
        return fmt::format("{:#}", node->real());
      case Kind::kString:
        return Quoted(node->text());
      case Kind::kBytes:
        return "b" + Quoted(node->text());
      case Kind::kGlobal:
        return std::string(node->text());
      default:
        return Container(node);
    }
  }

 private:
  std::string Container(NodePtr node) {
    if (std::ranges::find(path_, node) != path_.end()) return "...";
    path_.push_back(node);
    std::string text;
    switch (node->kind()) {
      case Kind::kTuple:
        text = "(" + Items(node) + ")";
        break;
      case Kind::kList:
        text = "[" + Items(node) + "]";
        break;
      case Kind::kSet:
        text = "set{" + Items(node) + "}";
        break;
      case Kind::kDict:
        text = "{" + Pairs(node) + "}";
        break;
      case Kind::kPersistent:
        text = "<" + Items(node) + ">";
        break;
      default:
        text = Render(node->callable()) + "(" + Items(node->arguments()) + ")";
        if (!node->items().empty()) text += "[" + Items(node) + "]";
        if (!node->pairs().empty()) text += "{" + Pairs(node) + "}";
        if (node->state() != nullptr) text += "!" + Render(node->state());
    }
    path_.pop_back();
    return text;
  }

  std::string Items(NodePtr node) {
    std::string text;
    for (NodePtr item : node->items()) text += (text.empty() ? "" : ", ") + Render(item);
    return text;
  }

  std::string Pairs(NodePtr node) {
    std::string text;
    for (const auto [key, value] : node->pairs())
      text += (text.empty() ? "" : ", ") + Render(key) + ": " + Render(value);
    return text;
  }

  static std::string Quoted(std::string_view bytes) {
    std::string text = "'";
    for (const char c : bytes) {
      if (c >= ' ' && c < 0x7F)
        text += c;
      else
        text += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    }
    return text + "'";
  }

  std::vector<NodePtr> path_;
};

inline std::string Render(const Tree& tree) { return Renderer().Render(tree.root()); }

/// Parses `bytes` from memory and from a file, which must agree, and returns the tree of the first.
inline Result<Tree> ParseBytes(const std::string& bytes, const Limits& limits = {}) {
  auto tree = Parse(std::as_bytes(std::span(bytes)), "p", limits);
  const FilePtr file = MakeMemoryFile("before" + bytes, "file");
  const auto from_file = Parse(*file, 6, "p", limits);
  EXPECT_EQ(tree.has_value(), from_file.has_value());
  if (tree && from_file) {
    EXPECT_EQ(Render(*tree), Render(*from_file));
    EXPECT_EQ(tree->size_bytes(), from_file->size_bytes());
  } else if (!tree && !from_file) {
    EXPECT_EQ(tree.error().code, from_file.error().code);
  }
  return tree;
}

/// What `source`, assembled, is: its rendering, or "CODE: message".
inline std::string Load(std::string_view source, const Limits& limits = {}) {
  const auto tree = ParseBytes(Assemble(source), limits);
  if (!tree) return fmt::format("{}: {}", ErrorCodeName(tree.error().code), tree.error().message);
  return Render(*tree);
}

}  // namespace weightfs::pickle::testing
