// Opcodes of the stack, the memo and the stream itself.

#include <charconv>

#include "convert/pickle/machine.h"

namespace weightfs::pickle {
namespace {

constexpr uint8_t kProtocolMax = 5;

}  // namespace

Status Machine::Proto() {
  WEIGHTFS_TRY(const uint8_t protocol, reader_.TakeInteger<uint8_t>());
  if (protocol > kProtocolMax)
    return diagnostics_.Unsupported(
        fmt::format("pickle protocol {}; expected 0 to {}", protocol, kProtocolMax));
  protocol_ = protocol;
  return {};
}

Status Machine::Frame() {
  WEIGHTFS_TRY(const uint64_t size_bytes, reader_.TakeInteger<uint64_t>());
  return reader_.OpenFrame(size_bytes);
}

Status Machine::Mark() {
  // Every open mark is a container that is being filled, so deeper marks than containers may nest are too
  // many.
  if (marks_.size() >= limits_.nesting_depth_max)
    return diagnostics_.Limit(
        fmt::format("values nested more than {} deep; expected at most that", limits_.nesting_depth_max));
  if (!marks_.Push(static_cast<uint32_t>(stack_.size()))) return diagnostics_.OutOfMemory();
  return {};
}

Status Machine::Pop() {
  if (!marks_.empty() && stack_.size() == Floor()) {  // The mark itself.
    marks_.Truncate(marks_.size() - 1);
    return {};
  }
  WEIGHTFS_CHECK(Need(1));
  stack_.Truncate(stack_.size() - 1);
  return {};
}

Status Machine::PopMark() {
  WEIGHTFS_TRY(const size_t from, TakeMark());
  stack_.Truncate(from);
  return {};
}

Status Machine::Dup() {
  WEIGHTFS_CHECK(Need(1));
  return Push(Top());
}

Result<uint64_t> Machine::MemoNumber() {
  WEIGHTFS_TRY(const std::string_view digits, reader_.TakeLine());
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (digits.empty() || error != std::errc() || end != digits.data() + digits.size())
    return diagnostics_.Corrupt("a memo number that is not decimal; expected 0 to 18446744073709551615");
  return number;
}

Status Machine::PutAt(uint64_t number) {
  WEIGHTFS_CHECK(Need(1));
  if (memo_.size() >= limits_.pickle_memo_entries_max && memo_.Get(number) == kNoNode)
    return diagnostics_.Limit(
        fmt::format("more than {} memo entries; expected at most that", limits_.pickle_memo_entries_max));
  if (!memo_.Put(number, Top())) return diagnostics_.OutOfMemory();
  return {};
}

Status Machine::GetFrom(uint64_t number) {
  const NodeIndex node = memo_.Get(number);
  if (node == kNoNode)
    return diagnostics_.Corrupt(fmt::format("memo entry {} was never set; expected one that was", number));
  return Push(node);
}

Status Machine::PutText() {
  WEIGHTFS_TRY(const uint64_t number, MemoNumber());
  return PutAt(number);
}

Status Machine::BinPut() {
  WEIGHTFS_TRY(const uint8_t number, reader_.TakeInteger<uint8_t>());
  return PutAt(number);
}

Status Machine::LongBinPut() {
  WEIGHTFS_TRY(const uint32_t number, reader_.TakeInteger<uint32_t>());
  return PutAt(number);
}

Status Machine::Memoize() { return PutAt(memo_.size()); }

Status Machine::GetText() {
  WEIGHTFS_TRY(const uint64_t number, MemoNumber());
  return GetFrom(number);
}

Status Machine::BinGet() {
  WEIGHTFS_TRY(const uint8_t number, reader_.TakeInteger<uint8_t>());
  return GetFrom(number);
}

Status Machine::LongBinGet() {
  WEIGHTFS_TRY(const uint32_t number, reader_.TakeInteger<uint32_t>());
  return GetFrom(number);
}

}  // namespace weightfs::pickle
