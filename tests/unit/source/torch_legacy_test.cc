// Files of torch's format before zip.
#include "tests/unit/source/torch_test_util.h"

namespace weightfs::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::string kA = Floats({1, 2}), kB = Floats({3, 4, 5});

PickledValue VectorOf(const PickledValue& storage, int64_t count) {
  return TorchTensor(storage, 0, {count}, {1});
}

PickledValue TwoTensors() {
  return PickleDict({{PickleText("a"), VectorOf(TorchLegacyStorageId("FloatStorage", "100", 2), 2)},
                     {PickleText("b"), VectorOf(TorchLegacyStorageId("FloatStorage", "99", 3), 3)}});
}

TEST(TorchLegacyTest, FindsStoragesInTheOrderOfTheKeyList) {
  for (const NamedBytes& storages :
       {NamedBytes{{"100", kA}, {"99", kB}}, NamedBytes{{"99", kB}, {"100", kA}}}) {
    const auto read =
        ReadCheckpoint(TorchLegacy(TwoTensors(), storages) + "trailing bytes, which torch ignores");
    ASSERT_TRUE(read.has_value()) << read.error().message;
    EXPECT_EQ(read->format, "torch-legacy");
    EXPECT_THAT(Names(*read), ElementsAre("a", "b"));
    EXPECT_EQ(ReadTensor(read->tensors[0]).value(), kA);
    EXPECT_EQ(ReadTensor(read->tensors[1]).value(), kB);
    EXPECT_EQ(read->tensors[1].storage, "99");
  }
}

TEST(TorchLegacyTest, FindsStoragesInValuesThatAreLeftOut) {
  const PickledValue opaque = PickleBuild(
      PickleNew(PickleGlobal("my.lib", "State"), {}),
      PickleTuple({PickleList({VectorOf(TorchLegacyStorageId("FloatStorage", "7", 3), 3)}), PickleNone()}));
  const PickledValue root =
      PickleDict({{PickleText("a"), VectorOf(TorchLegacyStorageId("FloatStorage", "100", 2), 2)},
                  {PickleText("x"), opaque}});
  const auto read = ReadCheckpoint(TorchLegacy(root, {{"7", kB}, {"100", kA}}));
  ASSERT_TRUE(read.has_value()) << read.error().message;
  EXPECT_EQ(ReadTensor(read->tensors[0]).value(), kA);
}

TEST(TorchLegacyTest, ReadsViewsOfStorages) {
  const auto view = [](int64_t offset, int64_t count) {
    return TorchLegacyStorageId("FloatStorage", "1", 3,
                                PickleTuple({PickleText("view"), PickleInt(offset), PickleInt(count)}));
  };
  const auto file = [&](const PickledValue& storage) {
    return TorchLegacy(OneTensorDict(TorchTensor(storage, 1, {1}, {1})), {{"1", kB}});
  };
  const auto read = ReadCheckpoint(file(view(1, 2)));
  ASSERT_TRUE(read.has_value()) << read.error().message;
  EXPECT_EQ(ReadTensor(read->tensors[0]).value(), Floats({5}));
  for (const PickledValue& bad : {view(1, 3), view(4, 0), view(-1, 2), view(INT64_MAX, 1), view(1, 1)})
    EXPECT_EQ(ReadError(file(bad)).code, ErrorCode::kCorrupt);
}

TEST(TorchLegacyTest, ReadsModuleClasses) {
  const PickledValue type =
      PicklePersistent(PickleTuple({PickleText("module"), PickleGlobal("my.nets", "Net"),
                                    PickleText("net.py"), PickleText("class Net: ...")}));
  const PickledValue module =
      PickleBuild(PickleNew(type, {}),
                  PickleDict({{PickleText("_parameters"),
                               OneTensorDict(VectorOf(TorchLegacyStorageId("FloatStorage", "1", 2), 2))},
                              {PickleText("_modules"), PickleDict({})}}));
  const auto read = ReadCheckpoint(TorchLegacy(module, {{"1", kA}}));
  ASSERT_TRUE(read.has_value()) << read.error().message;
  EXPECT_THAT(Names(*read), ElementsAre("w"));
}

TEST(TorchLegacyTest, TheKeyListNamesExactlyWhatIsUsed) {
  EXPECT_THAT(ReadError(TorchLegacy(TwoTensors(), {{"100", kA}})).message,
              HasSubstr("storage '99' is used but not in the list of storages"));
  EXPECT_THAT(ReadError(TorchLegacy(TwoTensors(), {{"100", kA}, {"99", kB}, {"5", kA}})).message,
              HasSubstr("names '5', which nothing uses"));
  EXPECT_THAT(ReadError(TorchLegacy(TwoTensors(), {{"100", kA}, {"99", kB}, {"100", kA}})).message,
              HasSubstr("names '100' twice"));
  EXPECT_THAT(ReadError(TorchLegacy(TwoTensors(), {{"100", kB}, {"99", kB}})).message,
              HasSubstr("storage '100' of 3 elements; expected 2, as the pickle says"));
}

TEST(TorchLegacyTest, SectionsAreLiterals) {
  const std::string rest = PickleStream(TwoTensors());
  const std::string magic = PickleStream(TorchMagic());
  EXPECT_EQ(ReadError(magic + PickleStream(PickleInt(1000)) + rest).code, ErrorCode::kUnsupported);
  EXPECT_THAT(
      ReadError(magic + PickleStream(PickleCall(PickleGlobal("builtins", "eval"), {})) + rest).message,
      HasSubstr("expected the protocol version 1001"));
  EXPECT_THAT(
      ReadError(magic + PickleStream(PickleInt(1001)) + PickleStream(EmptyOrderedDict()) + rest).message,
      HasSubstr("expected a dict of numbers about the machine"));
  const std::string called =
      PickleStream(PickleCall(PickleGlobal("builtins", "eval"), {PickleText("0x1950a86a20f9")}));
  EXPECT_THAT(ReadError(called + rest).message, HasSubstr("a pickle that torch.save did not write"));
}

TEST(TorchLegacyTest, EveryTruncationIsRefused) {
  const std::string file = TorchLegacy(TwoTensors(), {{"100", kA}, {"99", kB}});
  for (size_t size = 0; size < file.size(); ++size) {
    const auto read = ReadCheckpoint(file.substr(0, size));
    ASSERT_FALSE(read.has_value()) << size;
    EXPECT_THAT(read.error().message, HasSubstr("file.pt")) << size;
  }
}

}  // namespace
}  // namespace weightfs::testing
