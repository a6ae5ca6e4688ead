// Which mapping of a pickled file is the state dict, and what it flattens to.
#include "tests/unit/source/torch_test_util.h"

namespace weightfs::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

PickledValue T() { return TorchVector("0", 1); }

PickledPairs Keys(const std::vector<std::pair<std::string, PickledValue>>& pairs) {
  PickledPairs result;
  for (const auto& [key, value] : pairs) result.emplace_back(PickleText(key), value);
  return result;
}
PickledValue D(const std::vector<std::pair<std::string, PickledValue>>& pairs) {
  return PickleDict(Keys(pairs));
}

std::string FileOf(const PickledValue& root) { return TorchZip(root, {{"0", Floats({1})}}); }

Result<Checkpoint> Read(const PickledValue& root, const std::string& weights = {}) {
  return ReadCheckpoint(FileOf(root), TestContext({}, weights));
}

std::vector<std::string> NamesOf(const PickledValue& root, const std::string& weights = {}) {
  const Result<Checkpoint> read = Read(root, weights);
  EXPECT_TRUE(read.has_value()) << (read ? "" : read.error().message);
  return read ? Names(*read) : std::vector<std::string>{};
}

std::vector<std::string> LeftOutOf(const PickledValue& root, const std::string& weights = {}) {
  const Result<Checkpoint> read = Read(root, weights);
  EXPECT_TRUE(read.has_value()) << (read ? "" : read.error().message);
  std::vector<std::string> result;
  if (read)
    for (const LeftOut& left_out : read->left_out) result.push_back(left_out.path + ": " + left_out.reason);
  return result;
}

Error ErrorOf(const PickledValue& root, const std::string& weights = {}) {
  return ReadError(FileOf(root), TestContext({}, weights));
}

PickledValue Module(std::string_view name, const PickledPairs& parameters, const PickledPairs& buffers,
                    const PickledPairs& modules, const PickledPairs& more = {}) {
  PickledPairs state = Keys({{"training", PickleBool(true)},
                             {"_parameters", PickleDict(parameters)},
                             {"_buffers", PickleDict(buffers)},
                             {"_modules", PickleDict(modules)}});
  state.insert(state.end(), more.begin(), more.end());
  return PickleBuild(PickleNew(PickleGlobal("my.nets", name), {}), PickleDict(state));
}

TEST(StateDictTest, TakesTheRootOfTensors) {
  EXPECT_THAT(NamesOf(D({{"b", T()}, {"a", T()}, {"model", T()}})), ElementsAre("b", "a", "model"));
  EXPECT_THAT(LeftOutOf(D({{"b", T()}})), IsEmpty());
}

TEST(StateDictTest, TakesTheFirstUsualNameAgainAndAgain) {
  const PickledValue inner = D({{"w", T()}});
  EXPECT_THAT(NamesOf(D({{"ema", D({{"e", T()}})}, {"state_dict", inner}, {"epoch", PickleInt(1)}})),
              ElementsAre("w"));
  EXPECT_THAT(NamesOf(D({{"model", D({{"state_dict", inner}, {"step", PickleInt(1)}})}})), ElementsAre("w"));
  EXPECT_THAT(NamesOf(D({{"model", D({{"enc", inner}, {"dec", inner}})}})), ElementsAre("enc.w", "dec.w"));
  EXPECT_THAT(NamesOf(D({{"state_dict", D({{"x", PickleInt(1)}})}, {"model", inner}})), ElementsAre("w"));
  for (const char* key : {"state_dict", "model_state_dict", "model_state", "model", "module", "net",
                          "network", "params_ema", "params", "weights", "ema", "generator"})
    EXPECT_THAT(NamesOf(D({{"other", D({{"o", T()}})}, {key, inner}})), ElementsAre("w")) << key;
}

TEST(StateDictTest, FallsBackToARootWithSomeTensors) {
  const PickledValue root =
      D({{"w", T()}, {"step", PickleInt(3)}, {"sub", D({{"x", T()}})}, {"none", PickleNone()}});
  EXPECT_THAT(NamesOf(root), ElementsAre("w", "sub.x"));
  EXPECT_THAT(LeftOutOf(root), ElementsAre("step: int", "none: NoneType"));
}

TEST(StateDictTest, AsksWhenNoNameIsUsual) {
  const PickledValue root = D({{"netG", D({{"w", T()}})}, {"netD", D({{"w", T()}, {"b", T()}})}});
  const Error error = ErrorOf(root);
  EXPECT_EQ(error.code, ErrorCode::kAmbiguous);
  EXPECT_THAT(error.message, HasSubstr("'netG' (1 tensor), 'netD' (2 tensors)"));
  EXPECT_THAT(error.remedy, HasSubstr("--weights"));
  EXPECT_THAT(NamesOf(root, "netD"), ElementsAre("w", "b"));
  EXPECT_THAT(NamesOf(root, "."), ElementsAre("netG.w", "netD.w", "netD.b"));
  EXPECT_THAT(LeftOutOf(root, "netD"), ElementsAre("netG: dict of 1 tensor, not the state dict"));
}

TEST(StateDictTest, FollowsKeyPaths) {
  const PickledValue root = D({{"model", D({{"a.b", D({{"c", D({{"w", T()}})}})}})}, {"x", PickleInt(1)}});
  EXPECT_THAT(NamesOf(root, "model.a.b.c"), ElementsAre("w"));
  EXPECT_THAT(NamesOf(root, "model"), ElementsAre("a.b.c.w"));
  for (const char* path : {"x", "model.a", "nope", "model.a.b.c.w", "model."}) {
    const Error error = ErrorOf(root, path);
    EXPECT_EQ(error.code, ErrorCode::kInvalidArgument) << path;
    EXPECT_THAT(error.message, HasSubstr("expected one of: 'model' (1 tensor)"));
  }
}

TEST(StateDictTest, ListsTheCandidates) {
  const auto read = Read(D({{"model", D({{"w", T()}})}, {"optimizer", D({{"state", D({{"m", T()}})}})}}));
  ASSERT_TRUE(read.has_value());
  std::vector<std::string> shown;
  for (const MappingCandidate& candidate : read->candidates)
    shown.push_back(candidate.path + " " + std::to_string(candidate.tensor_count) + " " +
                    std::to_string(candidate.size_bytes) + (candidate.chosen ? " chosen" : ""));
  EXPECT_THAT(shown, ElementsAre(" 2 8", "model 1 4 chosen", "optimizer 1 4", "optimizer.state 1 4"));
}

TEST(StateDictTest, WalksModules) {
  const PickledValue names = PickleCall(PickleGlobal("builtins", "set"), {PickleList({PickleText("np")})});
  const PickledValue inner = Module("Inner", Keys({{"weight", T()}, {"bias", PickleNone()}}), {}, {});
  const PickledValue module =
      Module("Net", Keys({{"p", T()}}), Keys({{"buf", T()}, {"np", T()}, {"gone", PickleNone()}}),
             Keys({{"fc", inner}, {"act", Module("Act", {}, {}, {})}, {"none", PickleNone()}}),
             Keys({{"_non_persistent_buffers_set", names}, {"plain", T()}}));
  EXPECT_THAT(NamesOf(module), ElementsAre("p", "buf", "fc.weight"));
  EXPECT_THAT(NamesOf(D({{"model", module}, {"epoch", PickleInt(1)}})), ElementsAre("p", "buf", "fc.weight"));
  EXPECT_THAT(LeftOutOf(D({{"model", module}})),
              ElementsAre("model.plain: tensor that is an attribute of a module, not in its state dict",
                          "model.np: non-persistent buffer"));
}

TEST(StateDictTest, RefusesOtherRootsByType) {
  EXPECT_THAT(ErrorOf(T()).message, HasSubstr("one tensor (a torch.Tensor)"));
  EXPECT_THAT(ErrorOf(PickleList({T(), T()})).message, HasSubstr("a list of 2 values"));
  EXPECT_THAT(ErrorOf(PickleTuple({T()})).message, HasSubstr("a tuple of 1 value"));
  EXPECT_THAT(ErrorOf(PickleInt(7)).message, HasSubstr("type int"));
  EXPECT_THAT(ErrorOf(PickleCall(PickleGlobal("torch.fx.graph_module", "reduce_graph_module"), {})).message,
              HasSubstr("torch.fx"));
  EXPECT_THAT(ErrorOf(PickleNew(PickleGlobal("my.lib", "Config"), {})).message,
              HasSubstr("type my.lib.Config"));
  EXPECT_THAT(ErrorOf(D({{"epoch", PickleInt(7)}})).message,
              HasSubstr("no tensors, only a dict of epoch: int"));
  for (const PickledValue& root : {T(), PickleList({T()}), PickleInt(7)})
    EXPECT_EQ(ErrorOf(root).code, ErrorCode::kUnsupported);
}

TEST(StateDictTest, ServesAnEmptyDictWithAWarning) {
  const auto read = Read(PickleDict({}));
  ASSERT_TRUE(read.has_value());
  EXPECT_THAT(read->tensors, IsEmpty());
  EXPECT_THAT(read->warnings, ElementsAre("file.pt: the state dict is empty"));
}

TEST(StateDictTest, IntegerKeysAreDecimalText) {
  EXPECT_THAT(NamesOf(PickleDict({{PickleInt(0), T()}, {PickleText("1"), T()}, {PickleInt(-2), T()}})),
              ElementsAre("0", "1", "-2"));
  const Error error = ErrorOf(PickleDict({{PickleTuple({PickleInt(0)}), T()}}));
  EXPECT_EQ(error.code, ErrorCode::kUnsupported);
  EXPECT_THAT(error.message, HasSubstr("of type tuple"));
}

TEST(StateDictTest, RefusesNamesThatCannotBeServed) {
  EXPECT_THAT(ErrorOf(D({{"a", D({{"b", T()}})}, {"a.b", T()}})).message,
              HasSubstr("more than one tensor has: 'a.b'"));
  EXPECT_THAT(ErrorOf(PickleDict({{PickleInt(0), T()}, {PickleText("0"), T()}})).message, HasSubstr("'0'"));
  EXPECT_THAT(ErrorOf(D({{"__metadata__", T()}})).message, HasSubstr("'__metadata__'"));
  EXPECT_THAT(ErrorOf(D({{"x\xED\xA0\x80", T()}})).message, HasSubstr("'x\\xed\\xa0\\x80'"));
  EXPECT_THAT(NamesOf(D({{"", T()}, {"a\nb\"c", T()}, {"\xF0\x9F\x98\x80", T()}})),
              ElementsAre("", "a\nb\"c", "\xF0\x9F\x98\x80"));
}

TEST(StateDictTest, ACycleNamesItsPath) {
  // {"w": T, "a": {"b": <the root>}}
  const PickledValue root =
      PicklePut("}", 1) + "(" + PickleText("w") + T() + PickleText("a") + D({{"b", PickleGet(1)}}) + "u";
  const Error error = ErrorOf(root);
  EXPECT_EQ(error.code, ErrorCode::kCorrupt);
  EXPECT_THAT(error.message, HasSubstr("'a.b' contains itself"));
  // A cycle beside the state dict does no harm.
  const PickledValue loop = PicklePut("}", 1) + "(" + PickleText("me") + PickleGet(1) + "u";
  EXPECT_THAT(NamesOf(D({{"state_dict", D({{"w", T()}})}, {"loop", loop}})), ElementsAre("w"));
  EXPECT_THAT(ErrorOf(D({{"w", T()}, {"loop", loop}})).message, HasSubstr("'loop.me' contains itself"));
}

/// A mapping of 2^depth tensors in a few hundred bytes: each level has the one below twice.
PickledValue Laughs(int depth) {
  PickledValue value = PicklePut(D({{"w", T()}}), 0);
  for (int i = 1; i <= depth; ++i)
    value = PicklePut(D({{"a", value}, {"b", PickleGet(static_cast<uint32_t>(i - 1))}}),
                      static_cast<uint32_t>(i));
  return value;
}

TEST(StateDictTest, SharedMappingsAreExpandedWithinBounds) {
  EXPECT_EQ(NamesOf(D({{"model", Laughs(8)}})).size(), 256u);
  const Error error = ErrorOf(D({{"model", Laughs(40)}}));
  EXPECT_EQ(error.code, ErrorCode::kLimitExceeded);
  EXPECT_THAT(error.message, HasSubstr("shared again and again"));
}

TEST(StateDictTest, BoundsTheBytesOfNames) {
  PickledPairs many;
  for (int i = 0; i < 40; ++i) many.emplace_back(PickleText(std::to_string(i)), T());
  const auto root = [&](size_t prefix) {
    return D({{"model", PickleDict({{PickleText(std::string(prefix, 'x')), PickleDict(many)}})}});
  };
  EXPECT_EQ(NamesOf(root(100'000)).size(), 40u);
  const Error error = ErrorOf(root(1 << 20));
  EXPECT_EQ(error.code, ErrorCode::kLimitExceeded);
  EXPECT_THAT(error.message, HasSubstr("names of the tensors take too many bytes"));
}

TEST(StateDictTest, BoundsTheNumberOfTensors) {
  const std::string file = FileOf(D({{"a", T()}, {"b", T()}, {"c", T()}}));
  for (const auto& [limit, fits] : {std::pair{2u, false}, {3u, true}, {4u, true}}) {
    Limits limits;
    limits.tensors_max = limit;
    const auto read = ReadCheckpoint(file, TestContext(limits));
    EXPECT_EQ(read.has_value(), fits) << limit;
    if (!fits) {
      EXPECT_EQ(read.error().code, ErrorCode::kLimitExceeded);
    }
  }
}

TEST(StateDictTest, CallsAreNeverMade) {
  // What would run a command stays a value of a class that is not known.
  const PickledValue bomb = PickleCall(PickleGlobal("os", "system"), {PickleText("touch canary")});
  EXPECT_THAT(NamesOf(D({{"w", T()}, {"x", bomb}})), ElementsAre("w"));
  EXPECT_THAT(LeftOutOf(D({{"w", T()}, {"x", bomb}})), ElementsAre("x: opaque: os.system"));
}

}  // namespace
}  // namespace weightfs::testing
