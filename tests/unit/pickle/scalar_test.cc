#include "tests/unit/pickle/pickle_test_util.h"

namespace weightfs::pickle {
namespace {

using testing::Assemble;
using ::testing::HasSubstr;
using testing::Load;
using testing::ParseBytes;
using ::testing::StartsWith;

TEST(PickleScalarTest, Constants) {
  EXPECT_EQ(Load("4E 2E"), "None");
  EXPECT_EQ(Load("88 2E"), "True");
  EXPECT_EQ(Load("89 2E"), "False");
}

TEST(PickleScalarTest, BinaryIntegers) {
  EXPECT_EQ(Load("4B FF 2E"), "255");
  EXPECT_EQ(Load("4D 00 01 2E"), "256");
  EXPECT_EQ(Load("4D FF FF 2E"), "65535");
  EXPECT_EQ(Load("4A FF FF FF FF 2E"), "-1");
  EXPECT_EQ(Load("4A 00 00 00 80 2E"), "-2147483648");
  EXPECT_EQ(Load("4A FF FF FF 07 2E"), "134217727");  // The last that is stored in place.
  EXPECT_EQ(Load("4A 00 00 00 08 2E"), "134217728");
  EXPECT_EQ(Load("4A 00 00 00 F8 2E"), "-134217728");
  EXPECT_EQ(Load("4A FF FF FF F7 2E"), "-134217729");
}

TEST(PickleScalarTest, LongIntegers) {
  EXPECT_EQ(Load("8A 00 2E"), "0");
  EXPECT_EQ(Load("8A 01 80 2E"), "-128");
  EXPECT_EQ(Load("8A 02 80 00 2E"), "128");
  EXPECT_EQ(Load("8A 08 FF FF FF FF FF FF FF 7F 2E"), "9223372036854775807");
  EXPECT_EQ(Load("8A 09 00 00 00 00 00 00 00 80 FF 2E"),
            "-9223372036854775808");  // A byte more than it needs.
  EXPECT_EQ(Load("8A 09 00 00 00 00 00 00 00 80 00 2E"),
            "int:'\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x80\\x00'");
  EXPECT_EQ(Load("8B u32:2 01 80 2E"), "-32767");
  EXPECT_EQ(Load("8A 0A 6C FC 9C 46 F9 20 6A A8 50 19 2E"), "int:'l\\xfc\\x9cF\\xf9 j\\xa8P\\x19'");
}

TEST(PickleScalarTest, Floats) {
  EXPECT_EQ(Load("47 3F F8 00 00 00 00 00 00 2E"), "1.5");
  EXPECT_EQ(Load("46 '-2.5e3' / 2E"), "-2500.0");
  EXPECT_EQ(Load("46 '+1' / 2E"), "1.0");
  EXPECT_EQ(Load("46 '-inf' / 2E"), "-inf");
  EXPECT_EQ(Load("46 'nan' / 2E"), "nan");
  for (const std::string_view bad : {"46 / 2E", "46 '1_0' / 2E", "46 '0x1' / 2E", "46 'nan(1)' / 2E",
                                     "46 ' 1' / 2E", "46 '+-1' / 2E", "46 '1e999' / 2E"})
    EXPECT_THAT(Load(bad), StartsWith("corrupt: p: offset 0: a float that is not decimal")) << bad;
}

TEST(PickleScalarTest, DecimalIntegers) {
  EXPECT_EQ(Load("49 '00' / 2E"), "False");
  EXPECT_EQ(Load("49 '01' / 2E"), "True");
  EXPECT_EQ(Load("49 '0' / 2E"), "0");
  EXPECT_EQ(Load("49 '-0' / 2E"), "0");
  EXPECT_EQ(Load("49 '-12' / 2E"), "-12");
  EXPECT_EQ(Load("4C '9223372036854775807L' / 2E"), "9223372036854775807");
  EXPECT_EQ(Load("4C '-9223372036854775808L' / 2E"), "-9223372036854775808");
  EXPECT_EQ(Load("4C '1000000000000L' / 2E"), "1000000000000");
  EXPECT_EQ(Load("4C '9223372036854775808' / 2E"), "int:'\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x80\\x00'");
  EXPECT_EQ(Load("4C '119547037146038801333356L' / 2E"), "int:'l\\xfc\\x9cF\\xf9 j\\xa8P\\x19'");
  for (const std::string_view bad : {"49 / 2E", "49 '012' / 2E", "49 '0x1' / 2E", "49 '1 ' / 2E",
                                     "4C 'L' / 2E", "4C '1LL' / 2E", "49 '--1' / 2E"})
    EXPECT_THAT(Load(bad), StartsWith("corrupt: p: offset 0: an integer that is not decimal")) << bad;
}

TEST(PickleScalarTest, DecimalDigitsHaveALimit) {
  const std::string digits(4300, '9');
  EXPECT_THAT(Load("4C '" + digits + "L' / 2E"), StartsWith("int:'"));
  EXPECT_THAT(Load("4C '" + digits + "99L' / 2E"),
              StartsWith("limit_exceeded: p: offset 0: a decimal integer"));
}

TEST(PickleScalarTest, UnicodeText) {
  EXPECT_EQ(Load("58 u32:3 'abc' 2E"), "'abc'");
  EXPECT_EQ(Load("8C 02 C3 A9 2E"), "'\\xc3\\xa9'");
  EXPECT_EQ(Load("8D u64:1 'x' 2E"), "'x'");
  EXPECT_EQ(Load("8C 04 F0 9F 98 80 2E"), "'\\xf0\\x9f\\x98\\x80'");
  EXPECT_EQ(Load("8C 0A 'abcdefgh' C3 A9 2E"), "'abcdefgh\\xc3\\xa9'");
  EXPECT_EQ(Load("8C 03 ED A0 80 2E"), "'\\xed\\xa0\\x80'");
}

TEST(PickleScalarTest, TextThatIsNotUtf8IsCorrupt) {
  for (const std::string_view bad : {"8C 01 80 2E", "8C 01 C3 2E", "8C 02 C0 80 2E", "8C 02 C3 28 2E",
                                     "8C 03 E0 80 80 2E", "8C 04 F0 80 80 80 2E", "8C 04 F4 90 80 80 2E",
                                     "8C 04 F5 80 80 80 2E", "8C 02 E2 82 2E", "8C 09 'abcdefgh' FF 2E"})
    EXPECT_THAT(Load(bad), StartsWith("corrupt: p: offset 0: text that is not UTF-8")) << bad;
}

TEST(PickleScalarTest, EscapedText) {
  EXPECT_EQ(Load("56 'a\\u00e9b' / 2E"), "'a\\xc3\\xa9b'");
  EXPECT_EQ(Load("56 E9 / 2E"), "'\\xc3\\xa9'");
  EXPECT_EQ(Load("56 '\\U0001f600' / 2E"), "'\\xf0\\x9f\\x98\\x80'");
  EXPECT_EQ(Load("56 '\\ud800' / 2E"), "'\\xed\\xa0\\x80'");
  EXPECT_EQ(Load("56 '\\\\u0041\\n\\' / 2E"), "'\\\\u0041\\n\\'");
  EXPECT_EQ(Load("56 '\\u005cu0041' / 2E"), "'\\u0041'");
  for (const std::string_view bad : {"56 '\\u004' / 2E", "56 '\\U00110000' / 2E", "56 '\\uzzzz' / 2E"})
    EXPECT_THAT(Load(bad), HasSubstr("a UNICODE with a bad escape")) << bad;
}

TEST(PickleScalarTest, Bytes) {
  EXPECT_EQ(Load("43 02 00 FF 2E"), "b'\\x00\\xff'");
  EXPECT_EQ(Load("42 u32:1 'a' 2E"), "b'a'");
  EXPECT_EQ(Load("8E u64:1 'a' 2E"), "b'a'");
  EXPECT_EQ(Load("96 u64:1 'a' 2E"), "b'a'");
}

TEST(PickleScalarTest, Python2Strings) {
  EXPECT_EQ(Load("55 03 'abc' 2E"), "'abc'");
  EXPECT_EQ(Load("54 u32:1 'a' 2E"), "'a'");
  EXPECT_EQ(Load("55 02 C3 A9 2E"), "'\\xc3\\xa9'");  // UTF-8, as torch decodes them.
  EXPECT_EQ(Load("55 01 FF 2E"), "b'\\xff'");
  EXPECT_EQ(Load("55 03 ED A0 80 2E"), "b'\\xed\\xa0\\x80'");
  EXPECT_THAT(Load("54 FF FF FF FF 2E"), HasSubstr("a string of negative size"));
}

TEST(PickleScalarTest, QuotedPython2Strings) {
  const std::string backslashes = Assemble("53") + "'a\\n\\x41\\101\\0\\'\\\"\\\\\\q\\t'\n.";
  const auto tree = ParseBytes(backslashes);
  ASSERT_TRUE(tree.has_value()) << tree.error().message;
  EXPECT_EQ(tree->root()->text(), std::string_view("a\nAA\0'\"\\\\q\t", 11));
  EXPECT_EQ(Load("53 '\"it\"' / 2E"), "'it'");
  for (const std::string_view bad : {"abc", "'abc", "'", "", "'a\"", "\"a\\\"", "\"\\x4\""}) {
    const auto refused = ParseBytes("S" + std::string(bad) + "\n.");
    ASSERT_FALSE(refused.has_value()) << bad;
    EXPECT_THAT(refused.error().message, HasSubstr("a STRING ")) << bad;
  }
}

TEST(PickleScalarTest, SizesBeyondTheStreamAreCorrupt) {
  for (const std::string_view bad :
       {"58 u32:4294967295 'abc'", "8D u64:18446744073709551615 'abc'", "8E u64:9223372036854775807",
        "42 u32:9 2E", "8B u32:2147483647", "8A 09 00", "4A 00", "47 00", "55", "49 '1'", "96 u64:4 2E"})
    EXPECT_THAT(Load(bad), AllOf(StartsWith("corrupt: p: offset 0: "), HasSubstr("are left; expected")))
        << bad;
  EXPECT_THAT(Load("8B FF FF FF FF 2E"), HasSubstr("an integer of negative size"));
}

}  // namespace
}  // namespace weightfs::pickle
