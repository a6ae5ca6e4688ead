#include "convert/source/torch/node_access.h"

#include <fmt/format.h>

#include "convert/source/utf8.h"

namespace weightfs {
namespace {

using pickle::Kind;
using pickle::Node;

constexpr size_t kClassNameBytesMax = 120;

/// The dotted name of a class given as a global or as a legacy ("module", class, file, source) persistent id.
std::string_view ClassGlobal(const Node& node) {
  if (node.Is(Kind::kGlobal)) return node.text();
  if (!node.Is(Kind::kPersistent)) return {};
  // Legacy files: ("module", class, ...); tar files: (class, ...).
  const NodeItems items = Items(PersistentId(node));
  for (size_t i = 0; i < items.size() && i < 2; ++i)
    if (items[i]->Is(Kind::kGlobal)) return items[i]->text();
  return {};
}

}  // namespace

NodeItems Items(const Node& node) {
  if (node.Is(Kind::kTuple) || node.Is(Kind::kList) || node.Is(Kind::kSet)) return node.items();
  return {};
}

NodePairs MappingPairs(const Node& node) {
  if (node.IsMapping()) return node.pairs();
  return {};
}

const Node& PersistentId(const Node& persistent) { return *persistent.items()[0]; }

std::optional<uint64_t> UnsignedValue(const Node& node) {
  if (!node.Is(Kind::kInt) || node.integer() < 0) return std::nullopt;
  return static_cast<uint64_t>(node.integer());
}

std::string DescribeValue(const Node& node) {
  if (node.Is(Kind::kInt)) return fmt::format("{}", node.integer());
  if (node.Is(Kind::kBigInt)) return "an integer beyond 64 bits";
  if (node.Is(Kind::kString)) return Quoted(node.text().substr(0, 60));
  return fmt::format("a {}", ClassName(node));
}

NodeCall CallOf(const Node& node) {
  if (!node.Is(Kind::kObject) || node.callable() == nullptr) return {};
  NodeCall call;
  call.name = ClassGlobal(*node.callable());
  if (node.arguments() != nullptr) call.arguments = Items(*node.arguments());
  call.state = node.state();
  const bool first_is_class = call.name == "copyreg.__newobj__" || call.name == "copyreg._reconstructor";
  if (first_is_class && !call.arguments.empty()) {
    call.name = ClassGlobal(*call.arguments[0]);
    call.arguments = call.arguments.subspan(1);
  }
  return call;
}

pickle::NodePtr StateAttribute(pickle::NodePtr state, std::string_view name) {
  if (state == nullptr) return nullptr;
  if (state->IsMapping()) return state->Find(name);
  if (!state->Is(Kind::kTuple)) return nullptr;
  for (pickle::NodePtr part : Items(*state))
    if (part->IsMapping())
      if (pickle::NodePtr found = part->Find(name); found != nullptr) return found;
  return nullptr;
}

std::string ClassName(const Node& node) {
  const std::string_view name = CallOf(node).name;
  return name.empty() ? pickle::TypeName(node) : std::string(name.substr(0, kClassNameBytesMax));
}

}  // namespace weightfs
