/// \file
/// The stack machine that a pickle drives. Internal to `convert/pickle`.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "convert/base/limits.h"
#include "convert/base/result.h"
#include "convert/pickle/byte_reader.h"
#include "convert/pickle/diagnostics.h"
#include "convert/pickle/memo.h"
#include "convert/pickle/memory_budget.h"
#include "convert/pickle/node_arena.h"

namespace weightfs::pickle {

/// What a call by REDUCE means beside the call itself.
enum class PlainCall : uint8_t {
  kNone,         ///< Nothing: it stays a call.
  kEncode,       ///< `_codecs.encode`: bytes.
  kBytes,        ///< bytes
  kByteArray,    ///< bytearray
  kSet,          ///< set or frozenset
  kDict,         ///< dict or OrderedDict: a call, and the pairs it is made of.
  kCounter,      ///< Counter: likewise, from a dict only.
  kDefaultDict,  ///< defaultdict: likewise, from its second argument.
};

/// Runs one pickle. One method per opcode, or per group that differs in one value only; each takes constant
/// time, amortised over the bytes it reads and the memory it is charged for. Used by one thread, once.
class Machine {
 public:
  Machine(ByteReader& reader, MemoryBudget& budget, Diagnostics& diagnostics, const Limits& limits)
      : reader_(reader),
        diagnostics_(diagnostics),
        limits_(limits),
        arena_(budget),
        stack_(budget),
        marks_(budget),
        memo_(budget) {}
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  /// Runs up to STOP. \error as Parse in unpickler.h
  Result<Tree> Run();

 private:
  using Handler = Status (Machine::*)();
  struct Table;
  static const Table kTable;

  // opcode_table.cc
  Status Unknown();
  Status Refused();
  Result<Tree> Stop();

  // opcodes_stack.cc: the stack, the memo and the stream.
  Status Proto();
  Status Frame();
  Status Mark();
  Status Pop();
  Status PopMark();
  Status Dup();
  Status PutText();
  Status BinPut();
  Status LongBinPut();
  Status Memoize();
  Status GetText();
  Status BinGet();
  Status LongBinGet();
  Status PutAt(uint64_t number);
  Status GetFrom(uint64_t number);
  Result<uint64_t> MemoNumber();

  // opcodes_scalar.cc: values of binary form.
  Status PushNone();
  Status PushTrue();
  Status PushFalse();
  Status BinInt();
  Status BinInt1();
  Status BinInt2();
  Status Long1();
  Status Long4();
  Status BinFloat();
  Status ShortBinString();
  Status BinString();
  Status ShortBinUnicode();
  Status BinUnicode();
  Status BinUnicode8();
  Status ShortBinBytes();
  Status BinBytes();
  Status BinBytes8();
  Status PushLong(uint64_t size_bytes);
  Status PushText(Kind kind, uint64_t size_bytes);
  Status PushByteString(std::string_view bytes);
  Status PushUnicode(std::string_view text);

  // opcodes_text.cc: values of protocol 0, in decimal and escaped text.
  Status IntText();
  Status LongText();
  Status FloatText();
  Status StringText();
  Status UnicodeText();
  Status PushDecimal(std::string_view digits);

  // opcodes_container.cc
  Status EmptyTuple();
  Status TupleFromMark();
  Status Tuple1();
  Status Tuple2();
  Status Tuple3();
  Status EmptyList();
  Status ListFromMark();
  Status Append();
  Status Appends();
  Status EmptyDict();
  Status DictFromMark();
  Status SetItem();
  Status SetItems();
  Status EmptySet();
  Status AddItems();
  Status FrozenSet();
  Status TupleOf(uint32_t count);
  Status AppendItems(size_t from);
  Status SetPairs(size_t from);

  // opcodes_call.cc: what Python would import or call.
  Status Global();
  Status StackGlobal();
  Status BinPersId();
  Status Reduce();
  Status NewObj();
  Status NewObjEx();
  Status Build();
  Status PushGlobal(std::string_view module, std::string_view name);
  Status CheckCall(NodeIndex callable, NodeIndex arguments) const;

  // call_values.cc: calls that stand for plain data.
  static PlainCall Classify(const Node& callable);
  /// The value that `call` stands for, or kNoNode when it stays a call.
  Result<NodeIndex> PlainValue(PlainCall call, NodeIndex arguments);
  Result<NodeIndex> PlainBytes(PlainCall call, NodeIndex arguments);
  Result<NodeIndex> PlainSet(NodeIndex arguments);
  Result<NodeIndex> Latin1Bytes(NodeIndex text);
  /// Fills the new `object`, a mapping, from what its constructor was given.
  Status FillMapping(PlainCall call, NodeIndex object, NodeIndex arguments);

  // nesting.cc
  /// Checks how deep the values below `root` nest, and merges equal keys of the mappings among them.
  Status CheckGraph(NodeIndex root);

  // machine.cc
  Status Push(NodeIndex node);
  /// Position on the stack of the last mark: what lies below is out of reach.
  size_t Floor() const { return marks_.empty() ? 0 : marks_[marks_.size() - 1]; }
  /// Fails unless `count` values lie above the last mark.
  Status Need(size_t count) const;
  /// Takes the last mark away; the values from the returned position on were above it.
  Result<size_t> TakeMark();
  /// The values from `from` on, until the next push.
  std::span<const NodeIndex> Above(size_t from) const { return {stack_.data() + from, stack_.size() - from}; }
  NodeIndex Top() const { return stack_[stack_.size() - 1]; }
  NodeIndex PopValue();
  const Node& At(NodeIndex node) const { return arena_.At(node); }
  uint64_t offset() const { return diagnostics_.opcode_offset_bytes; }

  ByteReader& reader_;
  Diagnostics& diagnostics_;
  const Limits& limits_;
  NodeArena arena_;
  ChargedArray<NodeIndex> stack_;
  ChargedArray<uint32_t> marks_;  // Sizes of the stack when each mark was set.
  Memo memo_;
  uint8_t protocol_ = 0;
  uint8_t opcode_ = 0;
};

}  // namespace weightfs::pickle
