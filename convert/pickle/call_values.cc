// Calls that stand for plain data: how protocols without an opcode for it write bytes, sets and filled
// mappings. The conversions copy; what they copy is charged, so that repeating one on a shared argument is no
// bomb.

#include <utility>

#include "convert/pickle/machine.h"
#include "convert/pickle/text_codec.h"

namespace weightfs::pickle {
namespace {

constexpr std::pair<std::string_view, PlainCall> kPlainCalls[] = {
    {"_codecs.encode", PlainCall::kEncode},
    {"builtins.bytes", PlainCall::kBytes},
    {"builtins.bytearray", PlainCall::kByteArray},
    {"builtins.set", PlainCall::kSet},
    {"builtins.frozenset", PlainCall::kSet},
    {"builtins.dict", PlainCall::kDict},
    {"collections.OrderedDict", PlainCall::kDict},
    {"collections.Counter", PlainCall::kCounter},
    {"collections.defaultdict", PlainCall::kDefaultDict},
};

bool IsLatin1(const Node& encoding) {
  return encoding.text() == "latin1" || encoding.text() == "latin-1" || encoding.text() == "iso-8859-1";
}

bool IsSequence(const Node& node) { return node.Is(Kind::kList) || node.Is(Kind::kTuple); }

}  // namespace

PlainCall Machine::Classify(const Node& callable) {
  if (!callable.Is(Kind::kGlobal)) return PlainCall::kNone;
  for (const auto& [name, call] : kPlainCalls)
    if (callable.text() == name) return call;
  return PlainCall::kNone;
}

Result<NodeIndex> Machine::PlainValue(PlainCall call, NodeIndex arguments) {
  switch (call) {
    case PlainCall::kEncode:
    case PlainCall::kBytes:
    case PlainCall::kByteArray:
      return PlainBytes(call, arguments);
    case PlainCall::kSet:
      return PlainSet(arguments);
    default:
      return kNoNode;
  }
}

Result<NodeIndex> Machine::Latin1Bytes(NodeIndex text) {
  // Never released: a memoised text may be converted again and again, at a few bytes of stream each time.
  if (!arena_.budget().Charge(At(text).text().size())) return diagnostics_.OutOfMemory();
  const std::optional<std::string> bytes = EncodeLatin1(At(text).text());
  if (!bytes) return kNoNode;
  const NodeIndex node = arena_.Text(Kind::kBytes, *bytes, offset());
  if (node == kNoNode) return diagnostics_.OutOfMemory();
  return node;
}

Result<NodeIndex> Machine::PlainBytes(PlainCall call, NodeIndex arguments) {
  const NodeItems items = At(arguments).items();
  if (items.empty() && call != PlainCall::kEncode) {
    const NodeIndex node = arena_.Text(Kind::kBytes, {}, offset());
    if (node == kNoNode) return diagnostics_.OutOfMemory();
    return node;
  }
  if (items.size() == 1 && call == PlainCall::kByteArray && items[0]->Is(Kind::kBytes))
    return arena_.IndexOf(items[0]);
  if (items.size() != 2 || call == PlainCall::kBytes) return kNoNode;
  if (!items[0]->Is(Kind::kString) || !items[1]->Is(Kind::kString) || !IsLatin1(*items[1])) return kNoNode;
  return Latin1Bytes(arena_.IndexOf(items[0]));
}

Result<NodeIndex> Machine::PlainSet(NodeIndex arguments) {
  const NodeItems items = At(arguments).items();
  if (items.size() > 1) return kNoNode;
  if (items.size() == 1 && !IsSequence(*items[0]) && !items[0]->Is(Kind::kSet)) return kNoNode;
  const size_t from = stack_.size();
  for (NodePtr item : items.empty() ? NodeItems() : items[0]->items())
    if (!stack_.Push(arena_.IndexOf(item))) return diagnostics_.OutOfMemory();
  const NodeIndex set = arena_.Container(Kind::kSet, offset());
  if (set == kNoNode || !arena_.Append(set, Above(from))) return diagnostics_.OutOfMemory();
  stack_.Truncate(from);
  return set;
}

Status Machine::FillMapping(PlainCall call, NodeIndex object, NodeIndex arguments) {
  if (call != PlainCall::kDict && call != PlainCall::kCounter && call != PlainCall::kDefaultDict) return {};
  const NodeItems items = At(arguments).items();
  if (items.size() != (call == PlainCall::kDefaultDict ? 2 : 1)) return {};
  const Node& source = *items.back();
  const size_t from = stack_.size();
  const auto push = [this](NodePtr node) { return stack_.Push(arena_.IndexOf(node)); };
  for (const auto [key, value] : source.pairs())
    if (!push(key) || !push(value)) return diagnostics_.OutOfMemory();
  // A Counter of a list counts its items.
  const bool from_list = IsSequence(source) && call != PlainCall::kCounter;
  for (NodePtr pair : from_list ? source.items() : NodeItems()) {
    if (!IsSequence(*pair) || pair->items().size() != 2)
      return diagnostics_.Corrupt(fmt::format("a mapping made of a {}; expected pairs", TypeName(*pair)));
    if (!push(pair->items()[0]) || !push(pair->items()[1])) return diagnostics_.OutOfMemory();
  }
  if (!arena_.AddPairs(object, Above(from))) return diagnostics_.OutOfMemory();
  stack_.Truncate(from);
  return {};
}

}  // namespace weightfs::pickle
