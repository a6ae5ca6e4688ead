// The values beside the tensors of a pickled file.
#include <nlohmann/json.hpp>

#include "tests/support/safetensors_writer.h"
#include "tests/unit/source/torch_test_util.h"

namespace weightfs::testing {
namespace {

using nlohmann::json;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

PickledValue T() { return TorchVector("0", 1); }

PickledPairs Keys(const std::vector<std::pair<std::string, PickledValue>>& pairs) {
  PickledPairs result;
  for (const auto& [key, value] : pairs) result.emplace_back(PickleText(key), value);
  return result;
}
PickledValue D(const std::vector<std::pair<std::string, PickledValue>>& pairs) {
  return PickleDict(Keys(pairs));
}
PickledValue Object(std::string_view name, const PickledValue& state) {
  return PickleBuild(PickleNew(PickleGlobal("my.things", name), {}), state);
}

Checkpoint ReadRoot(const PickledValue& root, const Limits& limits = {}, const std::string& weights = {}) {
  const Result<Checkpoint> read =
      ReadCheckpoint(TorchZip(root, {{"0", Floats({1})}}), TestContext(limits, weights));
  EXPECT_TRUE(read.has_value()) << (read ? "" : read.error().message);
  return read.value_or(Checkpoint{});
}

/// The values as JSON text; "none" for nullptr.
std::string ValuesOf(const PickledValue& root, const Limits& limits = {}, const std::string& weights = {}) {
  const Checkpoint checkpoint = ReadRoot(root, limits, weights);
  return checkpoint.values == nullptr ? "none" : checkpoint.values->dump();
}

/// The values of a checkpoint whose root has the state dict and `key`.
std::string ValueOf(const PickledValue& value, const Limits& limits = {}) {
  return ValuesOf(D({{"model", D({{"w", T()}})}, {"v", value}}), limits);
}

std::vector<std::string> BeyondOf(const PickledValue& root, const Limits& limits) {
  std::vector<std::string> result;
  for (const LeftOut& left_out : ReadRoot(root, limits).left_out)
    if (left_out.reason.starts_with("metadata")) result.push_back(left_out.path + ": " + left_out.reason);
  return result;
}

PickledValue NestedLists(size_t depth) {
  PickledValue value = PickleInt(1);
  for (size_t i = 0; i < depth; ++i) value = PickleList({value});
  return value;
}

TEST(TorchValues, AreScalars) {
  EXPECT_EQ(ValueOf(PickleInt(-7)), R"({"v":-7})");
  EXPECT_EQ(ValueOf(PickleBool(true)), R"({"v":true})");
  EXPECT_EQ(ValueOf(PickleNone()), R"({"v":null})");
  EXPECT_EQ(ValueOf(PickleText("é")), R"({"v":"é"})");
  EXPECT_EQ(ValueOf("G" + std::string("\x3f\xe0\0\0\0\0\0\0", 8)), R"({"v":0.5})");
  EXPECT_EQ(ValueOf(PickleGlobal("torch", "float32")), R"({"v":"torch.float32"})");
}

TEST(TorchValues, AreWideIntegersWhileTheyFit) {
  // LONG1 of 9 bytes: 2^64 - 1, 2^64, and -(2^64).
  EXPECT_EQ(ValueOf("\x8A\x09" + std::string(8, '\xFF') + std::string(1, '\0')),
            R"({"v":18446744073709551615})");
  EXPECT_EQ(ValueOf("\x8A\x09" + std::string(8, '\0') + "\x01"), R"({"v":1.8446744073709552e+19})");
  EXPECT_EQ(ValueOf("\x8A\x09" + std::string(8, '\0') + "\xFF"), R"({"v":-1.8446744073709552e+19})");
}

TEST(TorchValues, AreContainers) {
  EXPECT_EQ(ValueOf(PickleList({PickleInt(1), PickleTuple({PickleText("a")})})), R"({"v":[1,["a"]]})");
  EXPECT_EQ(ValueOf(PickleCall(PickleGlobal("builtins", "set"), {PickleList({PickleInt(3)})})),
            R"({"v":[3]})");
  EXPECT_EQ(ValueOf(PickleDict({{PickleInt(2), PickleInt(1)}, {PickleText("b"), PickleNone()}})),
            R"({"v":{"2":1,"b":null}})");
  EXPECT_EQ(ValueOf(EmptyOrderedDict()), R"({"v":{}})");
}

TEST(TorchValues, AreAttributesOfObjects) {
  const PickledValue state = D({{"n_layer", PickleInt(2)}, {"sub", Object("B", D({{"x", PickleInt(1)}}))}});
  EXPECT_EQ(ValueOf(Object("Config", state)), R"({"v":{"n_layer":2,"sub":{"x":1}}})");
  // argparse.Namespace as protocol 2 writes it: copyreg._reconstructor is for protocols 0 and 1.
  EXPECT_EQ(ValueOf(PickleBuild(PickleCall(PickleGlobal("copyreg", "_reconstructor"),
                                           {PickleGlobal("argparse", "Namespace"),
                                            PickleGlobal("builtins", "object"), PickleNone()}),
                                state)),
            R"({"v":{"n_layer":2,"sub":{"x":1}}})");
  // Slots.
  EXPECT_EQ(ValueOf(Object("S", PickleTuple({PickleNone(), D({{"x", PickleInt(1)}})}))), R"({"v":{"x":1}})");
  // An enumerator and a torch.Size stand for what they are made of.
  EXPECT_EQ(ValueOf(PickleCall(PickleGlobal("my.enums", "Kind"), {PickleText("rope")})), R"({"v":"rope"})");
  EXPECT_EQ(ValueOf(PickleCall(PickleGlobal("torch", "Size"), {PickleNumbers({2, 3})})), R"({"v":[2,3]})");
}

TEST(TorchValues, SeeThroughConfigurationTrees) {
  const PickledValue leaf = Object("AnyNode", D({{"_metadata", PickleNone()}, {"_val", PickleInt(8)}}));
  const PickledValue tree =
      Object("DictConfig",
             D({{"_metadata", PickleNone()}, {"_parent", PickleNone()}, {"_content", D({{"heads", leaf}})}}));
  EXPECT_EQ(ValueOf(tree), R"({"v":{"heads":8}})");
}

TEST(TorchValues, LeaveOutTensorsAndWhatHoldsThem) {
  EXPECT_EQ(ValuesOf(D({{"w", T()}})), "none");
  EXPECT_EQ(ValuesOf(D({{"model", D({{"w", T()}})},
                        {"optimizer", D({{"state", D({{"m", T()}})}, {"lr", PickleInt(1)}})}})),
            "none");
  EXPECT_EQ(ValueOf(PickleList({PickleInt(1), T(), PickleInt(2)})), R"({"v":[1,null,2]})");
  EXPECT_EQ(ValueOf(Object("A", D({{"t", T()}, {"n", PickleInt(1)}}))), R"({"v":{"n":1}})");
  // Bytes are no text.
  EXPECT_EQ(ValueOf("C\x02"
                    "ab"),
            "none");
}

TEST(TorchValues, AreAtTheirPlaceOnEveryLevel) {
  const PickledValue root = D(
      {{"epoch", PickleInt(3)},
       {"model", D({{"version", PickleInt(2)}, {"state_dict", D({{"w", T()}, {"extra", PickleNone()}})}})}});
  EXPECT_EQ(ValuesOf(root), R"({"epoch":3,"model":{"state_dict":{"extra":null},"version":2}})");
  EXPECT_EQ(ValuesOf(D({{"w", T()}, {"config", D({{"n", PickleInt(1)}})}})), R"({"config":{"n":1}})");
}

TEST(TorchValues, AreAttributesOfAChosenModule) {
  const PickledValue state = D({{"training", PickleBool(false)},
                                {"config", Object("Config", D({{"n", PickleInt(1)}}))},
                                {"_parameters", D({{"w", T()}})},
                                {"_buffers", D({})},
                                {"_modules", D({})}});
  EXPECT_EQ(ValuesOf(Object("Net", state)), R"({"config":{"n":1},"training":false})");
}

TEST(TorchValues, AreBoundedInDepth) {
  Limits limits;
  limits.metadata_depth_max = 4;
  const auto root = [&](size_t depth) {
    return D({{"model", D({{"w", T()}})}, {"v", NestedLists(depth)}, {"z", PickleInt(1)}});
  };
  EXPECT_EQ(ValuesOf(root(3), limits), R"({"v":[[[1]]],"z":1})");
  EXPECT_EQ(ValuesOf(root(4), limits), R"({"v":[[[[1]]]],"z":1})");
  EXPECT_THAT(BeyondOf(root(4), limits), IsEmpty());
  EXPECT_EQ(ValuesOf(root(5), limits), R"({"v":[[[[null]]]],"z":1})");
  EXPECT_THAT(BeyondOf(root(5), limits), ElementsAre("v: metadata nested deeper than 4 in it is not read"));
}

TEST(TorchValues, AreBoundedInNumber) {
  Limits limits;
  limits.metadata_values_max = 10;
  const auto root = [&](size_t count) {
    return D({{"v", PickleList(std::vector<PickledValue>(count, PickleInt(5)))},
              {"model", D({{"w", T()}})},
              {"z", PickleInt(1)}});
  };
  // The list, its items and `z`.
  EXPECT_EQ(ValuesOf(root(7), limits), R"({"v":[5,5,5,5,5,5,5],"z":1})");
  EXPECT_EQ(ValuesOf(root(8), limits), R"({"v":[5,5,5,5,5,5,5,5],"z":1})");
  EXPECT_THAT(BeyondOf(root(8), limits), IsEmpty());
  EXPECT_THAT(BeyondOf(root(9), limits), ElementsAre(HasSubstr("z: metadata beyond the bound of 10 values")));
  // An entry that is beyond the bound is left out whole; what follows is read.
  EXPECT_EQ(ValuesOf(root(10), limits), R"({"z":1})");
  EXPECT_THAT(BeyondOf(root(10), limits),
              ElementsAre(HasSubstr("v: metadata beyond the bound of 10 values")));
}

TEST(TorchValues, AreBoundedInText) {
  Limits limits;
  limits.metadata_text_bytes_max = 6;
  const auto root = [&](size_t bytes) {
    return D({{"model", D({{"w", T()}})}, {"v", PickleText(std::string(bytes, 'x'))}});
  };
  EXPECT_EQ(ValuesOf(root(4), limits), R"({"v":"xxxx"})");
  EXPECT_EQ(ValuesOf(root(5), limits), R"({"v":"xxxxx"})");
  EXPECT_EQ(ValuesOf(root(6), limits), "none");
  EXPECT_THAT(BeyondOf(root(6), limits), SizeIs(1));
}

TEST(TorchValues, SurviveCyclesAndSharing) {
  // A list that holds itself.
  const PickledValue cyclic = PicklePut("]", 7) + PickleGet(7) + "a";
  EXPECT_EQ(ValueOf(cyclic), R"({"v":[null]})");
  // 2^40 values when every sharing is followed: lists of twice the list before.
  PickledValue shared = PicklePut(PickleList({PickleInt(1), PickleInt(1)}), 100);
  for (uint32_t i = 0; i < 12; ++i) {
    const PickledValue again = PickleGet(100 + i);
    shared = PicklePut("](" + shared + again + again + again + again + "e", 101 + i);
  }
  EXPECT_EQ(ValueOf(shared), "none");
  // Many entries that each are beyond the bound cost a bounded time, and are not all listed.
  std::vector<std::pair<std::string, PickledValue>> entries = {{"model", D({{"w", T()}})}, {"first", shared}};
  for (int i = 0; i < 1000; ++i) entries.emplace_back("e" + std::to_string(i), PickleGet(112));
  const std::vector<std::string> beyond = BeyondOf(D(entries), {});
  EXPECT_THAT(beyond, SizeIs(17));
  EXPECT_THAT(beyond, Contains(HasSubstr("985 more entries: metadata beyond")));
}

TEST(TorchValues, OfSafetensorsAreItsMetadata) {
  const Checkpoint plain = *ReadCheckpoint(WriteSafetensors({{"a", "F32", 1, Floats({1})}}));
  EXPECT_EQ(plain.values, nullptr);
  const Checkpoint with =
      *ReadCheckpoint(WriteSafetensors({{"a", "F32", 1, Floats({1})}}, R"({"format":"pt"})"));
  ASSERT_NE(with.values, nullptr);
  EXPECT_EQ(with.values->dump(), R"({"__metadata__":{"format":"pt"}})");
}

}  // namespace
}  // namespace weightfs::testing
