// Distributed checkpoints: metadata of all releases, subtrees, boxes, payload forms, and what is refused.
#include "convert/source/dcp/reader.h"

#include <zstd.h>

#include "convert/source/dcp/folder.h"
#include "convert/source/dcp/metadata.h"
#include "convert/source/dcp/window_file.h"
#include "convert/source/dcp/zstd_file.h"
#include "tests/support/dcp_writer.h"
#include "tests/support/malformed_corpus.h"
#include "tests/unit/source/torch_test_util.h"

namespace weightfs::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

std::string SafetensorsFile(const std::string& header, const std::string& data) {
  return LittleEndian(header.size(), 8) + header + data;
}

const std::string kTop = Floats({1, 2, 3});
const std::string kBottom = Floats({4, 5, 6});

class DcpTest : public ::testing::Test {
 protected:
  Result<Checkpoint> Read(const std::string& weights = {}, const std::string& folder = "") {
    SourceContext context = TestContext({}, weights);
    SourceFiles::Options options;
    options.cache = context.cache;
    files_ = SourceFiles::Create(dir_.path().string(), options).value();
    return ReadDcp(*files_, folder, context);
  }

  Error ReadFailure(const std::string& weights = {}) {
    Result<Checkpoint> read = Read(weights);
    EXPECT_FALSE(read);
    return read ? Error{} : read.error();
  }

  /// A [2, 3] tensor `model.w` in two files, one row in each.
  DcpWriter TwoRows() {
    DcpWriter writer;
    const auto top = writer.StoreFloats("__0_0.distcp", {0, 0}, {1, 3}, kTop);
    const auto bottom = writer.StoreFloats("__1_0.distcp", {1, 0}, {1, 3}, kBottom);
    writer.AddTensor({"model", "w"}, {2, 3}, {bottom, top});
    return writer;
  }

  void ExpectTwoRows(const std::string& name = "w") {
    const auto read = Read();
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(read->format, "dcp");
    ASSERT_THAT(Names(*read), ElementsAre(name));
    EXPECT_EQ(read->tensors[0].view.shape(), (Shape{2, 3}));
    EXPECT_EQ(ReadTensor(read->tensors[0]).value(), kTop + kBottom);
  }

  std::string Path(const std::string& name) const { return (dir_.path() / name).string(); }

  TempDir dir_;
  std::shared_ptr<SourceFiles> files_;
};

TEST_F(DcpTest, PutsRowsTogether) {
  TwoRows().Write(dir_.path());
  ExpectTwoRows();
}

TEST_F(DcpTest, ClassesAreToldByTheLastPartOfTheirNames) {
  for (const DcpModules& modules :
       {DcpModules{}, DcpModules{.properties = "torch.distributed._shard.sharded_tensor.metadata"},
        DcpModules{.storage_info = "olmo_core.distributed.checkpoint.filesystem"}}) {
    DcpWriter writer;
    writer.modules = modules;
    const auto top = writer.StoreFloats("__0_0.distcp", {0, 0}, {1, 3}, kTop);
    const auto bottom = writer.StoreFloats("__1_0.distcp", {1, 0}, {1, 3}, kBottom);
    writer.AddTensor({"model", "w"}, {2, 3}, {bottom, top});
    writer.Write(dir_.path());
    ExpectTwoRows();
  }
}

TEST_F(DcpTest, WithoutPlannerDataNamesStayWhole) {
  DcpWriter writer = TwoRows();
  writer.has_planner = false;
  writer.Write(dir_.path());
  ExpectTwoRows("model.w");
}

TEST_F(DcpTest, EmptyChunksAndCopiesCountForNothing) {
  DcpWriter writer;
  const auto top = writer.StoreFloats("__0_0.distcp", {0, 0}, {1, 3}, kTop);
  const auto bottom = writer.StoreFloats("__0_0.distcp", {1, 0}, {1, 3}, kBottom);
  DcpChunkSpec copy = top;
  DcpChunkSpec empty{{2, 0}, {0, 3}, "", 0, 0, {}};
  writer.AddTensor({"w"}, {2, 3}, {top, empty, copy, bottom});
  writer.Write(dir_.path());
  ExpectTwoRows();
}

TEST_F(DcpTest, RanksAreJoined) {
  DcpWriter first, second;
  first.AddTensor({"model", "w"}, {2, 3}, {first.StoreFloats("__0_0.distcp", {0, 0}, {1, 3}, kTop)});
  first.AddTensor({"model", "same"}, {1}, {first.StoreFloats("__0_0.distcp", {0}, {1}, Floats({8}))});
  second.AddTensor({"model", "w"}, {2, 3}, {second.StoreFloats("__1_0.distcp", {1, 0}, {1, 3}, kBottom)});
  second.AddTensor({"model", "same"}, {1}, {second.StoreFloats("__1_0.distcp", {0}, {1}, Floats({8}))});
  second.AddTensor({"model", "own"}, {1}, {second.StoreFloats("__1_0.distcp", {0}, {1}, Floats({9}))});
  first.AddValue({"epoch"});
  second.AddValue({"epoch"});
  first.Write(dir_.path(), "__0.metadata");
  second.Write(dir_.path(), "__1.metadata");
  const auto read = Read();
  ASSERT_TRUE(read) << read.error().message;
  ASSERT_THAT(Names(*read), ElementsAre("w", "same", "own"));
  EXPECT_EQ(ReadTensor(read->tensors[0]).value(), kTop + kBottom);
  EXPECT_EQ(ReadTensor(read->tensors[1]).value(), Floats({8}));
  ASSERT_EQ(read->left_out.size(), 1u);
  EXPECT_EQ(read->left_out[0].path, "epoch");

  std::filesystem::remove(dir_.path() / "__0.metadata");
  EXPECT_THAT(ReadFailure().message,
              HasSubstr("__0.metadata: missing; expected the metadata of every rank up to 1"));

  DcpWriter other;
  other.AddTensor({"model", "w"}, {3, 3}, {other.StoreFloats("__0_0.distcp", {0, 0}, {1, 3}, kTop)});
  other.Write(dir_.path(), "__0.metadata");
  EXPECT_THAT(ReadFailure().message,
              HasSubstr("tensor 'model.w': torch.float32 of shape [2, 3], but "
                        "torch.float32 of shape [3, 3] in the metadata of a rank before"));
}

TEST_F(DcpTest, SubtreesAreChosenByTheirPaths) {
  const auto add = [](DcpWriter& writer, const std::vector<std::string>& path) {
    writer.AddTensor(path, {1}, {writer.StoreFloats("__0_0.distcp", {0}, {1}, Floats({1}))});
  };
  const auto names_of = [&](const std::vector<std::vector<std::string>>& paths,
                            const std::string& weights = {}) {
    DcpWriter writer;
    for (const auto& path : paths) add(writer, path);
    writer.Write(dir_.path());
    const auto read = Read(weights);
    EXPECT_TRUE(read) << read.error().message;
    return read ? Names(*read) : std::vector<std::string>();
  };
  EXPECT_THAT(names_of({{"optim", "state", "a"}, {"model", "model.a"}, {"module", "b"}}),
              ElementsAre("model.a"));
  EXPECT_THAT(names_of({{"state_dict", "a"}, {"module", "b"}}), ElementsAre("b"));
  EXPECT_THAT(names_of({{"state_dict", "a"}, {"net", "b"}}), ElementsAre("a"));
  EXPECT_THAT(names_of({{"app", "model", "a"}, {"app", "optim", "b"}}), ElementsAre("a"));
  // Flat names are never stripped.
  EXPECT_THAT(names_of({{"model.a"}, {"module.b"}, {"optim.state.x.exp_avg"}, {"optimizer", "c"}}),
              ElementsAre("model.a", "module.b"));
  EXPECT_THAT(names_of({{"optimus.weight"}, {"net", "a"}}), ElementsAre("optimus.weight", "net.a"));
  EXPECT_THAT(names_of({{"model", "a"}, {"ema", "b"}}, "ema"), ElementsAre("b"));
  EXPECT_THAT(names_of({{"model", "vision", "a"}, {"model", "text", "b"}}, "model.vision"), ElementsAre("a"));
  EXPECT_THAT(names_of({{"model", "a"}, {"ema", "b"}, {"optim", "c"}}, "."), ElementsAre("model.a", "ema.b"));
}

TEST_F(DcpTest, TheChoiceIsReported) {
  DcpWriter writer = TwoRows();
  writer.AddTensor({"optim", "state", "w.exp_avg"}, {1},
                   {writer.StoreFloats("__0_0.distcp", {0}, {1}, Floats({1}))});
  writer.AddTensor({"ema", "w"}, {1}, {writer.StoreFloats("__0_0.distcp", {0}, {1}, Floats({1}))});
  writer.AddValue({"model", "extra"});
  writer.Write(dir_.path());
  const auto read = Read();
  ASSERT_TRUE(read);
  std::vector<std::string> lines;
  for (const LeftOut& left_out : read->left_out) lines.push_back(left_out.path + ": " + left_out.reason);
  EXPECT_THAT(lines, ElementsAre("ema: 1 tensor, not the model", "model.extra: object",
                                 "optim: 1 tensor, the state of an optimizer"));
  ASSERT_EQ(read->candidates.size(), 3u);
  EXPECT_EQ(read->candidates[1].path, "ema");
  EXPECT_EQ(read->candidates[2].path, "model");
  EXPECT_TRUE(read->candidates[2].chosen);
  EXPECT_EQ(read->candidates[2].size_bytes, 24u);
  ASSERT_EQ(read->warnings.size(), 1u);
  EXPECT_THAT(read->warnings[0],
              HasSubstr("served is the subtree 'model'; left out: 'ema' (1 tensor, not the model), "
                        "'optim' (1 tensor, the state of an optimizer)"));
}

TEST_F(DcpTest, OptimizerStateIsNeverServed) {
  DcpWriter writer;
  writer.AddTensor({"optimizer", "state", "w"}, {1},
                   {writer.StoreFloats("__0_0.distcp", {0}, {1}, Floats({1}))});
  writer.Write(dir_.path());
  Error error = ReadFailure();
  EXPECT_EQ(error.code, ErrorCode::kUnsupported);
  EXPECT_THAT(error.message, HasSubstr("all 1 tensors are the state of an optimizer, which is never served"));
  TwoRows().Write(dir_.path());
  DcpWriter both = TwoRows();
  both.AddTensor({"optim", "w"}, {1}, {both.StoreFloats("__0_0.distcp", {0}, {1}, Floats({1}))});
  both.Write(dir_.path());
  error = ReadFailure("optim");
  EXPECT_EQ(error.code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(error.message, HasSubstr("never served; expected one of . (1 tensor), 'model' (1 tensor)"));
  error = ReadFailure("ema");
  EXPECT_EQ(error.code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(error.message, HasSubstr("--weights ema: no subtree"));
}

TEST_F(DcpTest, FlatParametersAreRefusedWithTheRemedy) {
  for (const char* name : {"_flat_param", "layers.0._fsdp_wrapped_module.flat_param_0"}) {
    DcpWriter writer;
    writer.AddTensor({"model", name}, {1}, {writer.StoreFloats("__0_0.distcp", {0}, {1}, Floats({1}))});
    writer.Write(dir_.path());
    const Error error = ReadFailure();
    EXPECT_EQ(error.code, ErrorCode::kUnsupported);
    EXPECT_THAT(error.message, HasSubstr("LOCAL_STATE_DICT"));
    EXPECT_THAT(error.remedy, HasSubstr("SHARDED_STATE_DICT"));
  }
}

TEST_F(DcpTest, ZstdEntriesAreDecompressed) {
  const auto compress = [](const std::string& bytes) {
    std::string frame(ZSTD_compressBound(bytes.size()), '\0');
    frame.resize(ZSTD_compress(frame.data(), frame.size(), bytes.data(), bytes.size(), 3));
    return frame;
  };
  DcpWriter writer;
  auto top = writer.Store("__0_0.distcp", {0, 0}, {1, 3}, compress(DcpArchive({1, 3}, kTop)));
  auto bottom = writer.Store("__0_0.distcp", {1, 0}, {1, 3}, compress(DcpArchive({1, 3}, kBottom)));
  top.transforms = bottom.transforms = {"stream.zstd/1"};
  writer.AddTensor({"model", "w"}, {2, 3}, {top, bottom});
  writer.Write(dir_.path());
  ExpectTwoRows();

  DcpWriter unknown;
  auto part = unknown.StoreFloats("__0_0.distcp", {0}, {1}, Floats({1}));
  part.transforms = {"stream.lzma/1"};
  unknown.AddTensor({"w"}, {1}, {part});
  unknown.Write(dir_.path());
  const Error error = ReadFailure();
  EXPECT_EQ(error.code, ErrorCode::kUnsupported);
  EXPECT_THAT(error.message, HasSubstr("'stream.lzma/1'"));
}

TEST_F(DcpTest, ZstdFramesThatAreCutOrTooLargeAreRefused) {
  const std::string content = PatternBytes(3'000'000);
  std::string frame(ZSTD_compressBound(content.size()), '\0');
  frame.resize(ZSTD_compress(frame.data(), frame.size(), content.data(), content.size(), 1));
  const auto open = [](std::string bytes, uint64_t cache_bytes) {
    return MakeZstdFile(MakeMemoryFile(std::move(bytes), "in"), "out",
                        std::make_shared<BlockCache>(cache_bytes));
  };
  const auto whole = open(frame, 4_MiB);
  ASSERT_TRUE(whole) << whole.error().message;
  ASSERT_EQ((*whole)->size_bytes(), content.size());
  std::string back(content.size(), '\0');
  ASSERT_TRUE((*whole)->ReadAt(0, std::as_writable_bytes(std::span(back))));
  EXPECT_EQ(back, content);
  // Frames follow each other.
  EXPECT_EQ((*open(frame + frame, 8_MiB))->size_bytes(), 2 * content.size());
  EXPECT_THAT(open(frame.substr(0, frame.size() - 1), 4_MiB).error().message,
              HasSubstr("end within a zstd frame"));
  EXPECT_THAT(open(frame + "more", 4_MiB).error().message, HasSubstr("does not decode"));
  const auto large = open(frame, content.size() - 1);
  ASSERT_FALSE(large);
  EXPECT_EQ(large.error().code, ErrorCode::kLimitExceeded);
  EXPECT_THAT(large.error().remedy, HasSubstr("--cache"));
  EXPECT_TRUE(open(frame, content.size()));
}

TEST_F(DcpTest, SafetensorsBlobsAreReadByName) {
  const auto blob = [&](const std::string& offsets) {
    return SafetensorsFile(R"({"__metadata__":{"DCP_SHARDING_INFO":"{\"model.w\": {\"saved_offsets\": )" +
                               offsets +
                               R"(}}"},"model.w":{"dtype":"F32","shape":[1,3],"data_offsets":[0,12]}})",
                           kTop);
  };
  DcpWriter writer;
  writer.files["__0_0.distcp"] = "bytes of an object";
  auto top = writer.Store("__0_0.distcp", {0, 0}, {1, 3}, blob("[0, 0]"));
  top.length = 12;
  const auto bottom = writer.StoreFloats("__1_0.distcp", {1, 0}, {1, 3}, kBottom);
  writer.AddTensor({"model", "w"}, {2, 3}, {top, bottom});
  writer.Write(dir_.path());
  ExpectTwoRows();

  // The writer kept another shard of the tensor under the same name.
  DcpWriter lost;
  lost.AddTensor({"model", "w"}, {1, 3}, {lost.Store("__0_0.distcp", {0, 0}, {1, 3}, blob("[1, 0]"))});
  lost.Write(dir_.path());
  EXPECT_THAT(ReadFailure().message, HasSubstr("the shard of this tensor begins at [1, 0]; expected [0, 0]"));
}

TEST_F(DcpTest, ShardsSayWhereTheyBelong) {
  const auto shard = [&](const std::string& offsets, const std::string& bytes) {
    return SafetensorsFile(R"({"__metadata__":{"DCP_SHARDING_INFO":"{\"w\": {\"saved_offsets\": )" + offsets +
                               R"(}}"},"w":{"dtype":"F32","shape":[1,3],"data_offsets":[0,12]}})",
                           bytes);
  };
  WriteFile(Path("shard-00001-model-00001-of-00001.safetensors"), shard("[0, 0]", kTop));
  WriteFile(Path("shard-00002-model-00001-of-00001.safetensors"), shard("[1, 0]", kBottom));
  ExpectTwoRows();
  WriteFile(Path("shard-00002-model-00001-of-00001.safetensors"), shard("[2, 0]", kBottom));
  EXPECT_THAT(ReadFailure().message,
              HasSubstr("tensor 'w': no part holds what lies from [1, 0] to [2, 3] of shape [3, 3]"));
  WriteFile(Path("shard-00002-model-00001-of-00001.safetensors"), shard("[1]", kBottom));
  EXPECT_THAT(ReadFailure().message, HasSubstr("saved_offsets [1] of a shard of shape [1, 3]"));
  WriteFile(Path("shard-00002-model-00001-of-00001.safetensors"), shard("7", kBottom));
  EXPECT_THAT(ReadFailure().message, HasSubstr("DCP_SHARDING_INFO: 'w' without saved_offsets"));
  std::filesystem::rename(Path("shard-00002-model-00001-of-00001.safetensors"),
                          Path("shard-00003-model-00001-of-00001.safetensors"));
  EXPECT_THAT(ReadFailure().message, HasSubstr("no shard of rank 2, but one of rank 3"));
}

TEST_F(DcpTest, GapsAndOverlapsNameTensorRegionAndFile) {
  DcpWriter gap;
  gap.AddTensor({"model", "w"}, {3, 3}, {gap.StoreFloats("__0_0.distcp", {0, 0}, {1, 3}, kTop)});
  gap.Write(dir_.path());
  Error error = ReadFailure();
  EXPECT_EQ(error.code, ErrorCode::kNotFound);
  EXPECT_EQ(error.message, Path(".metadata") +
                               ": tensor 'model.w': no part holds what lies from [1, 0] to [3, 3] of "
                               "shape [3, 3]; expected parts that cover it");
  DcpWriter overlap;
  const auto all = overlap.StoreFloats("__0_0.distcp", {0, 0}, {2, 3}, kTop + kBottom);
  const auto one = overlap.StoreFloats("__0_0.distcp", {1, 0}, {1, 3}, kBottom);
  overlap.AddTensor({"model", "w"}, {2, 3}, {all, one});
  overlap.Write(dir_.path());
  error = ReadFailure();
  EXPECT_EQ(error.code, ErrorCode::kCorrupt);
  EXPECT_THAT(error.message, HasSubstr("2 parts hold what lies from [1, 0] to [2, 3] of shape [2, 3]"));
}

TEST_F(DcpTest, DamagedPayloadsNameFileTensorAndRegion) {
  const DcpWriter writer = TwoRows();
  const std::string whole = writer.files.at("__1_0.distcp");
  const auto with = [&](const std::string& content) {
    writer.Write(dir_.path());
    WriteFile(Path("__1_0.distcp"), content);
    return ReadFailure();
  };
  constexpr const char* kPart = "(tensor 'model.w': its part of sizes [1, 3] at [1, 0])";
  Error error = with(whole.substr(0, whole.size() - 1));
  EXPECT_EQ(error.code, ErrorCode::kCorrupt);
  EXPECT_THAT(error.message,
              HasSubstr("__1_0.distcp: " + std::to_string(whole.size() - 1) + " bytes; expected"));
  EXPECT_THAT(error.message, HasSubstr(kPart));
  EXPECT_THAT(with("").message, HasSubstr("0 bytes; expected"));
  EXPECT_THAT(with(std::string(whole.size(), 'x')).message, HasSubstr("neither a torch.save archive nor"));
  // Two saves mixed: an archive of the same length that holds another tensor.
  std::string other = DcpArchive({3, 1}, kBottom);
  ASSERT_EQ(other.size(), whole.size());
  error = with(other);
  EXPECT_THAT(error.message,
              HasSubstr("a tensor of float32 of shape [3, 1]; expected torch.float32 of shape [1, 3]"));
  EXPECT_THAT(error.remedy, HasSubstr("one save"));
  EXPECT_THAT(with(TorchZip(PickleInt(1), {}) + std::string(whole.size(), 'x')).message, HasSubstr(kPart));

  writer.Write(dir_.path());
  std::filesystem::remove(Path("__1_0.distcp"));
  error = ReadFailure();
  EXPECT_EQ(error.code, ErrorCode::kNotFound);
  EXPECT_THAT(error.message,
              HasSubstr("__1_0.distcp: missing; expected the file that holds tensor 'model.w': its part "
                        "of sizes [1, 3] at [1, 0]"));

  DcpWriter nowhere;
  nowhere.AddTensor({"w"}, {1}, {{{0}, {1}, "", 0, 0, {}}});
  nowhere.Write(dir_.path());
  EXPECT_THAT(ReadFailure().message, HasSubstr("the metadata names no file that holds it"));

  DcpWriter shared;
  const auto part = shared.StoreFloats("__0_0.distcp", {0}, {1}, Floats({1}));
  shared.AddTensor({"a"}, {1}, {part});
  shared.AddTensor({"b"}, {1}, {part});
  shared.Write(dir_.path());
  EXPECT_THAT(ReadFailure().message, HasSubstr("overlap those from offset 0, of tensor 'b'"));
}

TEST_F(DcpTest, UnfinishedSavesSaySo) {
  WriteFile(Path("__0_0.distcp"), "x");
  const Error error = ReadFailure();
  EXPECT_EQ(error.code, ErrorCode::kNotFound);
  EXPECT_THAT(error.message, HasSubstr("no .metadata beside the .distcp files"));
  EXPECT_THAT(error.remedy, HasSubstr("a step is whole when its folder has a .metadata"));
}

TEST_F(DcpTest, TypesThatCannotBeServedAreUnsupported) {
  DcpWriter writer = TwoRows();
  writer.AddTensor({"model", "z"}, {1}, {{{0}, {1}, "__9_0.distcp", 0, 10, {}}}, "complex128");
  writer.AddTensor({"model", "new"}, {1}, {{{0}, {1}, "__9_0.distcp", 0, 10, {}}}, "float3_e1m1");
  writer.Write(dir_.path());
  const auto read = Read();
  ASSERT_TRUE(read) << read.error().message;
  ASSERT_EQ(read->unsupported.size(), 2u);
  EXPECT_EQ(read->unsupported[0].reason, "torch.complex128 tensor; safetensors has no such type");
  EXPECT_THAT(read->unsupported[1].reason, HasSubstr("float3_e1m1"));
}

TEST_F(DcpTest, FoldersOfTrainers) {
  const auto find = [&](const std::string& folder) {
    SourceFiles::Options options;
    options.cache = std::make_shared<BlockCache>(1_MiB);
    const auto files = SourceFiles::Create(dir_.path().string(), options).value();
    return FindDcpFolder(*files, folder, files->List(folder).value()).value();
  };
  EXPECT_FALSE(find(""));
  for (const char* folder : {"a/pytorch_model_fsdp_0", "a/optimizer_0", "b/model_and_optim", "b/train",
                             "c/sharded", "d/pytorch_model_fsdp_0", "d/pytorch_model_fsdp_1"})
    std::filesystem::create_directories(dir_.path() / folder);
  for (const char* folder : {"a/pytorch_model_fsdp_0", "a/optimizer_0", "b/model_and_optim",
                             "d/pytorch_model_fsdp_0", "d/pytorch_model_fsdp_1"})
    TwoRows().Write(dir_.path() / folder);
  EXPECT_EQ(find("a")->path, "a/pytorch_model_fsdp_0");
  EXPECT_THAT(find("a")->files,
              ElementsAre("a/pytorch_model_fsdp_0/.metadata", "a/pytorch_model_fsdp_0/__0_0.distcp",
                          "a/pytorch_model_fsdp_0/__1_0.distcp"));
  EXPECT_EQ(find("b")->path, "b/model_and_optim");
  EXPECT_EQ(find("a/optimizer_0")->path, "a/optimizer_0");
  EXPECT_FALSE(find("c"));
  // Two models are two models.
  EXPECT_FALSE(find("d"));
  WriteFile(Path("c/sharded/shard-00001-model-00001-of-00001.safetensors"), "");
  EXPECT_EQ(find("c")->path, "c/sharded");
}

TEST_F(DcpTest, NoPayloadIsReadThroughLinksThatLeaveTheSource) {
  TwoRows().Write(dir_.path());
  TempDir elsewhere;
  std::filesystem::rename(Path("__1_0.distcp"), elsewhere.path() / "__1_0.distcp");
  std::filesystem::create_symlink(elsewhere.path() / "__1_0.distcp", Path("__1_0.distcp"));
  const Error error = ReadFailure();
  EXPECT_EQ(error.code, ErrorCode::kUnsupported);
  EXPECT_THAT(error.message, HasSubstr("--allow-links"));
}

TEST(DcpWindowFileTest, GivesTheBytesOfTheFile) {
  const std::string content = PatternBytes(40'000);
  const auto file = std::make_shared<WindowFile>(MakeMemoryFile(content, "f"));
  uint64_t seed = 1;
  for (int i = 0; i < 5000; ++i) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    const uint64_t begin = (seed >> 33) % content.size(),
                   size = (seed >> 20) % std::min<uint64_t>(9000, content.size() - begin + 1);
    std::string bytes(size, '\0');
    ASSERT_TRUE(file->ReadAt(begin, std::as_writable_bytes(std::span(bytes))));
    ASSERT_EQ(bytes, content.substr(begin, size)) << begin;
  }
}

TEST(DcpMetadataTest, MalformedMetadata) {
  for (const MalformedCase& one : LoadMalformedCases(WEIGHTFS_MALFORMED_DIR "/dcp")) {
    const FilePtr files[] = {MakeMemoryFile(ReadFile(one.path), "FOLDER/.metadata")};
    const auto read = ReadDcpMetadata(files, Limits{});
    ASSERT_FALSE(read) << one.path;
    EXPECT_EQ(ErrorCodeName(read.error().code), one.code) << one.path << ": " << read.error().message;
    EXPECT_THAT(read.error().message, HasSubstr(one.message_contains)) << one.path;
    EXPECT_THAT(read.error().message, HasSubstr("FOLDER/.metadata")) << one.path;
  }
}

TEST(DcpMetadataTest, Limits) {
  DcpWriter writer;
  writer.AddTensor({"a"}, {1, 1, 1}, {});
  writer.AddTensor({"b"}, {1}, {});
  const FilePtr files[] = {MakeMemoryFile(writer.Metadata(), "m")};
  const auto read = [&](uint64_t tensors_max, uint32_t rank_max) {
    struct Limits limits;
    limits.tensors_max = tensors_max;
    limits.tensor_rank_max = rank_max;
    return ReadDcpMetadata(files, limits).has_value();
  };
  EXPECT_TRUE(read(3, 4));
  EXPECT_TRUE(read(2, 3));
  EXPECT_FALSE(read(1, 3));
  EXPECT_FALSE(read(2, 2));
}

}  // namespace
}  // namespace weightfs::testing
