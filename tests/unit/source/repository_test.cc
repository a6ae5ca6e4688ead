#include "convert/source/huggingface/repository.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "convert/source/huggingface/native_weights.h"
#include "convert/source/huggingface/weight_index.h"
#include "tests/support/malformed_corpus.h"
#include "tests/support/safetensors_writer.h"
#include "tests/support/temp_dir.h"

namespace weightfs {
namespace {

namespace fs = std::filesystem;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using testing::TempDir;
using testing::WriteFile;
using testing::WriteSafetensors;

class RepositoryTest : public ::testing::Test {
 protected:
  void Write(const std::string& path, std::string_view text = "x") {
    fs::create_directories(fs::path(dir_ / path).parent_path());
    WriteFile(dir_ / path, text);
  }
  void WriteAll(const std::vector<std::string>& paths) {
    for (const std::string& path : paths) Write(path);
  }
  Result<Repository> TryScan(const ScanOptions& options = {}) {
    files_ = *SourceFiles::Create(dir_.path().string(), {.cache = std::make_shared<BlockCache>(1 << 20)});
    return ScanRepository(*files_, Limits{}, options);
  }
  Repository Scan() {
    auto scanned = TryScan();
    EXPECT_TRUE(scanned.has_value()) << scanned.error().message;
    return scanned.value_or(Repository{});
  }
  Error ScanError() {
    auto scanned = TryScan();
    EXPECT_FALSE(scanned.has_value());
    return scanned ? Error{} : scanned.error();
  }
  Result<Checkpoint> OpenOnly() {
    const Repository repository = Scan();
    EXPECT_EQ(repository.weights.size(), 1);
    return OpenWeightSet(repository.weights.at(0), *files_, {.cache = std::make_shared<BlockCache>(1 << 20)});
  }

  TempDir dir_;
  std::shared_ptr<SourceFiles> files_;
};

/// "FOLDER/STEM.VARIANT: SHARD SHARD" of each set.
std::vector<std::string> Sets(const Repository& repository) {
  std::vector<std::string> sets;
  for (const WeightSet& set : repository.weights) {
    std::string text = set.folder + (set.folder.empty() ? "" : "/") + set.stem;
    if (!set.variant.empty()) text += "." + set.variant;
    text += ":";
    for (const std::string& shard : set.shards) text += " " + shard;
    sets.push_back(std::move(text));
  }
  return sets;
}

std::vector<std::string> Files(const Repository& repository) {
  std::vector<std::string> files;
  for (const PassThrough& file : repository.files) files.push_back(file.path);
  std::ranges::sort(files);
  return files;
}

std::map<std::string, std::string> Hidden(const Repository& repository) {
  std::map<std::string, std::string> hidden;
  for (const HiddenFile& file : repository.hidden) hidden[file.path] = file.reason;
  return hidden;
}

std::string Index(const std::vector<std::pair<std::string, std::string>>& weight_map) {
  std::string text = R"({"metadata": {"total_size": 1}, "weight_map": {)";
  for (const auto& [name, file] : weight_map)
    text += (text.ends_with('{') ? "\"" : ", \"") + name + "\": \"" + file + "\"";
  return text + "}}";
}

TEST_F(RepositoryTest, SortsALegacyRepository) {
  WriteAll({"pytorch_model.bin",
            "config.json",
            "tokenizer.json",
            "README.md",
            ".gitattributes",
            "training_args.bin",
            "optimizer.pt",
            "scheduler.pt",
            "rng_state_0.pth",
            "tf_model.h5",
            "flax_model.msgpack",
            "rust_model.ot",
            "model.gguf",
            "onnx/model.onnx",
            "consolidated.00.pth",
            "params.json",
            "trainer_state.json",
            "old.ckpt",
            "scheduler/scheduler_config.json",
            ".cache/x.json",
            "custom/code.py"});
  const Repository repository = Scan();
  EXPECT_THAT(Sets(repository), ElementsAre("model: pytorch_model.bin"));
  EXPECT_THAT(Files(repository),
              ElementsAre("README.md", "config.json", "custom/code.py", "scheduler/scheduler_config.json",
                          "tokenizer.json", "trainer_state.json"));
  EXPECT_THAT(repository.folders, ElementsAre("custom", "scheduler"));
  EXPECT_EQ(Hidden(repository).size(), 14);
  EXPECT_EQ(Hidden(repository).at("training_args.bin"), "training arguments");
  EXPECT_EQ(Hidden(repository).at("optimizer.pt"), "training state");
  EXPECT_EQ(Hidden(repository).at(".cache"), "dot-file");
}

TEST_F(RepositoryTest, KeepsStemsAndVariants) {
  WriteAll({"pytorch_model.bin", "pytorch_model.fp16.bin", "pytorch_model_1.bin",
            "diffusion_pytorch_model.bin", "diffusion_pytorch_model.non_ema.safetensors", "adapter_model.bin",
            "ema.safetensors", "v1.5-pruned.safetensors", "pytorch_lora_weights.bin"});
  EXPECT_THAT(
      Sets(Scan()),
      ElementsAre("adapter_model: adapter_model.bin", "diffusion_pytorch_model: diffusion_pytorch_model.bin",
                  "diffusion_pytorch_model.non_ema: diffusion_pytorch_model.non_ema.safetensors",
                  "ema: ema.safetensors", "model: pytorch_model.bin", "model.fp16: pytorch_model.fp16.bin",
                  "model_1: pytorch_model_1.bin", "pytorch_lora_weights: pytorch_lora_weights.bin",
                  "v1.5-pruned: v1.5-pruned.safetensors"));
}

TEST_F(RepositoryTest, SafetensorsWinOverBinPerVariant) {
  WriteAll({"model.safetensors", "pytorch_model.bin", "pytorch_model.fp16.bin"});
  const Repository repository = Scan();
  EXPECT_THAT(Sets(repository),
              ElementsAre("model: model.safetensors", "model.fp16: pytorch_model.fp16.bin"));
  EXPECT_EQ(Hidden(repository).at("pytorch_model.bin"),
            "another form of the weights is served: model.safetensors");
  EXPECT_TRUE(repository.weights[0].is_safetensors);
  EXPECT_FALSE(repository.weights[1].is_safetensors);
}

TEST_F(RepositoryTest, ASingleFileWinsOverAnIndex) {
  WriteAll({"pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"});
  Write("pytorch_model.bin.index.json", "not even JSON");
  const Repository repository = Scan();
  EXPECT_THAT(Sets(repository), ElementsAre("model: pytorch_model.bin"));
  EXPECT_THAT(Files(repository), IsEmpty());
  EXPECT_EQ(Hidden(repository).size(), 3);
}

TEST_F(RepositoryTest, ShardsComeInOrderOfTheirNames) {
  WriteAll({"pytorch_model-00001-of-00003.bin", "pytorch_model-00002-of-00003.bin.lz4",
            "pytorch_model-00003-of-00003.bin"});
  Write("pytorch_model.bin.index.json", Index({{"b", "pytorch_model-00002-of-00003.bin"},
                                               {"a", "pytorch_model-00003-of-00003.bin"},
                                               {"c", "pytorch_model-00002-of-00003.bin"},
                                               {"d", "pytorch_model-00001-of-00003.bin"}}));
  const Repository repository = Scan();
  EXPECT_THAT(Sets(repository),
              ElementsAre("model: pytorch_model-00001-of-00003.bin pytorch_model-00002-of-00003.bin.lz4 "
                          "pytorch_model-00003-of-00003.bin"));
  EXPECT_EQ(repository.weights[0].index_path, "pytorch_model.bin.index.json");
}

TEST_F(RepositoryTest, FindsIndexesOfVariantsOldAndNew) {
  WriteAll({"a/model.fp16-00001-of-00001.safetensors",
            "b/diffusion_pytorch_model-00001-of-00001.fp16.safetensors",
            "c/model.fp16-00001-of-00001.safetensors"});
  Write("a/model.safetensors.index.fp16.json", Index({{"t", "model.fp16-00001-of-00001.safetensors"}}));
  Write("b/diffusion_pytorch_model.safetensors.fp16.index.json",
        Index({{"t", "diffusion_pytorch_model-00001-of-00001.fp16.safetensors"}}));
  Write("c/model.fp16.safetensors.index.json", Index({{"t", "model.fp16-00001-of-00001.safetensors"}}));
  EXPECT_THAT(Sets(Scan()), ElementsAre("a/model.fp16: a/model.fp16-00001-of-00001.safetensors",
                                        "b/diffusion_pytorch_model.fp16: "
                                        "b/diffusion_pytorch_model-00001-of-00001.fp16.safetensors",
                                        "c/model.fp16: c/model.fp16-00001-of-00001.safetensors"));
}

TEST_F(RepositoryTest, AnIndexMayNameFilesOfAnyStem) {
  WriteAll({"model-00001-of-00001.safetensors", "extra.safetensors", "pytorch_model_00001-of-00001.bin"});
  Write("model.safetensors.index.json",
        Index({{"a", "model-00001-of-00001.safetensors"}, {"b", "extra.safetensors"}}));
  EXPECT_THAT(Sets(Scan()), ElementsAre("model: extra.safetensors model-00001-of-00001.safetensors"));
}

TEST_F(RepositoryTest, NumberedShardsNeedNoIndex) {
  WriteAll({"pytorch_model-00002-of-00002.bin", "pytorch_model-00001-of-00002.bin"});
  EXPECT_THAT(Sets(Scan()),
              ElementsAre("model: pytorch_model-00001-of-00002.bin pytorch_model-00002-of-00002.bin"));
  fs::remove(dir_ / "pytorch_model-00001-of-00002.bin");
  EXPECT_EQ(ScanError().code, ErrorCode::kNotFound);
  EXPECT_THAT(ScanError().message, HasSubstr("shard 1 of 2 missing"));
}

TEST_F(RepositoryTest, Lz4FilesAreTheFilesTheyHold) {
  WriteAll({"pytorch_model.bin.lz4", "sub/model.safetensors", "sub/model.safetensors.lz4"});
  EXPECT_THAT(Sets(Scan()), ElementsAre("model: pytorch_model.bin.lz4", "sub/model: sub/model.safetensors"));
}

TEST_F(RepositoryTest, MissingShardsAreAllNamed) {
  Write("s1.bin");
  Write("pytorch_model.bin.index.json", Index({{"a", "s1.bin"}, {"b", "s2.bin"}, {"c", "s3.bin"}}));
  const Error error = ScanError();
  EXPECT_EQ(error.code, ErrorCode::kNotFound);
  EXPECT_EQ(error.message,
            dir_ / "pytorch_model.bin.index.json: s2.bin, s3.bin missing; expected every shard");
}

TEST_F(RepositoryTest, AnIndexWithoutAnyShardIsPassedOverForAnotherForm) {
  Write("model.safetensors.index.json", Index({{"a", "model-00001-of-00001.safetensors"}}));
  Write("pytorch_model.bin");
  const Repository repository = Scan();
  EXPECT_THAT(Sets(repository), ElementsAre("model: pytorch_model.bin"));
  EXPECT_THAT(repository.warnings, ElementsAre(HasSubstr("the next form of the weights is served")));
}

TEST_F(RepositoryTest, MirrorsATreeOfModels) {
  WriteAll({"model_index.json", "unet/diffusion_pytorch_model.bin", "unet/config.json",
            "text_encoder/pytorch_model.bin", "tokenizer/vocab.json", "1_Pooling/config.json",
            "2_Dense/pytorch_model.bin", "original/consolidated.00.pth", "original/params.json"});
  fs::create_directories(dir_ / "empty/deeper");
  const Repository repository = Scan();
  EXPECT_THAT(Sets(repository),
              ElementsAre("2_Dense/model: 2_Dense/pytorch_model.bin",
                          "text_encoder/model: text_encoder/pytorch_model.bin",
                          "unet/diffusion_pytorch_model: unet/diffusion_pytorch_model.bin"));
  EXPECT_THAT(repository.folders, ElementsAre("1_Pooling", "2_Dense", "empty", "empty/deeper", "text_encoder",
                                              "tokenizer", "unet"));
}

TEST_F(RepositoryTest, SaysWhatIsThereInsteadOfWeights) {
  EXPECT_THAT(ScanError().message, HasSubstr("no weights, it is empty; expected model*.safetensors"));
  WriteAll({"config.json", "README.md"});
  EXPECT_THAT(ScanError().message, HasSubstr("only README.md, config.json;"));
  EXPECT_EQ(ScanError().code, ErrorCode::kNotFound);
  Write("model.pt");
  Write("other.ckpt");
  EXPECT_THAT(ScanError().message,
              HasSubstr("no weights under a name that loaders look for, but model.pt, other.ckpt;"));
  EXPECT_EQ(ScanError().remedy, "mount the file itself: " + (dir_ / "model.pt"));
}

TEST_F(RepositoryTest, ASingleTorchFileInTheRootIsTheWeights) {
  WriteAll({"ckpt.pt", "optimizer.pt", "config.yaml", "runs/other.pt"});
  const Repository repository = Scan();
  EXPECT_THAT(Sets(repository), ElementsAre("model: ckpt.pt"));
  EXPECT_FALSE(repository.weights[0].are_ranks);
  EXPECT_THAT(Files(repository), ElementsAre("config.yaml"));
  EXPECT_EQ(Hidden(repository).count("ckpt.pt"), 0);
  EXPECT_EQ(Hidden(repository).count("runs/other.pt"), 1);
  // Not below the root, and not beside weights.
  fs::remove(dir_ / "ckpt.pt");
  EXPECT_EQ(ScanError().code, ErrorCode::kNotFound);
  WriteAll({"ckpt.pt", "sub/model.safetensors"});
  EXPECT_THAT(Sets(Scan()), ElementsAre("sub/model: sub/model.safetensors"));
}

TEST_F(RepositoryTest, ASingleCompressedFileIsTheWeightsToo) {
  WriteAll({"ckpt.pt.lz4"});
  EXPECT_THAT(Sets(Scan()), ElementsAre("model: ckpt.pt.lz4"));
}

const ScanOptions kNative = {.weight_patterns = {"whole.{part}.pth", "whole.{part}.pth", "save_{number}.pt",
                                                 "named.pth", "one.safetensors"}};

TEST_F(RepositoryTest, RankFilesAreOneSet) {
  WriteAll({"whole.01.pth", "whole.00.pth", "whole.10.pth.lz4", "params.json", "tokenizer.model"});
  for (int rank = 2; rank < 10; ++rank) Write("whole.0" + std::to_string(rank) + ".pth");
  Write("whole.03.pth.lz4");
  const auto scanned = TryScan(kNative);
  ASSERT_TRUE(scanned) << scanned.error().message;
  ASSERT_EQ(scanned->weights.size(), 1);
  EXPECT_TRUE(scanned->weights[0].are_ranks);
  EXPECT_EQ(scanned->weights[0].stem, "model");
  EXPECT_THAT(scanned->weights[0].shards,
              ElementsAre("whole.00.pth", "whole.01.pth", "whole.02.pth", "whole.03.pth", "whole.04.pth",
                          "whole.05.pth", "whole.06.pth", "whole.07.pth", "whole.08.pth", "whole.09.pth",
                          "whole.10.pth.lz4"));
  EXPECT_THAT(Files(*scanned), ElementsAre("tokenizer.model"));
  EXPECT_FALSE(scanned->has_numbered_saves);
}

TEST_F(RepositoryTest, AMissingRankFileIsNamed) {
  WriteAll({"whole.01.pth", "whole.04.pth"});
  const auto scanned = TryScan(kNative);
  ASSERT_FALSE(scanned);
  EXPECT_EQ(scanned.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(scanned.error().message,
              HasSubstr("whole.00.pth, whole.02.pth, whole.03.pth missing; expected the files of all ranks"));
  Write("whole.1.pth");
  EXPECT_THAT(TryScan(kNative).error().message,
              HasSubstr("whole.01.pth and whole.1.pth have the same number"));
}

TEST_F(RepositoryTest, SavesAreChosenByTag) {
  WriteAll({"save_000650.pt", "meta_000650.json"});
  auto scanned = TryScan(kNative);
  ASSERT_TRUE(scanned) << scanned.error().message;
  EXPECT_THAT(Sets(*scanned), ElementsAre("model: save_000650.pt"));
  EXPECT_EQ(scanned->weights[0].number, "000650");
  EXPECT_FALSE(scanned->weights[0].are_ranks);
  EXPECT_TRUE(scanned->has_numbered_saves);

  Write("save_001300.pt");
  scanned = TryScan(kNative);
  ASSERT_FALSE(scanned);
  EXPECT_EQ(scanned.error().code, ErrorCode::kAmbiguous);
  EXPECT_THAT(scanned.error().message, HasSubstr("the saves 000650, 001300; expected one of them"));
  EXPECT_EQ(scanned.error().remedy, "choose one with --tag 001300");

  ScanOptions options = kNative;
  for (const char* tag : {"650", "000650"}) {
    options.tag = tag;
    scanned = TryScan(options);
    ASSERT_TRUE(scanned) << scanned.error().message;
    EXPECT_THAT(Sets(*scanned), ElementsAre("model: save_000650.pt"));
    EXPECT_EQ(Hidden(*scanned).at("save_001300.pt"), "another save; --tag chooses");
  }
  for (const char* tag : {"651", "650x", "0000000650", "9999999999", "x"}) {
    options.tag = tag;
    scanned = TryScan(options);
    ASSERT_FALSE(scanned);
    EXPECT_EQ(scanned.error().code, ErrorCode::kInvalidArgument);
    EXPECT_THAT(scanned.error().message, HasSubstr("expected one of 000650, 001300"));
  }
}

TEST_F(RepositoryTest, NativeWeightsComeAfterHuggingFaceNames) {
  WriteAll({"named.pth", "sub/whole.00.pth", "sub/deeper/named.pth", "other/named.pth"});
  auto scanned = TryScan(kNative);
  ASSERT_TRUE(scanned) << scanned.error().message;
  // What lies below weights is not looked for.
  EXPECT_THAT(Sets(*scanned), ElementsAre("model: named.pth"));
  fs::remove(dir_ / "named.pth");
  EXPECT_THAT(Sets(*TryScan(kNative)),
              ElementsAre("other/model: other/named.pth", "sub/model: sub/whole.00.pth"));
  Write("model.safetensors");
  EXPECT_THAT(Sets(*TryScan(kNative)), ElementsAre("model: model.safetensors"));
  fs::remove(dir_ / "model.safetensors");
  Write("named.pth");
  Write("whole.00.pth");
  scanned = TryScan(kNative);
  ASSERT_FALSE(scanned);
  EXPECT_EQ(scanned.error().code, ErrorCode::kAmbiguous);
  EXPECT_THAT(scanned.error().message, HasSubstr("named.pth and whole.00.pth, weights of different kinds"));
}

TEST(NativeNames, MatchPatterns) {
  EXPECT_TRUE(MatchNativeName("a.pth", "a.pth"));
  EXPECT_FALSE(MatchNativeName("a.pth", "xa.pth"));
  EXPECT_FALSE(MatchNativeName("a.pth", "a.pthx"));
  EXPECT_EQ(MatchNativeName("c.{part}.pth", "c.07.pth")->part, "07");
  EXPECT_EQ(MatchNativeName("m_{number}_r{part}", "m_12_r3")->number, "12");
  EXPECT_EQ(MatchNativeName("m_{number}_r{part}", "m_12_r3")->part, "3");
  EXPECT_TRUE(MatchNativeName("c.{part}", "c.999999999"));
  EXPECT_FALSE(MatchNativeName("c.{part}", "c.1000000000"));
  EXPECT_FALSE(MatchNativeName("c.{part}", "c."));
  EXPECT_FALSE(MatchNativeName("c.{part}", "c.1a"));
  EXPECT_TRUE(IsNativeWeightName(std::vector<std::string>{"a", "c.{part}"}, "c.1.lz4"));
}

TEST_F(RepositoryTest, OtherFormatsAreNamed) {
  const std::pair<std::string, std::string> cases[] = {
      {"latest_checkpointed_iteration.txt", "a Megatron checkpoint"},
      {"iter_0000010/mp_rank_00/model_optim_rng.pt", "a Megatron checkpoint"},
      {"model.nemo", "a NeMo checkpoint"},
  };
  for (const auto& [path, message] : cases) {
    Write(path);
    const Error error = ScanError();
    EXPECT_EQ(error.code, ErrorCode::kUnsupported) << path;
    EXPECT_THAT(error.message, HasSubstr(message)) << path;
    EXPECT_THAT(error.message, HasSubstr("this version reads torch and safetensors files"));
    fs::remove_all(dir_.path() / *fs::path(path).begin());
  }
}

TEST_F(RepositoryTest, ADistributedCheckpointIsOneSet) {
  WriteAll({".metadata", "__0_0.distcp", "__1_0.distcp", "config.json", ".metadata.tmp"});
  const Repository repository = Scan();
  ASSERT_EQ(repository.weights.size(), 1u);
  EXPECT_EQ(repository.weights[0].dcp_folder, "");
  EXPECT_THAT(repository.weights[0].shards, ElementsAre(".metadata", "__0_0.distcp", "__1_0.distcp"));
  EXPECT_THAT(Files(repository), ElementsAre("config.json"));
}

TEST_F(RepositoryTest, ATrainingStateComesBeforeTheFilesBesideIt) {
  WriteAll({"model.safetensors", "config.json", "trainer_state.json", "pytorch_model_fsdp_0/.metadata",
            "pytorch_model_fsdp_0/__0_0.distcp", "optimizer_0/.metadata", "optimizer_0/__0_0.distcp"});
  Repository repository = Scan();
  ASSERT_EQ(repository.weights.size(), 1u);
  EXPECT_EQ(repository.weights[0].dcp_folder, "pytorch_model_fsdp_0");
  EXPECT_EQ(repository.weights[0].folder, "");
  ASSERT_EQ(repository.weights[0].beside.size(), 1u);
  EXPECT_THAT(repository.weights[0].beside[0].shards, ElementsAre("model.safetensors"));
  EXPECT_THAT(Files(repository), ElementsAre("config.json", "trainer_state.json"));
  EXPECT_THAT(repository.folders, IsEmpty());

  ScanOptions options;
  options.weights = "files";
  repository = TryScan(options).value();
  EXPECT_THAT(Sets(repository), ElementsAre("model: model.safetensors"));
  fs::remove(dir_ / "model.safetensors");
  const auto nothing = TryScan(options);
  ASSERT_FALSE(nothing.has_value());
  EXPECT_EQ(nothing.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(nothing.error().message, HasSubstr("no weight files beside a distributed checkpoint"));
}

TEST_F(RepositoryTest, AnAdapterComesBeforeTheStateBesideIt) {
  WriteAll(
      {"adapter_model.safetensors", "pytorch_model_fsdp_0/.metadata", "pytorch_model_fsdp_0/__0_0.distcp"});
  const Repository repository = Scan();
  EXPECT_THAT(Sets(repository), ElementsAre("adapter_model: adapter_model.safetensors"));
  EXPECT_THAT(repository.warnings, ElementsAre(HasSubstr("the adapter beside it is served")));
  ScanOptions options;
  options.weights = "model";
  EXPECT_EQ(TryScan(options).value().weights[0].dcp_folder, "pytorch_model_fsdp_0");
}

TEST_F(RepositoryTest, MetadataOfSomethingElseIsNoTrainingState) {
  WriteAll({"model.safetensors", ".metadata"});
  EXPECT_THAT(Sets(Scan()), ElementsAre("model: model.safetensors"));
}

TEST_F(RepositoryTest, TrainingStateBesideWeightsIsLeftOutAloud) {
  WriteAll({"model.safetensors", "latest", "state/model_optim_rng.pt", "state/note.txt"});
  const Repository repository = Scan();
  EXPECT_THAT(Sets(repository), ElementsAre("model: model.safetensors"));
  EXPECT_THAT(repository.warnings, ElementsAre(HasSubstr("state: a Megatron checkpoint")));
  EXPECT_THAT(Files(repository), ElementsAre("latest"));
  EXPECT_THAT(repository.folders, IsEmpty());
}

TEST_F(RepositoryTest, DeepSpeedSavesAreWeights) {
  WriteAll({"run/latest", "run/zero_to_fp32.py", "run/config.json",
            "run/global_step5/mp_rank_00_model_states.pt", "run/global_step5/zero/note.txt",
            "run/global_step6/mp_rank_00_model_states.pt", "other/pytorch_model.bin"});
  Write("run/latest", "global_step5");
  const Repository repository = Scan();
  EXPECT_THAT(Sets(repository), ElementsAre("other/model: other/pytorch_model.bin",
                                            "run/model: run/global_step5/mp_rank_00_model_states.pt"));
  EXPECT_NE(repository.weights[1].deepspeed, nullptr);
  EXPECT_TRUE(repository.has_numbered_saves);
  EXPECT_THAT(Files(repository), ElementsAre("run/config.json", "run/latest", "run/zero_to_fp32.py"));
  EXPECT_THAT(repository.folders, ElementsAre("other", "run"));
}

TEST_F(RepositoryTest, SavesWinOverFilesBesideThem) {
  WriteAll({"model.safetensors", "global_step5/mp_rank_00_model_states.pt"});
  Write("latest", "global_step5");
  const Repository masters = Scan();
  EXPECT_THAT(Sets(masters), ElementsAre("model: global_step5/mp_rank_00_model_states.pt"));
  ASSERT_EQ(masters.weights[0].beside.size(), 1);
  EXPECT_THAT(masters.weights[0].beside[0].shards, ElementsAre("model.safetensors"));
  const auto files = TryScan({.weights = "files"});
  ASSERT_TRUE(files.has_value()) << files.error().message;
  EXPECT_THAT(Sets(*files), ElementsAre("model: model.safetensors"));
  fs::remove(dir_ / "model.safetensors");
  EXPECT_EQ(TryScan({.weights = "files"}).error().code, ErrorCode::kInvalidArgument);
  Write("adapter_model.safetensors");
  EXPECT_THAT(Sets(Scan()), ElementsAre("adapter_model: adapter_model.safetensors"));
  EXPECT_THAT(Scan().warnings, ElementsAre(HasSubstr("the adapter beside it is served")));
  EXPECT_THAT(Sets(*TryScan({.weights = "master"})),
              ElementsAre("model: global_step5/mp_rank_00_model_states.pt"));
}

TEST_F(RepositoryTest, SavesOfARootNeedNoLatest) {
  WriteAll({"global_step5/mp_rank_00_model_states.pt", "notes/x.txt"});
  EXPECT_THAT(Sets(Scan()), ElementsAre("model: global_step5/mp_rank_00_model_states.pt"));
  Write("global_step6/mp_rank_00_model_states.pt");
  const Error error = ScanError();
  EXPECT_EQ(error.code, ErrorCode::kAmbiguous);
  EXPECT_THAT(error.message, HasSubstr("global_step5, global_step6"));
  EXPECT_THAT(Sets(*TryScan({.tag = "global_step6"})),
              ElementsAre("model: global_step6/mp_rank_00_model_states.pt"));
}

TEST_F(RepositoryTest, PartialLeavesOutBadModels) {
  WriteAll({"good/pytorch_model.bin", "other/model_optim_rng.pt"});
  Write("bad/pytorch_model.bin.index.json", "{}");
  EXPECT_FALSE(TryScan().has_value());
  const auto scanned = TryScan({.mode = ScanMode::kPartial});
  ASSERT_TRUE(scanned.has_value()) << scanned.error().message;
  EXPECT_THAT(Sets(*scanned), ElementsAre("good/model: good/pytorch_model.bin"));
  ASSERT_EQ(scanned->unserved.size(), 2);
  EXPECT_EQ(scanned->unserved[0].folder, "bad");
  EXPECT_THAT(scanned->unserved[0].error.message, HasSubstr("no weight_map"));
  EXPECT_EQ(scanned->unserved[1].folder, "other");
  fs::remove_all(dir_ / "good");
  EXPECT_FALSE(TryScan({.mode = ScanMode::kPartial}).has_value());
}

TEST_F(RepositoryTest, ACacheRepositoryNamesItsSnapshots) {
  WriteAll({"blobs/1234", "snapshots/abc/config.json", "refs/main"});
  const Error error = ScanError();
  EXPECT_EQ(error.code, ErrorCode::kAmbiguous);
  EXPECT_EQ(error.remedy, "mount a snapshot: " + (dir_ / "snapshots/abc"));
}

TEST_F(RepositoryTest, LinksThatLoopOrLeaveAreNotFollowed) {
  WriteAll({"a/pytorch_model.bin", "b/config.json"});
  fs::create_symlink(".", dir_ / "self");
  fs::create_symlink("../b", dir_ / "a/to_b");
  fs::create_symlink("../a", dir_ / "b/to_a");
  fs::create_symlink("/etc/hostname", dir_ / "a/outside.json");
  const Repository repository = Scan();
  EXPECT_THAT(Sets(repository),
              ElementsAre("a/model: a/pytorch_model.bin", "b/to_a/model: b/to_a/pytorch_model.bin"));
  EXPECT_THAT(Files(repository), ElementsAre("a/to_b/config.json", "b/config.json"));
  EXPECT_THAT(Hidden(repository).at("self"), HasSubstr("holds it"));
  EXPECT_THAT(repository.warnings, Contains(HasSubstr("--allow-links")));
}

TEST_F(RepositoryTest, WeightsThatAreALinkOutsideAreAnError) {
  Write("config.json");
  fs::create_symlink("/etc/hostname", dir_ / "pytorch_model.bin");
  EXPECT_EQ(ScanError().code, ErrorCode::kUnsupported);
  EXPECT_THAT(ScanError().message, HasSubstr("--allow-links"));
}

TEST_F(RepositoryTest, DepthIsLimited) {
  for (const int depth : {64, 65}) {
    std::string path;
    for (int i = 0; i < depth; ++i) path += "d/";
    Write(path + "model.safetensors");
    EXPECT_EQ(TryScan().has_value(), depth == 64);
  }
}

std::string FileWith(const std::vector<std::string>& names) {
  std::vector<testing::SmallTensor> tensors;
  for (const std::string& name : names) tensors.push_back({name, "U8", 2, name.size() > 1 ? "yy" : "xx"});
  return WriteSafetensors(tensors);
}

std::vector<std::string> Names(const Checkpoint& checkpoint) {
  std::vector<std::string> names;
  for (const SourceTensor& tensor : checkpoint.tensors) names.push_back(tensor.name + "@" + tensor.file);
  return names;
}

TEST_F(RepositoryTest, OpensASingleFile) {
  Write("sub/model.safetensors", FileWith({"b", "a"}));
  const auto opened = OpenOnly();
  ASSERT_TRUE(opened.has_value()) << opened.error().message;
  EXPECT_THAT(Names(*opened), ElementsAre("b@sub/model.safetensors", "a@sub/model.safetensors"));
}

TEST_F(RepositoryTest, JoinsShardsUnderTheIndex) {
  Write("s1.safetensors", FileWith({"a", "stale", "unlisted"}));
  Write("s2.safetensors", FileWith({"b", "stale"}));
  Write("model.safetensors.index.json", Index({{"b", "s2.safetensors"},
                                               {"a", "s1.safetensors"},
                                               {"stale", "s2.safetensors"},
                                               {"gone", "s1.safetensors"}}));
  const auto opened = OpenOnly();
  ASSERT_TRUE(opened.has_value()) << opened.error().message;
  EXPECT_THAT(Names(*opened), ElementsAre("a@s1.safetensors", "unlisted@s1.safetensors", "b@s2.safetensors",
                                          "stale@s2.safetensors"));
  ASSERT_EQ(opened->left_out.size(), 2);
  EXPECT_EQ(opened->left_out[0].path, "stale");
  EXPECT_EQ(opened->left_out[0].reason, "in s1.safetensors, but the index says s2.safetensors");
  EXPECT_EQ(opened->left_out[1].path, "gone");
  EXPECT_THAT(opened->warnings, ElementsAre(HasSubstr("1 names that no shard holds: \"gone\"")));
}

TEST_F(RepositoryTest, ANameInTwoShardsIsRefusedUnlessTheIndexChooses) {
  Write("model-00001-of-00002.safetensors", FileWith({"a", "b"}));
  Write("model-00002-of-00002.safetensors", FileWith({"a"}));
  const auto opened = OpenOnly();
  ASSERT_FALSE(opened.has_value());
  EXPECT_EQ(opened.error().code, ErrorCode::kCorrupt);
  EXPECT_THAT(opened.error().message, HasSubstr("tensor \"a\" is in model-00001-of-00002.safetensors too"));
}

TEST_F(RepositoryTest, ADamagedShardIsNamed) {
  Write("model-00001-of-00002.safetensors", FileWith({"a"}));
  Write("model-00002-of-00002.safetensors", FileWith({"b"}) + "more");
  const auto opened = OpenOnly();
  ASSERT_FALSE(opened.has_value());
  EXPECT_THAT(opened.error().message, HasSubstr("model-00002-of-00002.safetensors: 6 bytes of tensor data"));
}

TEST(WeightIndexTest, SortsShardsAndKeepsTheOrderOfTensors) {
  const auto index = ParseWeightIndex(
      R"({"weight_map": {"b": "2", "a": "1", "c": "2"}, "metadata": {"x": [{"weight_map": {"z": 1}}], "y": NaN}})",
      "f", Limits{});
  ASSERT_TRUE(index.has_value()) << index.error().message;
  EXPECT_THAT(index->shards, ElementsAre("1", "2"));
  ASSERT_EQ(index->tensors.size(), 3);
  EXPECT_EQ(index->tensors[1].name, "a");
  EXPECT_EQ(index->tensors[1].shard, 0);
}

TEST(WeightIndexTest, LimitsAreExact) {
  const std::string text = R"({"weight_map": {"b": "2", "a": "1"}})";
  for (const uint64_t limit : {1, 2, 3})
    EXPECT_EQ(ParseWeightIndex(text, "f", {.tensors_max = limit}).has_value(), limit >= 2);
  for (const uint64_t limit : {text.size() - 1, text.size(), text.size() + 1})
    EXPECT_EQ(ParseWeightIndex(text, "f", {.index_json_bytes_max = limit}).has_value(), limit >= text.size());
}

TEST(WeightIndexTest, RefusesMalformedIndexes) {
  for (const testing::MalformedCase& malformed :
       testing::LoadMalformedCases(WEIGHTFS_MALFORMED_DIR "/index_json")) {
    const auto index = ParseWeightIndex(testing::ReadFile(malformed.path), "bad.index.json", Limits{});
    ASSERT_FALSE(index.has_value()) << malformed.path;
    EXPECT_EQ(ErrorCodeName(index.error().code), malformed.code)
        << malformed.path << ": " << index.error().message;
    EXPECT_THAT(index.error().message, ::testing::StartsWith("bad.index.json: ")) << malformed.path;
    EXPECT_THAT(index.error().message, HasSubstr(malformed.message_contains)) << malformed.path;
  }
}

}  // namespace
}  // namespace weightfs
