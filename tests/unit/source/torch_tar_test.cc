// Files of torch 0.1.1, which are tar archives.
#include "tests/unit/source/torch_test_util.h"

namespace weightfs::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::string kBytes = Floats({0, 1, 2, 3, 4, 5});

std::string Object() {
  return PickleStream(PickleDict({{PickleText("w"), PicklePersistent(PickleText("22"))},
                                  {PickleText("p"), PickleNew(PickleGlobal("torch.nn.parameter", "Parameter"),
                                                              {PicklePersistent(PickleInt(22))})},
                                  {PickleText("s"), PicklePersistent(PickleInt(11))}}));
}

NamedBytes Members() {
  return {{"sys_info", PickleStream(PickleDict({}))},
          {"storages", TarStorages(11, "FloatStorage", kBytes, 4)},
          {"tensors", TarTensors(22, 11, {2, 2}, {1, 2}, 1)},
          {"pickle", Object()}};
}

NamedBytes With(const std::string& name, const std::string& content) {
  NamedBytes members = Members();
  for (auto& [member, bytes] : members)
    if (member == name) bytes = content;
  return members;
}

TEST(TorchTarTest, ReadsTensorsByKey) {
  const auto read = ReadCheckpoint(TarArchive(Members()));
  ASSERT_TRUE(read.has_value()) << read.error().message;
  EXPECT_EQ(read->format, "torch-tar");
  EXPECT_THAT(Names(*read), ElementsAre("w", "p"));
  for (const SourceTensor& tensor : read->tensors) {
    EXPECT_EQ(tensor.view.shape(), (Shape{2, 2}));
    EXPECT_EQ(ReadTensor(tensor).value(), Floats({1, 3, 2, 4}));
  }
  ASSERT_EQ(read->left_out.size(), 1u);
  EXPECT_EQ(read->left_out[0].reason, "storage without a tensor");
}

TEST(TorchTarTest, ReadsViewsOfStorages) {
  const auto members = [](int64_t offset, int64_t count) {
    NamedBytes result = With("storages", TarStorages(11, "FloatStorage", kBytes, 4,
                                                     PickleList({PickleNumbers({12, 11, offset, count})})));
    result[2].second = TarTensors(22, 12, {2}, {1}, 0);
    return TarArchive(result);
  };
  const auto read = ReadCheckpoint(members(4, 2));
  ASSERT_TRUE(read.has_value()) << read.error().message;
  EXPECT_EQ(ReadTensor(read->tensors[0]).value(), Floats({4, 5}));
  EXPECT_THAT(ReadError(members(5, 2)).message, HasSubstr("a storage view of 2 elements from 5"));
  EXPECT_EQ(ReadError(members(4, 1)).code, ErrorCode::kCorrupt);
}

TEST(TorchTarTest, RefusesTensorsThatDoNotFit) {
  for (const std::string& tensors :
       {TarTensors(22, 11, {7}, {1}, 0), TarTensors(22, 11, {-1}, {1}, 0), TarTensors(22, 11, {1}, {1}, -1),
        TarTensors(22, 10, {1}, {1}, 0), TarTensors(11, 11, {1}, {1}, 0)})
    EXPECT_EQ(ReadError(TarArchive(With("tensors", tensors))).code, ErrorCode::kCorrupt);
  const std::vector<int64_t> many(65, 1);
  EXPECT_EQ(ReadError(TarArchive(With("tensors", TarTensors(22, 11, many, many, 0)))).code,
            ErrorCode::kLimitExceeded);
}

TEST(TorchTarTest, MembersAreOrdinaryAndOnce) {
  const std::string once = TarArchive(Members());
  EXPECT_THAT(ReadError(TarMemberBytes("pickle", Object()) + once).message,
              HasSubstr("2 members are called 'pickle'; expected one"));
  std::string linked;
  for (const auto& [name, content] : Members())
    linked += TarMemberBytes(name, name == "pickle" ? "" : content, name == "pickle" ? '2' : '0');
  EXPECT_THAT(ReadError(linked).message, HasSubstr("'pickle' is no ordinary file"));
}

TEST(TorchTarTest, ReadsLongNamesAndPaxHeaders) {
  const std::string record = "15 path=pickle\n";
  const std::string extended = TarMemberBytes("././@LongLink", std::string("storages\0", 9), 'L') +
                               TarMemberBytes("x", TarStorages(11, "FloatStorage", kBytes, 4)) +
                               TarMemberBytes("tensors", TarTensors(22, 11, {2, 2}, {1, 2}, 1)) +
                               TarMemberBytes("PaxHeader", record, 'x') + TarMemberBytes("y", Object());
  const auto read = ReadCheckpoint(extended);
  ASSERT_TRUE(read.has_value()) << read.error().message;
  EXPECT_EQ(ReadTensor(read->tensors[0]).value(), Floats({1, 3, 2, 4}));
}

TEST(TorchTarTest, NamesOtherArchives) {
  EXPECT_THAT(ReadError(TarArchive({{"readme", "x"}})).message,
              HasSubstr("a tar archive without the members"));
  EXPECT_THAT(ReadError(TarArchive({{"./model_config.yaml", "x"}, {"./model_weights.ckpt", "x"}})).message,
              HasSubstr("a NeMo archive"));
}

TEST(TorchTarTest, EveryTruncationThatLosesBytesIsRefused) {
  const std::string file = TarArchive(Members());
  const size_t content_end = file.size() - 1024 - 512 + Object().size() % 512;
  for (size_t size = 0; size < content_end; size += 7) {
    const auto read = ReadCheckpoint(file.substr(0, size));
    ASSERT_FALSE(read.has_value()) << size;
    EXPECT_THAT(read.error().message, HasSubstr("file.pt")) << size;
  }
}

}  // namespace
}  // namespace weightfs::testing
