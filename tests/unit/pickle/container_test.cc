#include "tests/unit/pickle/pickle_test_util.h"

namespace weightfs::pickle {
namespace {

using ::testing::HasSubstr;
using testing::Load;
using testing::ParseBytes;
using testing::Render;
using ::testing::StartsWith;

TEST(PickleContainerTest, Tuples) {
  EXPECT_EQ(Load("29 2E"), "()");
  EXPECT_EQ(Load("4B 01 85 2E"), "(1)");
  EXPECT_EQ(Load("4B 01 4B 02 86 2E"), "(1, 2)");
  EXPECT_EQ(Load("4B 01 4B 02 4B 03 87 2E"), "(1, 2, 3)");
  EXPECT_EQ(Load("28 4B 01 4B 02 4B 03 4B 04 74 2E"), "(1, 2, 3, 4)");
  EXPECT_EQ(Load("28 74 2E"), "()");
}

TEST(PickleContainerTest, Lists) {
  EXPECT_EQ(Load("5D 2E"), "[]");
  EXPECT_EQ(Load("5D 4E 61 2E"), "[None]");
  EXPECT_EQ(Load("5D 28 4B 01 4B 02 65 28 4B 03 65 2E"), "[1, 2, 3]");
  EXPECT_EQ(Load("5D 28 65 2E"), "[]");
  EXPECT_EQ(Load("28 4B 01 4B 02 6C 2E"), "[1, 2]");
}

TEST(PickleContainerTest, Dicts) {
  EXPECT_EQ(Load("7D 2E"), "{}");
  EXPECT_EQ(Load("7D 8C 01 'a' 4B 01 73 2E"), "{'a': 1}");
  EXPECT_EQ(Load("7D 28 8C 01 'a' 4B 01 8C 01 'b' 4B 02 75 28 8C 01 'c' 4B 03 75 2E"),
            "{'a': 1, 'b': 2, 'c': 3}");
  EXPECT_EQ(Load("28 8C 01 'a' 4B 01 8C 01 'b' 4B 02 64 2E"), "{'a': 1, 'b': 2}");
  EXPECT_EQ(Load("7D 29 4E 73 2E"), "{(): None}");
}

TEST(PickleContainerTest, Sets) {
  EXPECT_EQ(Load("8F 28 4B 01 4B 02 90 2E"), "set{1, 2}");
  EXPECT_EQ(Load("28 4B 01 91 2E"), "set{1}");
}

TEST(PickleContainerTest, TheLastOfEqualKeysWinsInTheFirstPlace) {
  EXPECT_EQ(Load("7D 28 8C 01 'a' 4B 01 8C 01 'b' 4B 02 8C 01 'a' 4B 03 75 2E"), "{'a': 3, 'b': 2}");
  // Numbers are equal across types, as in Python; text and bytes are not.
  EXPECT_EQ(Load("7D 28 4B 01 4E 88 4B 02 47 3F F0 00 00 00 00 00 00 4B 03 75 2E"), "{1: 3}");
  EXPECT_EQ(Load("7D 28 8C 01 'a' 4B 01 43 01 'a' 4B 02 8C 01 '1' 4E 4B 01 4E 75 2E"),
            "{'a': 1, b'a': 2, '1': None, 1: None}");
  // Python 2 text is equal to text.
  EXPECT_EQ(Load("7D 28 55 01 'a' 4B 01 8C 01 'a' 4B 02 75 2E"), "{'a': 2}");
  // Equal wide integers, whole floats and big integers.
  EXPECT_EQ(Load("7D 28 8A 05 00 00 00 00 01 4B 01 47 41 F0 00 00 00 00 00 00 4B 02 75 2E"),
            "{4294967296: 2}");
  EXPECT_EQ(Load("7D 28 8A 09 00 00 00 00 00 00 00 00 01 4B 01 8A 09 00 00 00 00 00 00 00 00 01 4B 02 75 2E"),
            "{int:'\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x01': 2}");
}

TEST(PickleContainerTest, EqualKeysAmongMany) {
  std::string source = "7D 28 ";
  for (int round = 0; round < 2; ++round)
    for (int i = 0; i < 300; ++i)
      source += fmt::format("8C 03 '{:03}' 4D {:02X} {:02X} ", i, i % 256, i / 256 + 2 * round);
  const auto tree = ParseBytes(testing::Assemble(source + "75 2E"));
  ASSERT_TRUE(tree.has_value()) << tree.error().message;
  ASSERT_EQ(tree->root()->pairs().size(), 300);
  for (int i = 0; i < 300; ++i) {
    EXPECT_EQ(tree->root()->pairs()[static_cast<size_t>(i)].key->text(), fmt::format("{:03}", i));
    EXPECT_EQ(tree->root()->pairs()[static_cast<size_t>(i)].value->integer(), i + 512);
  }
  EXPECT_EQ(tree->root()->Find("299")->integer(), 299 + 512);
  EXPECT_EQ(tree->root()->Find("300"), nullptr);
}

TEST(PickleContainerTest, WrongTargetsAreCorrupt) {
  EXPECT_THAT(Load("29 4E 61 2E"), HasSubstr("items appended to a tuple; expected a list"));
  EXPECT_THAT(Load("7D 28 4E 65 2E"), HasSubstr("items appended to a dict; expected a list"));
  EXPECT_THAT(Load("5D 4E 4E 73 2E"), HasSubstr("pairs set on a list; expected a dict"));
  EXPECT_THAT(Load("4B 01 28 4E 4E 75 2E"), HasSubstr("pairs set on a int; expected a dict"));
  EXPECT_THAT(Load("5D 28 4E 90 2E"), HasSubstr("items added to a list; expected a set"));
  EXPECT_THAT(Load("7D 28 4E 75 2E"), HasSubstr("1 keys and values; expected an even number"));
  EXPECT_THAT(Load("28 4E 64 2E"), HasSubstr("1 keys and values; expected an even number"));
  EXPECT_THAT(Load("7D 5D 4E 73 2E"), HasSubstr("a list as the key of a mapping"));
}

TEST(PickleContainerTest, ContainersAreSharedNotCopied) {
  // Memoised empty, filled afterwards: both places see the items.
  EXPECT_EQ(Load("5D 71 00 68 00 86 68 00 28 4B 01 65 30 2E"), "([1], [1])");
  const auto tree = ParseBytes(testing::Assemble("5D 71 00 68 00 86 2E"));
  ASSERT_TRUE(tree.has_value());
  EXPECT_EQ(tree->root()->items()[0], tree->root()->items()[1]);
}

TEST(PickleContainerTest, ValuesInsideThemselves) {
  EXPECT_EQ(Load("5D 71 00 68 00 61 2E"), "[...]");
  EXPECT_EQ(Load("7D 71 00 8C 01 'a' 68 00 73 2E"), "{'a': ...}");
  EXPECT_EQ(Load("5D 71 00 68 00 85 71 01 61 30 68 01 2E"), "([...])");
}

TEST(PickleContainerTest, BillionLaughsCostNothing) {
  // 40 levels of pairs: 2^40 leaves in under 200 bytes.
  std::string dup = "4E ", get = "4E 71 00 30 ";
  for (int i = 0; i < 40; ++i) {
    dup += "32 86 ";
    get += "68 00 68 00 86 71 00 30 ";
  }
  for (const std::string& source : {dup + "2E", get + "68 00 2E"}) {
    const std::string bytes = testing::Assemble(source);
    const auto tree = Parse(std::as_bytes(std::span(bytes)), "p", Limits{});
    ASSERT_TRUE(tree.has_value()) << tree.error().message;
    EXPECT_LT(tree->memory_bytes(), 4096);
    NodePtr node = tree->root();
    int depth = 0;
    for (; node->Is(Kind::kTuple); node = node->items()[0]) ++depth;
    EXPECT_EQ(depth, 40);
  }
}

TEST(PickleContainerTest, ItemsAreARange) {
  const auto tree = ParseBytes(testing::Assemble("28 4B 01 4B 02 4B 03 74 2E"));
  ASSERT_TRUE(tree.has_value());
  const NodeItems items = tree->root()->items();
  static_assert(std::ranges::random_access_range<const NodeItems>);
  EXPECT_EQ(items.subspan(1).size(), 2);
  EXPECT_EQ(items.subspan(1)[0]->integer(), 2);
  EXPECT_EQ(items.back()->integer(), 3);
  EXPECT_TRUE(items.subspan(3).empty());
  EXPECT_EQ(std::ranges::count_if(items, [](NodePtr item) { return item->integer() > 1; }), 2);
}

}  // namespace
}  // namespace weightfs::pickle
