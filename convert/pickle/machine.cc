#include "convert/pickle/machine.h"

namespace weightfs::pickle {

Status Machine::Push(NodeIndex node) {
  if (node == kNoNode || !stack_.Push(node)) [[unlikely]]
    return diagnostics_.OutOfMemory();
  return {};
}

Status Machine::Need(size_t count) const {
  const size_t reachable = stack_.size() - Floor();
  if (reachable >= count) [[likely]]
    return {};
  return diagnostics_.Corrupt(fmt::format("opcode 0x{:02x} on a stack of {} values{}; expected {}", opcode_,
                                          reachable, marks_.empty() ? "" : " since the last MARK", count));
}

Result<size_t> Machine::TakeMark() {
  if (marks_.empty())
    return diagnostics_.Corrupt(
        fmt::format("opcode 0x{:02x} without a MARK; expected one before it", opcode_));
  const size_t from = Floor();
  marks_.Truncate(marks_.size() - 1);
  return from;
}

NodeIndex Machine::PopValue() {
  const NodeIndex top = Top();
  stack_.Truncate(stack_.size() - 1);
  return top;
}

}  // namespace weightfs::pickle
