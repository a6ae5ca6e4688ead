// Which method serves which opcode, and the loop over them.

#include <array>

#include "convert/pickle/machine.h"

namespace weightfs::pickle {
namespace {

constexpr uint8_t kStop = '.';

}  // namespace

/// Every opcode of protocols 0 to 5 but STOP.
struct Machine::Table {
  struct Row {
    uint8_t opcode;
    std::string_view name;
    Handler handler;
  };
  static constexpr Row kRows[] = {
      {0x28, "MARK", &Machine::Mark},
      {0x29, "EMPTY_TUPLE", &Machine::EmptyTuple},
      {0x30, "POP", &Machine::Pop},
      {0x31, "POP_MARK", &Machine::PopMark},
      {0x32, "DUP", &Machine::Dup},
      {0x42, "BINBYTES", &Machine::BinBytes},
      {0x43, "SHORT_BINBYTES", &Machine::ShortBinBytes},
      {0x46, "FLOAT", &Machine::FloatText},
      {0x47, "BINFLOAT", &Machine::BinFloat},
      {0x49, "INT", &Machine::IntText},
      {0x4A, "BININT", &Machine::BinInt},
      {0x4B, "BININT1", &Machine::BinInt1},
      {0x4C, "LONG", &Machine::LongText},
      {0x4D, "BININT2", &Machine::BinInt2},
      {0x4E, "NONE", &Machine::PushNone},
      {0x50, "PERSID", &Machine::Refused},
      {0x51, "BINPERSID", &Machine::BinPersId},
      {0x52, "REDUCE", &Machine::Reduce},
      {0x53, "STRING", &Machine::StringText},
      {0x54, "BINSTRING", &Machine::BinString},
      {0x55, "SHORT_BINSTRING", &Machine::ShortBinString},
      {0x56, "UNICODE", &Machine::UnicodeText},
      {0x58, "BINUNICODE", &Machine::BinUnicode},
      {0x5D, "EMPTY_LIST", &Machine::EmptyList},
      {0x61, "APPEND", &Machine::Append},
      {0x62, "BUILD", &Machine::Build},
      {0x63, "GLOBAL", &Machine::Global},
      {0x64, "DICT", &Machine::DictFromMark},
      {0x65, "APPENDS", &Machine::Appends},
      {0x67, "GET", &Machine::GetText},
      {0x68, "BINGET", &Machine::BinGet},
      {0x69, "INST", &Machine::Refused},
      {0x6A, "LONG_BINGET", &Machine::LongBinGet},
      {0x6C, "LIST", &Machine::ListFromMark},
      {0x6F, "OBJ", &Machine::Refused},
      {0x70, "PUT", &Machine::PutText},
      {0x71, "BINPUT", &Machine::BinPut},
      {0x72, "LONG_BINPUT", &Machine::LongBinPut},
      {0x73, "SETITEM", &Machine::SetItem},
      {0x74, "TUPLE", &Machine::TupleFromMark},
      {0x75, "SETITEMS", &Machine::SetItems},
      {0x7D, "EMPTY_DICT", &Machine::EmptyDict},
      {0x80, "PROTO", &Machine::Proto},
      {0x81, "NEWOBJ", &Machine::NewObj},
      {0x82, "EXT1", &Machine::Refused},
      {0x83, "EXT2", &Machine::Refused},
      {0x84, "EXT4", &Machine::Refused},
      {0x85, "TUPLE1", &Machine::Tuple1},
      {0x86, "TUPLE2", &Machine::Tuple2},
      {0x87, "TUPLE3", &Machine::Tuple3},
      {0x88, "NEWTRUE", &Machine::PushTrue},
      {0x89, "NEWFALSE", &Machine::PushFalse},
      {0x8A, "LONG1", &Machine::Long1},
      {0x8B, "LONG4", &Machine::Long4},
      {0x8C, "SHORT_BINUNICODE", &Machine::ShortBinUnicode},
      {0x8D, "BINUNICODE8", &Machine::BinUnicode8},
      {0x8E, "BINBYTES8", &Machine::BinBytes8},
      {0x8F, "EMPTY_SET", &Machine::EmptySet},
      {0x90, "ADDITEMS", &Machine::AddItems},
      {0x91, "FROZENSET", &Machine::FrozenSet},
      {0x92, "NEWOBJ_EX", &Machine::NewObjEx},
      {0x93, "STACK_GLOBAL", &Machine::StackGlobal},
      {0x94, "MEMOIZE", &Machine::Memoize},
      {0x95, "FRAME", &Machine::Frame},
      {0x96, "BYTEARRAY8", &Machine::BinBytes8},
      {0x97, "NEXT_BUFFER", &Machine::Refused},
      {0x98, "READONLY_BUFFER", &Machine::Refused},
  };

  std::array<Handler, 256> handlers;
  std::array<std::string_view, 256> names;

  constexpr Table() : handlers(), names() {
    handlers.fill(&Machine::Unknown);
    for (const Row& row : kRows) {
      handlers[row.opcode] = row.handler;
      names[row.opcode] = row.name;
    }
  }
};

constinit const Machine::Table Machine::kTable;

Status Machine::Unknown() {
  return diagnostics_.Corrupt(
      fmt::format("unknown opcode 0x{:02x}; expected one of pickle protocols 0 to 5", opcode_));
}

Status Machine::Refused() {
  return diagnostics_.Unsupported(
      fmt::format("opcode {}; expected only those that torch writes", kTable.names[opcode_]));
}

Result<Tree> Machine::Stop() {
  if (!marks_.empty() || stack_.size() != 1)
    return diagnostics_.Corrupt(fmt::format("STOP on a stack of {} values and {} marks; expected one value",
                                            stack_.size(), marks_.size()));
  if (reader_.FrameRestBytes() != 0)
    return diagnostics_.Corrupt(fmt::format(
        "STOP {} bytes before the end of its FRAME; expected it at the end", reader_.FrameRestBytes()));
  const NodeIndex root = stack_[0];
  WEIGHTFS_CHECK(CheckGraph(root));
  return arena_.Finish(root, reader_.position_bytes());
}

Result<Tree> Machine::Run() {
  for (uint64_t count = 0;; ++count) {
    WEIGHTFS_TRY(opcode_, reader_.Opcode());
    if (count == limits_.pickle_opcodes_max)
      return diagnostics_.Limit(
          fmt::format("more than {} opcodes; expected at most that", limits_.pickle_opcodes_max));
    if (opcode_ == kStop) return Stop();
    WEIGHTFS_CHECK((this->*kTable.handlers[opcode_])());
  }
}

}  // namespace weightfs::pickle
