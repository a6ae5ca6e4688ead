#include "convert/pickle/value.h"

#include <fmt/format.h>

#include <cstring>

#include "convert/pickle/node_arena.h"

namespace weightfs::pickle {
namespace {

constexpr std::string_view kMappingClasses[] = {"collections.OrderedDict", "collections.defaultdict",
                                                "collections.Counter"};
constexpr size_t kTypeNameBytesMax = 120;

/// A name from a file, for one line of a message: control bytes and bytes beyond ASCII escaped, cut when
/// long.
std::string Printable(std::string_view name) {
  std::string result;
  for (const char c : name.substr(0, kTypeNameBytesMax)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte > 0x20 && byte < 0x7F)
      result += c;
    else
      result += fmt::format("\\x{:02x}", byte);
  }
  if (name.size() > kTypeNameBytesMax) result += "...";
  return result;
}

}  // namespace

bool Node::boolean() const { return Is(Kind::kBool) && count_ != 0; }

int64_t Node::integer() const {
  int64_t value = 0;
  if (tag_ == NodeArena::kWideInt)
    std::memcpy(&value, this + 1, sizeof value);
  else if (Is(Kind::kInt))
    value = static_cast<int32_t>(count_ << 4) >> 4;  // The sign is bit 27.
  else if (Is(Kind::kBool))
    value = count_;
  return value;
}

double Node::real() const {
  double value = 0;
  if (Is(Kind::kFloat)) std::memcpy(&value, this + 1, sizeof value);
  return value;
}

std::string_view Node::text() const {
  switch (kind()) {
    case Kind::kString:
    case Kind::kBytes:
    case Kind::kBigInt:
    case Kind::kGlobal:
      return {reinterpret_cast<const char*>(this + 1), count_};
    default:
      return {};
  }
}

const NodeReference* Node::contents() const {
  const NodeReference& slot = references()[Is(Kind::kObject) ? NodeArena::kObjectBlock : 0];
  return reinterpret_cast<const NodeReference*>(slot.get());
}

NodeItems Node::items() const {
  if (Is(Kind::kTuple) || Is(Kind::kPersistent)) return {references(), 0, count_};
  if (Is(Kind::kList) || Is(Kind::kSet) || tag_ == NodeArena::kObjectOfItems) return {contents(), 0, count_};
  return {};
}

NodePairs Node::pairs() const {
  if (tag_ == static_cast<uint32_t>(Kind::kDict) || tag_ == static_cast<uint32_t>(Kind::kObject))
    return {contents(), 0, count_};
  return {};
}

NodePtr Node::callable() const { return Is(Kind::kObject) ? references()[0].get() : nullptr; }
NodePtr Node::arguments() const { return Is(Kind::kObject) ? references()[1].get() : nullptr; }
NodePtr Node::state() const { return Is(Kind::kObject) ? references()[2].get() : nullptr; }

bool Node::IsCall(std::string_view dotted_name) const {
  return Is(Kind::kObject) && callable()->Is(Kind::kGlobal) && callable()->text() == dotted_name;
}

std::string_view Node::CallName() const {
  if (Is(Kind::kGlobal)) return text();
  if (Is(Kind::kObject) && callable()->Is(Kind::kGlobal)) return callable()->text();
  return {};
}

bool Node::IsMapping() const {
  if (Is(Kind::kDict)) return true;
  if (!Is(Kind::kObject)) return false;
  if (!pairs().empty()) return true;
  for (std::string_view name : kMappingClasses)
    if (IsCall(name)) return true;
  return false;
}

NodePtr Node::Find(std::string_view key) const {
  for (const auto [found, value] : pairs())
    if (found->Is(Kind::kString) && found->text() == key) return value;
  return nullptr;
}

bool HasLoneSurrogate(std::string_view text) {
  // U+D800 to U+DFFF are ED A0 80 to ED BF BF; no other character has ED before a byte from A0 on.
  for (size_t i = text.find('\xED'); i != std::string_view::npos && i + 1 < text.size();
       i = text.find('\xED', i + 1))
    if (static_cast<unsigned char>(text[i + 1]) >= 0xA0) return true;
  return false;
}

std::string TypeName(const Node& node) {
  switch (node.kind()) {
    case Kind::kNone:
      return "NoneType";
    case Kind::kBool:
      return "bool";
    case Kind::kInt:
    case Kind::kBigInt:
      return "int";
    case Kind::kFloat:
      return "float";
    case Kind::kString:
      return "str";
    case Kind::kBytes:
      return "bytes";
    case Kind::kTuple:
      return "tuple";
    case Kind::kList:
      return "list";
    case Kind::kDict:
      return "dict";
    case Kind::kSet:
      return "set";
    case Kind::kGlobal:
      return "reference to " + Printable(node.text());
    case Kind::kPersistent:
      return "persistent id";
    case Kind::kObject:
      return node.CallName().empty() ? "object" : Printable(node.CallName());
  }
  return "object";
}

}  // namespace weightfs::pickle
