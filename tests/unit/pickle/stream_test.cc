#include <functional>

#include "tests/unit/pickle/pickle_test_util.h"

namespace weightfs::pickle {
namespace {

using testing::Assemble;
using ::testing::HasSubstr;
using testing::Load;
using testing::ParseBytes;
using testing::Render;
using ::testing::StartsWith;

std::string Repeat(std::string_view source, size_t count) {
  std::string result;
  for (size_t i = 0; i < count; ++i) result.append(source).append(" ");
  return result;
}

TEST(PickleStreamTest, Protocols) {
  EXPECT_EQ(Load("80 00 4E 2E"), "None");
  EXPECT_EQ(Load("80 05 4E 2E"), "None");
  EXPECT_EQ(Load("80 06 4E 2E"), "unsupported: p: offset 0: pickle protocol 6; expected 0 to 5");
}

TEST(PickleStreamTest, StackOpcodes) {
  EXPECT_EQ(Load("4B 01 4B 02 30 2E"), "1");
  EXPECT_EQ(Load("4B 01 28 4B 02 4B 03 31 2E"), "1");
  EXPECT_EQ(Load("4B 01 28 30 2E"), "1");  // POP takes a mark that has nothing above it.
  EXPECT_EQ(Load("4B 01 32 86 2E"), "(1, 1)");
}

TEST(PickleStreamTest, ValuesBelowAMarkAreOutOfReach) {
  EXPECT_EQ(Load("30 2E"), "corrupt: p: offset 0: opcode 0x30 on a stack of 0 values; expected 1");
  EXPECT_THAT(Load("4E 28 32 2E"),
              HasSubstr("opcode 0x32 on a stack of 0 values since the last MARK; expected 1"));
  EXPECT_THAT(Load("4E 28 85 2E"), StartsWith("corrupt"));
  EXPECT_THAT(Load("5D 28 4E 61 2E"), StartsWith("corrupt"));
  EXPECT_THAT(Load("28 71 00 2E"), StartsWith("corrupt"));
  EXPECT_THAT(Load("28 28 65 2E"), HasSubstr("APPENDS with nothing below its MARK"));
  EXPECT_THAT(Load("28 75 2E"), HasSubstr("SETITEMS with nothing below its MARK"));
  EXPECT_THAT(Load("28 90 2E"), HasSubstr("ADDITEMS with nothing below its MARK"));
  for (const std::string_view opcode : {"74", "6C", "64", "91", "65", "75", "90", "31"})
    EXPECT_THAT(Load("4E " + std::string(opcode) + " 2E"), HasSubstr("without a MARK")) << opcode;
  for (const std::string_view opcode : {"86", "87", "73", "81", "52", "62", "92", "93"})
    EXPECT_THAT(Load("4E " + std::string(opcode) + " 2E"), HasSubstr("on a stack of 1 values")) << opcode;
}

TEST(PickleStreamTest, Memo) {
  EXPECT_EQ(Load("4B 07 71 05 30 68 05 2E"), "7");
  EXPECT_EQ(Load("4B 07 72 u32:4294967295 30 6A u32:4294967295 2E"), "7");
  EXPECT_EQ(Load("4B 07 70 '12' / 30 67 '12' / 2E"), "7");
  EXPECT_EQ(Load("4B 07 94 30 4B 08 94 30 68 00 68 01 86 2E"), "(7, 8)");
  // MEMOIZE takes the number of entries, not the next number.
  EXPECT_EQ(Load("4B 07 71 09 94 30 68 01 2E"), "7");
  EXPECT_EQ(Load("4B 07 71 00 30 4B 08 71 00 30 68 00 2E"), "8");
  // A number that was far off when it was set and is near later.
  EXPECT_EQ(Load("4B 07 71 C8 30 " + Repeat("4B 08 94", 250) + Repeat("30", 250) + "68 C8 2E"), "8");
}

TEST(PickleStreamTest, BadMemoUseIsCorrupt) {
  EXPECT_EQ(Load("68 00 2E"), "corrupt: p: offset 0: memo entry 0 was never set; expected one that was");
  EXPECT_THAT(Load("4E 71 02 68 01 2E"), HasSubstr("memo entry 1 was never set"));
  EXPECT_THAT(Load("71 00 2E"), HasSubstr("on a stack of 0 values"));
  for (const std::string_view bad : {"4E 70 '-1' / 2E", "4E 70 / 2E", "4E 70 '1x' / 2E", "67 '+1' / 2E"})
    EXPECT_THAT(Load(bad), HasSubstr("a memo number that is not decimal")) << bad;
  EXPECT_THAT(Load("4E 70 '18446744073709551616' / 2E"), HasSubstr("a memo number that is not decimal"));
}

TEST(PickleStreamTest, Frames) {
  EXPECT_EQ(Load("80 04 95 u64:2 4E 2E"), "None");
  EXPECT_EQ(Load("80 04 95 u64:2 4B 01 95 u64:1 2E"), "1");
  EXPECT_EQ(Load("80 04 95 u64:2 4B 01 4B 02 95 u64:2 86 2E"), "(1, 2)");  // Bytes between frames.
  EXPECT_EQ(Load("80 04 95 u64:0 4E 2E"), "None");
  EXPECT_EQ(Load("80 04 95 u64:2 4E 2E 'the next pickle'"), "None");
}

TEST(PickleStreamTest, BadFramesAreCorrupt) {
  EXPECT_THAT(Load("80 04 95 u64:11 95 u64:2 4E 2E"), HasSubstr("a FRAME inside a FRAME"));
  EXPECT_THAT(Load("80 04 95 u64:3 4E 2E"), HasSubstr("a FRAME of 3 bytes where 2 bytes are left"));
  EXPECT_THAT(Load("80 04 95 u64:18446744073709551615 4E 2E"),
              HasSubstr("a FRAME of 18446744073709551615 bytes"));
  EXPECT_EQ(
      Load("80 04 95 u64:1 4B 01 2E"),
      "corrupt: p: offset 11: an argument that crosses the end of its FRAME; expected it to end inside");
  EXPECT_THAT(Load("80 04 95 u64:4 8C 05 'abcde' 2E"), HasSubstr("crosses the end of its FRAME"));
  EXPECT_THAT(Load("80 04 95 u64:2 'ca' / 'b' / 2E"), HasSubstr("crosses the end of its FRAME"));
  EXPECT_THAT(Load("80 04 95 u64:3 4E 2E 4E"), HasSubstr("STOP 1 bytes before the end of its FRAME"));
}

TEST(PickleStreamTest, PicklesBackToBack) {
  const std::string bytes = Assemble("80 02 4D E9 03 2E 80 02 5D 2E 4E 2E");
  const FilePtr file = MakeMemoryFile(bytes, "legacy.pt");
  uint64_t offset = 0;
  std::vector<std::string> values;
  while (offset < bytes.size()) {
    const auto tree = Parse(*file, offset, "legacy.pt", Limits{});
    ASSERT_TRUE(tree.has_value()) << tree.error().message;
    values.push_back(Render(*tree));
    offset += tree->size_bytes();
  }
  EXPECT_THAT(values, ::testing::ElementsAre("1001", "[]", "None"));
  EXPECT_THAT(Parse(*file, offset, "legacy.pt", Limits{}).error().message,
              StartsWith("legacy.pt: offset 12: 1 bytes are needed where 0 are left"));
  EXPECT_THAT(Parse(*file, offset + 1, "legacy.pt", Limits{}).error().message, HasSubstr("after the end"));
}

TEST(PickleStreamTest, OffsetsOfMessagesCountFromTheFile) {
  const FilePtr file = MakeMemoryFile("12345" + Assemble("4E FF 2E"), "f");
  EXPECT_EQ(Parse(*file, 5, "f", Limits{}).error().message,
            "f: offset 6: unknown opcode 0xff; expected one of pickle protocols 0 to 5");
}

TEST(PickleStreamTest, StopNeedsExactlyOneValue) {
  EXPECT_EQ(Load("2E"), "corrupt: p: offset 0: STOP on a stack of 0 values and 0 marks; expected one value");
  EXPECT_THAT(Load("4E 4E 2E"), HasSubstr("STOP on a stack of 2 values"));
  EXPECT_THAT(Load("4E 28 2E"), HasSubstr("1 marks; expected one value"));
}

TEST(PickleStreamTest, EveryTruncationIsCorrupt) {
  const std::string whole = Assemble(
      "80 04 95 u64:73 7D 94 28 8C 01 'a' 94 5D 94 28 4B 01 4D 00 01 4A 00 00 01 00 65 8C 01 'b' 94 8C 0B "
      "'collections' "
      "94 8C 0B 'OrderedDict' 94 93 94 29 52 94 8C 01 'c' 94 47 3F F0 00 00 00 00 00 00 75 2E");
  const auto tree = ParseBytes(whole);
  ASSERT_TRUE(tree.has_value()) << tree.error().message;
  EXPECT_EQ(Render(*tree), "{'a': [1, 256, 65536], 'b': collections.OrderedDict(), 'c': 1.0}");
  for (size_t size = 0; size < whole.size(); ++size) {
    const auto cut = ParseBytes(whole.substr(0, size));
    ASSERT_FALSE(cut.has_value()) << size;
    EXPECT_EQ(cut.error().code, ErrorCode::kCorrupt) << cut.error().message;
  }
}

TEST(PickleStreamTest, LongArgumentsFromFiles) {
  // Longer than the pieces in which a file is read, and across their ends.
  std::string bytes = "(";
  for (size_t size : {100u, 16'000u, 40'000u, 3'000'000u, 7u, 70'000u})
    bytes += Assemble(fmt::format("42 u32:{}", size)) + std::string(size, static_cast<char>('a' + size % 26));
  bytes += "V" + std::string(200'000, 'v') + "\nt.";
  const auto tree = ParseBytes(bytes);
  ASSERT_TRUE(tree.has_value()) << tree.error().message;
  EXPECT_EQ(tree->root()->items()[3]->text(), std::string(3'000'000, 'a' + 3'000'000 % 26));
  EXPECT_EQ(tree->root()->items()[6]->text().size(), 200'000);
  EXPECT_EQ(tree->size_bytes(), bytes.size());
}

// Runs `source` with a limit of one less than, exactly and one more than it needs.
void ExpectLimit(uint64_t needed, std::string_view source, std::string_view message,
                 const std::function<void(Limits&, uint64_t)>& set) {
  for (const int64_t slack : {-1, 0, 1}) {
    Limits limits;
    set(limits, needed + static_cast<uint64_t>(slack));
    if (slack < 0)
      EXPECT_THAT(Load(source, limits), AllOf(StartsWith("limit_exceeded: p: offset "), HasSubstr(message)));
    else
      EXPECT_THAT(Load(source, limits), ::testing::Not(HasSubstr("p: offset"))) << slack;
  }
}

TEST(PickleLimitTest, StreamBytes) {
  const auto set = [](Limits& limits, uint64_t n) { limits.pickle_stream_bytes_max = n; };
  ExpectLimit(2, "4E 2E", "a pickle of over 1 bytes", set);
  ExpectLimit(7, "8C 04 'abcd' 2E 'the rest does not count'", "a pickle of over 6 bytes", set);
}

TEST(PickleLimitTest, Opcodes) {
  const auto set = [](Limits& limits, uint64_t n) { limits.pickle_opcodes_max = n; };
  ExpectLimit(2, "4E 2E", "more than 1 opcodes", set);
  ExpectLimit(5, "80 02 4E 4E 86 2E", "more than 4 opcodes", set);
}

TEST(PickleLimitTest, MemoEntries) {
  const auto set = [](Limits& limits, uint64_t n) { limits.pickle_memo_entries_max = n; };
  ExpectLimit(2, "4E 71 00 71 00 71 01 2E", "more than 1 memo entries", set);
  ExpectLimit(2, "4E 94 72 u32:1000000 72 u32:1000000 2E", "more than 1 memo entries", set);
}

TEST(PickleLimitTest, Nesting) {
  const auto set = [](Limits& limits, uint64_t n) { limits.nesting_depth_max = static_cast<uint32_t>(n); };
  ExpectLimit(4, "5D 85 85 85 2E", "values nested more than 3 deep", set);
  ExpectLimit(4, "4E 85 85 85 85 2E", "values nested more than 3 deep", set);
  ExpectLimit(3, "28 28 28 74 74 74 2E", "values nested more than 2 deep", set);
  ExpectLimit(3, "63 'a' / 'B' / 29 85 52 2E", "values nested more than 2 deep", set);
  ExpectLimit(3, "7D 8C 01 'a' 7D 8C 01 'b' 5D 73 73 2E", "values nested more than 2 deep", set);
  // A value inside itself is as deep as its first mention.
  ExpectLimit(2, "5D 71 00 68 00 85 61 2E", "values nested more than 1 deep", set);
  EXPECT_EQ(Load("4E " + Repeat("85", 1001) + "2E"),
            "limit_exceeded: p: offset 1: values nested more than 1000 deep; "
            "expected at most that");
  EXPECT_THAT(Load("4E " + Repeat("85", 1000) + "2E"), StartsWith("(((("));
  // Values that are not part of the result do not count.
  EXPECT_EQ(Load("4E " + Repeat("85", 5000) + "30 4E 2E"), "None");
}

TEST(PickleLimitTest, DeepNestingIsNoRecursion) {
  Limits limits;
  limits.nesting_depth_max = 10'000'000;
  std::string bytes = "N" + std::string(3'000'000, '\x85') + ".";
  const auto tree = Parse(std::as_bytes(std::span(bytes)), "p", limits);
  ASSERT_TRUE(tree.has_value()) << tree.error().message;
  EXPECT_EQ(tree->root()->items().size(), 1);
}

TEST(PickleLimitTest, Memory) {
  const std::string bytes = Assemble("5D 28 ") + std::string(5000, '}') + Assemble("65 2E");
  const auto parses = [&bytes](uint64_t base) {
    Limits limits;
    limits.parse_memory_base_bytes = base;
    const auto tree = Parse(std::as_bytes(std::span(bytes)), "p", limits);
    if (!tree) {
      EXPECT_EQ(tree.error().code, ErrorCode::kLimitExceeded);
      EXPECT_THAT(tree.error().message, HasSubstr("the values need too much memory"));
    }
    return tree.has_value();
  };
  uint64_t fails = 0, works = 1 << 20;
  ASSERT_TRUE(parses(works));
  while (works - fails > 1) (parses((fails + works) / 2) ? works : fails) = (fails + works) / 2;
  EXPECT_FALSE(parses(works - 1));
  EXPECT_TRUE(parses(works));
  EXPECT_TRUE(parses(works + 1));
  // Each `}` takes 12 bytes as a dict and 4 in the list, besides those of the stack.
  EXPECT_GT(works, 5000 * (12 + 4 + 4) - 2 * bytes.size());
}

TEST(PickleLimitTest, CopiesOfSharedValuesAreCharged) {
  Limits limits;
  limits.parse_memory_base_bytes = 1_MiB;
  const std::string text = "58 u32:100000 '" + std::string(100'000, 'a') + "' ";
  const std::string globals = "80 04 " + text + "71 00 " + Repeat("68 00 68 00 93", 200);
  EXPECT_THAT(Load(globals, limits), HasSubstr("the values need too much memory"));
  const std::string encoded =
      "63 '_codecs' / 'encode' / 71 00 " + text + "8C 06 'latin1' 86 71 01 " + Repeat("68 00 68 01 52", 200);
  EXPECT_THAT(Load(encoded, limits), HasSubstr("the values need too much memory"));
  const std::string sets = "63 'builtins' / 'set' / 71 00 5D 28 " + Repeat("4E", 20'000) + "65 85 71 01 " +
                           Repeat("68 00 68 01 52", 200);
  EXPECT_THAT(Load(sets, limits), HasSubstr("the values need too much memory"));
}

TEST(PickleLimitTest, ATreeCostsAboutTwiceItsStream) {
  // Tensors as torch writes them.
  std::string source = "80 02 63 'collections' / 'OrderedDict' / 71 00 29 52 71 01 28 ";
  source += "63 'torch._utils' / '_rebuild_tensor_v2' / 71 02 30 63 'torch' / 'FloatStorage' / 71 03 30 ";
  source += "58 u32:7 'storage' 71 04 30 58 u32:3 'cpu' 71 05 30 ";
  uint32_t memo = 6;
  const auto put = [&memo] { return fmt::format("72 u32:{} ", memo++); };
  for (int i = 0; i < 20'000; ++i) {
    source += fmt::format("58 u32:36 'model.layers.{:06}.attention.weight' ", i) + put() +
              "68 02 28 28 68 04 68 03 ";
    source += fmt::format("58 u32:6 '{:06}' ", i) + put() + "68 05 4A 00 00 00 01 74 " + put() +
              "51 4B 00 4D 00 10 4D 00 10 86 ";
    source +=
        put() + "4D 00 10 4B 01 86 " + put() + "89 68 00 29 52 " + put() + "74 " + put() + "52 " + put();
  }
  const std::string bytes = Assemble(source + "75 2E");
  const auto tree = Parse(std::as_bytes(std::span(bytes)), "p", Limits{});
  ASSERT_TRUE(tree.has_value()) << tree.error().message;
  EXPECT_EQ(tree->root()->pairs().size(), 20'000);
  EXPECT_LT(tree->memory_bytes(), 2 * bytes.size());
}

}  // namespace
}  // namespace weightfs::pickle
