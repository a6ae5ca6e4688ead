// Opcodes for what Python would import, look up or call. Here each becomes a node.

#include <string>
#include <tuple>

#include "convert/pickle/machine.h"
#include "convert/pickle/python2_names.h"
#include "convert/pickle/text_codec.h"

namespace weightfs::pickle {
namespace {

constexpr uint8_t kFirstPython3Protocol = 3;

}  // namespace

Status Machine::PushGlobal(std::string_view module, std::string_view name) {
  if (module.empty() || name.empty())
    return diagnostics_.Corrupt("a global without a module or a name; expected both");
  if (!IsUtf8(module, Surrogates::kRefuse) || !IsUtf8(name, Surrogates::kRefuse))
    return diagnostics_.Corrupt("a global whose name is not UTF-8; expected UTF-8");
  if (protocol_ < kFirstPython3Protocol) std::tie(module, name) = MapPython2Name(module, name);
  return Push(arena_.Global(module, name, offset()));
}

Status Machine::Global() {
  // The first line lasts only until the second is read.
  WEIGHTFS_TRY(const std::string_view line, reader_.TakeLine());
  if (!arena_.budget().Charge(line.size())) return diagnostics_.OutOfMemory();
  const std::string module(line);
  WEIGHTFS_TRY(const std::string_view name, reader_.TakeLine());
  const Status pushed = PushGlobal(module, name);
  arena_.budget().Release(module.size());
  return pushed;
}

Status Machine::StackGlobal() {
  WEIGHTFS_CHECK(Need(2));
  const Node& module = At(stack_[stack_.size() - 2]);
  const Node& name = At(Top());
  if (!module.Is(Kind::kString) || !name.Is(Kind::kString))
    return diagnostics_.Corrupt(
        fmt::format("a global named by a {} and a {}; expected two texts", TypeName(module), TypeName(name)));
  // The texts lie in the arena, which may move while the global is made.
  const uint64_t size_bytes = module.text().size() + name.text().size();
  if (!arena_.budget().Charge(size_bytes)) return diagnostics_.OutOfMemory();
  const std::string module_text(module.text()), name_text(name.text());
  stack_.Truncate(stack_.size() - 2);
  const Status pushed = PushGlobal(module_text, name_text);
  arena_.budget().Release(size_bytes);
  return pushed;
}

Status Machine::BinPersId() {
  WEIGHTFS_CHECK(Need(1));
  const NodeIndex id = PopValue();
  return Push(arena_.Persistent(id, offset()));
}

Status Machine::CheckCall(NodeIndex callable, NodeIndex arguments) const {
  const Kind kind = arena_.KindOf(callable);
  // A persistent id can stand for a class, and a call can return something callable.
  if (kind != Kind::kGlobal && kind != Kind::kPersistent && kind != Kind::kObject)
    return diagnostics_.Corrupt(fmt::format("a call of a {}; expected a global", TypeName(At(callable))));
  if (arena_.KindOf(arguments) != Kind::kTuple)
    return diagnostics_.Corrupt(
        fmt::format("a call whose arguments are a {}; expected a tuple", TypeName(At(arguments))));
  return {};
}

Status Machine::Reduce() {
  WEIGHTFS_CHECK(Need(2));
  const NodeIndex arguments = PopValue();
  const NodeIndex callable = PopValue();
  WEIGHTFS_CHECK(CheckCall(callable, arguments));
  const PlainCall call = Classify(At(callable));
  WEIGHTFS_TRY(const NodeIndex plain, PlainValue(call, arguments));
  if (plain != kNoNode) return Push(plain);
  const NodeIndex object = arena_.Object(callable, arguments, offset());
  if (object == kNoNode) return diagnostics_.OutOfMemory();
  WEIGHTFS_CHECK(FillMapping(call, object, arguments));
  return Push(object);
}

Status Machine::NewObj() {
  WEIGHTFS_CHECK(Need(2));
  const NodeIndex arguments = PopValue();
  const NodeIndex callable = PopValue();
  WEIGHTFS_CHECK(CheckCall(callable, arguments));
  return Push(arena_.Object(callable, arguments, offset()));
}

Status Machine::NewObjEx() {
  WEIGHTFS_CHECK(Need(3));
  const NodeIndex keywords = PopValue();
  const NodeIndex positional = PopValue();
  const NodeIndex callable = PopValue();
  WEIGHTFS_CHECK(CheckCall(callable, positional));
  if (arena_.KindOf(keywords) != Kind::kDict)
    return diagnostics_.Corrupt(
        fmt::format("keyword arguments that are a {}; expected a dict", TypeName(At(keywords))));
  const size_t from = stack_.size();
  for (uint32_t i = 0; i < arena_.ChildCount(positional); ++i)
    if (!stack_.Push(arena_.Child(positional, i))) return diagnostics_.OutOfMemory();
  WEIGHTFS_CHECK(Push(keywords));
  const NodeIndex arguments = arena_.Tuple(Above(from), offset());
  stack_.Truncate(from);
  if (arguments == kNoNode) return diagnostics_.OutOfMemory();
  return Push(arena_.Object(callable, arguments, offset()));
}

Status Machine::Build() {
  WEIGHTFS_CHECK(Need(2));
  const NodeIndex state = PopValue();
  const Node& target = At(Top());
  if (target.Is(Kind::kGlobal) || target.Is(Kind::kPersistent))
    return diagnostics_.Unsupported(fmt::format("a state set on a {}; expected an object", TypeName(target)));
  if (!target.Is(Kind::kObject))
    return diagnostics_.Corrupt(fmt::format("a state set on a {}; expected an object", TypeName(target)));
  arena_.SetState(Top(), state);
  return {};
}

}  // namespace weightfs::pickle
