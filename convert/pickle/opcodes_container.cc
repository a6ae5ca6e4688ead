// Opcodes that make and fill tuples, lists, dicts and sets.

#include "convert/pickle/machine.h"

namespace weightfs::pickle {

Status Machine::EmptyTuple() { return Push(arena_.Tuple({}, offset())); }
Status Machine::EmptyList() { return Push(arena_.Container(Kind::kList, offset())); }
Status Machine::EmptyDict() { return Push(arena_.Container(Kind::kDict, offset())); }
Status Machine::EmptySet() { return Push(arena_.Container(Kind::kSet, offset())); }

Status Machine::TupleOf(uint32_t count) {
  WEIGHTFS_CHECK(Need(count));
  const size_t from = stack_.size() - count;
  const NodeIndex tuple = arena_.Tuple(Above(from), offset());
  stack_.Truncate(from);
  return Push(tuple);
}

Status Machine::Tuple1() { return TupleOf(1); }
Status Machine::Tuple2() { return TupleOf(2); }
Status Machine::Tuple3() { return TupleOf(3); }

Status Machine::TupleFromMark() {
  WEIGHTFS_TRY(const size_t from, TakeMark());
  const NodeIndex tuple = arena_.Tuple(Above(from), offset());
  stack_.Truncate(from);
  return Push(tuple);
}

Status Machine::ListFromMark() {
  WEIGHTFS_TRY(const size_t from, TakeMark());
  const NodeIndex list = arena_.Container(Kind::kList, offset());
  if (list == kNoNode || !arena_.Append(list, Above(from))) return diagnostics_.OutOfMemory();
  stack_.Truncate(from);
  return Push(list);
}

Status Machine::FrozenSet() {
  WEIGHTFS_TRY(const size_t from, TakeMark());
  const NodeIndex set = arena_.Container(Kind::kSet, offset());
  if (set == kNoNode || !arena_.Append(set, Above(from))) return diagnostics_.OutOfMemory();
  stack_.Truncate(from);
  return Push(set);
}

Status Machine::DictFromMark() {
  WEIGHTFS_TRY(const size_t from, TakeMark());
  const NodeIndex dict = arena_.Container(Kind::kDict, offset());
  if (dict == kNoNode || !stack_.Push(dict)) return diagnostics_.OutOfMemory();
  // The new dict takes the place of what was above the mark, below its own pairs.
  for (size_t i = stack_.size() - 1; i > from; --i) std::swap(stack_[i], stack_[i - 1]);
  return SetPairs(from + 1);
}

Status Machine::AppendItems(size_t from) {
  const NodeIndex target = stack_[from - 1];
  const Node& node = At(target);
  if (!node.Is(Kind::kList) && !node.Is(Kind::kObject))
    return diagnostics_.Corrupt(fmt::format("items appended to a {}; expected a list", TypeName(node)));
  if (node.Is(Kind::kObject) && !node.pairs().empty())
    return diagnostics_.Unsupported(
        fmt::format("a {} that is both a mapping and a list; expected one of them", TypeName(node)));
  if (!arena_.Append(target, Above(from))) return diagnostics_.OutOfMemory();
  stack_.Truncate(from);
  return {};
}

Status Machine::Append() {
  WEIGHTFS_CHECK(Need(2));
  return AppendItems(stack_.size() - 1);
}

Status Machine::Appends() {
  WEIGHTFS_TRY(const size_t from, TakeMark());
  if (from == Floor()) return diagnostics_.Corrupt("APPENDS with nothing below its MARK; expected a list");
  return AppendItems(from);
}

Status Machine::SetPairs(size_t from) {
  const NodeIndex target = stack_[from - 1];
  const Node& node = At(target);
  if (!node.Is(Kind::kDict) && !node.Is(Kind::kObject))
    return diagnostics_.Corrupt(fmt::format("pairs set on a {}; expected a dict", TypeName(node)));
  if (node.Is(Kind::kObject) && !node.items().empty())
    return diagnostics_.Unsupported(
        fmt::format("a {} that is both a list and a mapping; expected one of them", TypeName(node)));
  const std::span<const NodeIndex> values = Above(from);
  if (values.size() % 2 != 0)
    return diagnostics_.Corrupt(fmt::format("{} keys and values; expected an even number", values.size()));
  for (size_t i = 0; i < values.size(); i += 2)
    if (At(values[i]).Is(Kind::kDict) || At(values[i]).Is(Kind::kList))
      return diagnostics_.Corrupt(fmt::format(
          "a {} as the key of a mapping; expected a value that has a hash", TypeName(At(values[i]))));
  if (!arena_.AddPairs(target, values)) return diagnostics_.OutOfMemory();
  stack_.Truncate(from);
  return {};
}

Status Machine::SetItem() {
  WEIGHTFS_CHECK(Need(3));
  return SetPairs(stack_.size() - 2);
}

Status Machine::SetItems() {
  WEIGHTFS_TRY(const size_t from, TakeMark());
  if (from == Floor()) return diagnostics_.Corrupt("SETITEMS with nothing below its MARK; expected a dict");
  return SetPairs(from);
}

Status Machine::AddItems() {
  WEIGHTFS_TRY(const size_t from, TakeMark());
  if (from == Floor()) return diagnostics_.Corrupt("ADDITEMS with nothing below its MARK; expected a set");
  const NodeIndex target = stack_[from - 1];
  if (!At(target).Is(Kind::kSet))
    return diagnostics_.Corrupt(fmt::format("items added to a {}; expected a set", TypeName(At(target))));
  if (!arena_.Append(target, Above(from))) return diagnostics_.OutOfMemory();
  stack_.Truncate(from);
  return {};
}

}  // namespace weightfs::pickle
