#include "tests/unit/pickle/pickle_test_util.h"

namespace weightfs::pickle {
namespace {

using testing::Assemble;
using ::testing::HasSubstr;
using testing::Load;
using testing::ParseBytes;
using ::testing::StartsWith;

constexpr std::string_view kOrderedDict = "63 'collections' / 'OrderedDict' / ";

std::string After(std::string_view first, std::string_view rest) {
  return std::string(first) + std::string(rest);
}

TEST(PickleCallTest, Globals) {
  EXPECT_EQ(Load("63 'torch._utils' / '_rebuild_tensor_v2' / 2E"), "torch._utils._rebuild_tensor_v2");
  EXPECT_EQ(Load("80 04 8C 02 'os' 8C 06 'system' 93 2E"), "os.system");
  EXPECT_EQ(Load("80 04 8C 01 'a' 8C 03 'b.c' 93 2E"), "a.b.c");
  EXPECT_EQ(Load("63 'a' 0D / 'b' 0D / 2E"), "a\r.b\r");
}

TEST(PickleCallTest, Python2NamesAreMapped) {
  EXPECT_EQ(Load("63 '__builtin__' / 'set' / 2E"), "builtins.set");
  EXPECT_EQ(Load("63 'copy_reg' / '_reconstructor' / 2E"), "copyreg._reconstructor");
  EXPECT_EQ(Load("80 02 63 'cPickle' / 'loads' / 2E"), "pickle.loads");
  EXPECT_EQ(Load("63 '__builtin__' / 'unicode' / 2E"), "builtins.str");
  EXPECT_EQ(Load("63 'exceptions' / 'ValueError' / 2E"), "builtins.ValueError");
  // From protocol 3 on, Python itself does not map either.
  EXPECT_EQ(Load("80 03 63 '__builtin__' / 'set' / 2E"), "__builtin__.set");
}

TEST(PickleCallTest, BadGlobalsAreCorrupt) {
  EXPECT_THAT(Load("63 / 'b' / 2E"), HasSubstr("a global without a module or a name"));
  EXPECT_THAT(Load("63 'a' / / 2E"), HasSubstr("a global without a module or a name"));
  EXPECT_THAT(Load("63 FF / 'b' / 2E"), HasSubstr("a global whose name is not UTF-8"));
  EXPECT_THAT(Load("4B 01 8C 01 'a' 93 2E"),
              HasSubstr("a global named by a int and a str; expected two texts"));
  EXPECT_THAT(Load("8C 01 'a' 43 01 'b' 93 2E"), HasSubstr("a global named by a str and a bytes"));
  EXPECT_THAT(Load("63 'a'"), StartsWith("corrupt"));
}

TEST(PickleCallTest, CallsStayCalls) {
  EXPECT_EQ(Load("63 'os' / 'system' / 8C 07 'echo hi' 85 52 2E"), "os.system('echo hi')");
  EXPECT_EQ(Load("63 'a' / 'B' / 29 81 2E"), "a.B()");
  EXPECT_EQ(Load("63 'a' / 'B' / 4B 01 85 7D 8C 01 'k' 4B 02 73 92 2E"), "a.B(1, {'k': 2})");
  EXPECT_EQ(Load("63 'a' / 'B' / 29 81 7D 8C 01 'x' 4B 01 73 62 2E"), "a.B()!{'x': 1}");
  EXPECT_EQ(Load("63 'a' / 'B' / 29 81 4B 01 62 4B 02 62 2E"), "a.B()!2");
  // The result of a call can be called, and so can what a persistent id stands for.
  EXPECT_EQ(Load("63 'builtins' / 'getattr' / 29 52 4B 01 85 52 2E"), "builtins.getattr()(1)");
  EXPECT_EQ(Load("8C 01 'm' 51 29 81 2E"), "<'m'>()");
}

TEST(PickleCallTest, WrongOperandsAreCorrupt) {
  EXPECT_THAT(Load("4B 01 29 52 2E"), HasSubstr("a call of a int; expected a global"));
  EXPECT_THAT(Load("63 'a' / 'B' / 5D 52 2E"),
              HasSubstr("a call whose arguments are a list; expected a tuple"));
  EXPECT_THAT(Load("8C 01 'a' 29 81 2E"), HasSubstr("a call of a str"));
  EXPECT_THAT(Load("63 'a' / 'B' / 29 4E 92 2E"), HasSubstr("keyword arguments that are a NoneType"));
  EXPECT_THAT(Load("7D 7D 62 2E"),
              HasSubstr("corrupt: p: offset 2: a state set on a dict; expected an object"));
  EXPECT_THAT(Load("63 'a' / 'B' / 7D 62 2E"),
              StartsWith("unsupported: p: offset 6: a state set on a reference to a.B"));
}

TEST(PickleCallTest, PersistentIds) {
  const auto tree = ParseBytes(Assemble("8C 07 'storage' 8C 01 '0' 86 51 2E"));
  ASSERT_TRUE(tree.has_value());
  EXPECT_TRUE(tree->root()->Is(Kind::kPersistent));
  ASSERT_EQ(tree->root()->items().size(), 1);
  EXPECT_EQ(tree->root()->items()[0]->items()[1]->text(), "0");
}

TEST(PickleCallTest, MappingsByCall) {
  EXPECT_EQ(Load(After(kOrderedDict, "29 52 8C 01 'a' 4B 01 73 2E")), "collections.OrderedDict(){'a': 1}");
  const auto empty = ParseBytes(Assemble(After(kOrderedDict, "29 52 2E")));
  ASSERT_TRUE(empty.has_value());
  EXPECT_TRUE(empty->root()->IsMapping());
  EXPECT_TRUE(empty->root()->IsCall("collections.OrderedDict"));
  EXPECT_EQ(empty->root()->Find("a"), nullptr);
  // Attributes of an OrderedDict are its state, not its items.
  EXPECT_EQ(Load(After(kOrderedDict, "29 52 7D 8C 09 '_metadata' 4E 73 62 2E")),
            "collections.OrderedDict()!{'_metadata': None}");
  // A dict subclass is a mapping once pairs were set.
  const auto custom = ParseBytes(Assemble("63 'a' / 'D' / 29 81 8C 01 'k' 4B 01 73 2E"));
  ASSERT_TRUE(custom.has_value());
  EXPECT_TRUE(custom->root()->IsMapping());
  EXPECT_EQ(custom->root()->Find("k")->integer(), 1);
  EXPECT_FALSE(ParseBytes(Assemble("63 'a' / 'D' / 29 81 2E"))->root()->IsMapping());
}

TEST(PickleCallTest, MappingsFromTheirConstructor) {
  // Python 2 gives an OrderedDict a list of two-item lists.
  EXPECT_EQ(Load(After(kOrderedDict, "5D 28 5D 28 8C 01 'a' 4B 01 65 8C 01 'b' 4B 02 86 65 85 52 2E")),
            "collections.OrderedDict([['a', 1], ('b', 2)]){'a': 1, 'b': 2}");
  EXPECT_EQ(Load("63 'collections' / 'Counter' / 7D 8C 01 'a' 4B 01 73 85 52 2E"),
            "collections.Counter({'a': 1}){'a': 1}");
  EXPECT_EQ(Load("63 'collections' / 'Counter' / 5D 8C 01 'a' 61 85 52 2E"), "collections.Counter(['a'])");
  EXPECT_EQ(Load("63 'collections' / 'defaultdict' / 63 '__builtin__' / 'int' / 85 52 4B 01 4E 73 2E"),
            "collections.defaultdict(builtins.int){1: None}");
  EXPECT_THAT(Load(After(kOrderedDict, "5D 4B 01 61 85 52 2E")),
              HasSubstr("a mapping made of a int; expected pairs"));
}

TEST(PickleCallTest, ListSubclassesKeepTheirItems) {
  EXPECT_EQ(Load("63 'collections' / 'deque' / 29 52 28 4B 01 4B 02 65 4B 03 61 2E"),
            "collections.deque()[1, 2, 3]");
  EXPECT_THAT(Load("63 'a' / 'B' / 29 81 4E 61 4E 4E 73 2E"), HasSubstr("both a list and a mapping"));
  EXPECT_THAT(Load("63 'a' / 'B' / 29 81 4E 4E 73 4E 61 2E"), HasSubstr("both a mapping and a list"));
}

TEST(PickleCallTest, CallsThatStandForData) {
  constexpr std::string_view kEncode = "63 '_codecs' / 'encode' / ";
  EXPECT_EQ(Load(After(kEncode, "58 u32:3 'a' C3 BF 8C 06 'latin1' 86 52 2E")), "b'a\\xff'");
  EXPECT_EQ(Load(After(kEncode, "8C 02 C4 80 8C 06 'latin1' 86 52 2E")),
            "_codecs.encode('\\xc4\\x80', 'latin1')");
  EXPECT_EQ(Load(After(kEncode, "8C 01 'a' 8C 05 'utf-8' 86 52 2E")), "_codecs.encode('a', 'utf-8')");
  EXPECT_EQ(Load("63 '__builtin__' / 'bytes' / 29 52 2E"), "b''");
  EXPECT_EQ(Load("63 '__builtin__' / 'bytearray' / 8C 02 C3 BF 8C 07 'latin-1' 86 52 2E"), "b'\\xff'");
  EXPECT_EQ(Load("80 03 63 'builtins' / 'bytearray' / 43 01 'a' 85 52 2E"), "b'a'");
  EXPECT_EQ(Load("63 '__builtin__' / 'set' / 5D 28 4B 01 4B 02 65 85 52 2E"), "set{1, 2}");
  EXPECT_EQ(Load("63 '__builtin__' / 'frozenset' / 29 52 2E"), "set{}");
  EXPECT_EQ(Load("63 '__builtin__' / 'set' / 4B 01 85 52 2E"), "builtins.set(1)");
  EXPECT_EQ(Load("63 'a' / 'set' / 29 52 2E"), "a.set()");
}

TEST(PickleCallTest, RefusedOpcodes) {
  for (const auto& [source, name] : std::initializer_list<std::pair<std::string_view, std::string_view>>{
           {"50 '1' / 2E", "PERSID"},
           {"28 69 'os' / 'system' / 2E", "INST"},
           {"28 63 'a' / 'B' / 6F 2E", "OBJ"},
           {"82 01 2E", "EXT1"},
           {"83 01 00 2E", "EXT2"},
           {"84 u32:1 2E", "EXT4"},
           {"97 2E", "NEXT_BUFFER"},
           {"4E 98 2E", "READONLY_BUFFER"}}) {
    EXPECT_THAT(Load(source), StartsWith("unsupported: p: offset ")) << source;
    EXPECT_THAT(Load(source), HasSubstr(fmt::format("opcode {}; expected", name)));
  }
}

TEST(PickleCallTest, TypeNames) {
  const auto name = [](std::string_view source) {
    const auto tree = ParseBytes(Assemble(source));
    return tree ? TypeName(*tree->root()) : tree.error().message;
  };
  EXPECT_EQ(name("4E 2E"), "NoneType");
  EXPECT_EQ(name("8A 0A 6C FC 9C 46 F9 20 6A A8 50 19 2E"), "int");
  EXPECT_EQ(name("7D 2E"), "dict");
  EXPECT_EQ(name(After(kOrderedDict, "29 52 2E")), "collections.OrderedDict");
  EXPECT_EQ(name("63 'a' / 'B' / 2E"), "reference to a.B");
  EXPECT_EQ(name("4E 51 2E"), "persistent id");
  EXPECT_EQ(name("4E 51 29 52 2E"), "object");
  // A name cannot break the line of a message.
  EXPECT_EQ(name("80 04 8C 01 'a' 8C 03 'b' 0A 'c' 93 29 52 2E"), "a.b\\x0ac");
}

TEST(PickleCallTest, LoneSurrogates) {
  EXPECT_TRUE(HasLoneSurrogate("a\xED\xA0\x80"));
  EXPECT_TRUE(HasLoneSurrogate("\xED\xBF\xBF"));
  EXPECT_FALSE(HasLoneSurrogate("\xED\x9F\xBF plain"));
  EXPECT_FALSE(HasLoneSurrogate("\xED"));
  EXPECT_FALSE(HasLoneSurrogate(""));
}

TEST(PickleCallTest, AccessorsOfOtherKindsAreEmpty) {
  const auto tree = ParseBytes(Assemble("4B 07 2E"));
  ASSERT_TRUE(tree.has_value());
  const Node& node = *tree->root();
  EXPECT_TRUE(node.items().empty());
  EXPECT_TRUE(node.pairs().empty());
  EXPECT_EQ(node.text(), "");
  EXPECT_EQ(node.callable(), nullptr);
  EXPECT_EQ(node.arguments(), nullptr);
  EXPECT_EQ(node.state(), nullptr);
  EXPECT_EQ(node.real(), 0);
  EXPECT_EQ(node.Find("a"), nullptr);
  EXPECT_FALSE(node.IsCall("a"));
  EXPECT_EQ(node.CallName(), "");
  EXPECT_EQ(ParseBytes(Assemble("4E 88 86 2E"))->root()->items()[1]->offset_bytes(), 1);
}

}  // namespace
}  // namespace weightfs::pickle
