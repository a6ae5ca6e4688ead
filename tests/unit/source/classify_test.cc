#include "convert/source/huggingface/classify.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>

namespace weightfs {
namespace {

/// "weights model.fp16 1/2 bin lz4", "index model safetensors", "hidden", "plain".
std::string Say(std::string_view name) {
  const FileClass file = ClassifyFileName(name);
  if (file.role == FileRole::kPlain) return "plain";
  if (file.role == FileRole::kHidden)
    return file.hidden_reason.empty() ? "hidden without a reason" : "hidden";
  std::string text = file.role == FileRole::kIndex ? "index " : "weights ";
  text += file.stem;
  if (!file.variant.empty()) text += "." + file.variant;
  if (file.shard_count > 0) text += fmt::format(" {}/{}", file.shard_number, file.shard_count);
  return text + (file.is_safetensors ? " safetensors" : " bin") + (file.is_lz4 ? " lz4" : "");
}

TEST(ClassifyTest, Weights) {
  EXPECT_EQ(Say("pytorch_model.bin"), "weights model bin");
  EXPECT_EQ(Say("pytorch_model.fp16.bin"), "weights model.fp16 bin");
  EXPECT_EQ(Say("pytorch_model.a.b.bin"), "weights model.a.b bin");
  EXPECT_EQ(Say("pytorch_model-00001-of-00002.bin"), "weights model 1/2 bin");
  EXPECT_EQ(Say("pytorch_model_00001-of-00072.bin"), "weights model 1/72 bin");
  EXPECT_EQ(Say("pytorch_model-000001-of-000002.bin"), "weights model 1/2 bin");
  EXPECT_EQ(Say("pytorch_model.fp16-00001-of-00002.bin"), "weights model.fp16 1/2 bin");
  EXPECT_EQ(Say("pytorch_model-00002-of-00002.fp16.bin"), "weights model.fp16 2/2 bin");
  EXPECT_EQ(Say("pytorch_model_1.bin"), "weights model_1 bin");
  EXPECT_EQ(Say("pytorch_model.bin.lz4"), "weights model bin lz4");
  EXPECT_EQ(Say("model.safetensors"), "weights model safetensors");
  EXPECT_EQ(Say("model.fp16-00001-of-00002.safetensors.lz4"), "weights model.fp16 1/2 safetensors lz4");
  EXPECT_EQ(Say("adapter_model.bin"), "weights adapter_model bin");
  EXPECT_EQ(Say("ema.safetensors"), "weights ema safetensors");
  EXPECT_EQ(Say("v1.5-pruned.safetensors"), "weights v1.5-pruned safetensors");
  EXPECT_EQ(Say("x-00001-of-00002.safetensors"), "weights x 1/2 safetensors");
  // In a .safetensors file `pytorch_model` is a stem like any other.
  EXPECT_EQ(Say("pytorch_model.fp16.safetensors"), "weights pytorch_model.fp16 safetensors");
}

TEST(ClassifyTest, NumbersThatAreNoShardNumbers) {
  EXPECT_EQ(Say("model-0001-of-0002.safetensors"), "weights model-0001-of-0002 safetensors");
  EXPECT_EQ(Say("model-00003-of-00002.safetensors"), "weights model-00003-of-00002 safetensors");
  EXPECT_EQ(Say("model-00000-of-00002.safetensors"), "weights model-00000-of-00002 safetensors");
  EXPECT_EQ(Say("-00001-of-00002.safetensors"), "weights -00001-of-00002 safetensors");
  EXPECT_EQ(Say("a.b-00001-of-00002.c.safetensors"), "weights a.b-00001-of-00002.c safetensors");
}

TEST(ClassifyTest, Indexes) {
  EXPECT_EQ(Say("pytorch_model.bin.index.json"), "index model bin");
  EXPECT_EQ(Say("model.safetensors.index.json"), "index model safetensors");
  EXPECT_EQ(Say("pytorch_model.bin.index.fp16.json"), "index model.fp16 bin");
  EXPECT_EQ(Say("model.safetensors.fp16.index.json"), "index model.fp16 safetensors");
  EXPECT_EQ(Say("model.fp16.safetensors.index.json"), "index model.fp16 safetensors");
  EXPECT_EQ(Say("x.safetensors.index.json"), "index x safetensors");
}

TEST(ClassifyTest, HiddenFiles) {
  for (const char* name : {".gitattributes",
                           ".model.safetensors",
                           "params.json",
                           "consolidated.00.pth",
                           "consolidated.safetensors",
                           "consolidated.safetensors.index.json",
                           "training_args.bin",
                           "optimizer.bin",
                           "optimizer.pt",
                           "optim.pt",
                           "optimizer.safetensors",
                           "scheduler.pt",
                           "scheduler.bin",
                           "scaler.pt",
                           "sampler.bin",
                           "rng_state.pth",
                           "rng_state_3.pth",
                           "random_states_0.pkl",
                           "custom_checkpoint_0.pkl",
                           "x.bin",
                           "x.pt",
                           "x.pth",
                           "x.ckpt",
                           "x.distcp",
                           "x.gguf",
                           "tf_model.h5",
                           "flax_model.msgpack",
                           "model.onnx",
                           "model.onnx_data",
                           "model.onnx.data",
                           "rust_model.ot",
                           "m.tflite",
                           "m.nemo",
                           "x.bin.index.json",
                           "tf_model.h5.index.json",
                           "x.ckpt.lz4",
                           ".bin",
                           "pytorch_modelx.bin",
                           "pytorch_model..bin"})
    EXPECT_EQ(Say(name), "hidden") << name;
  EXPECT_TRUE(ClassifyFileName("model.pt").is_torch_file);
  EXPECT_FALSE(ClassifyFileName("optimizer.pt").is_torch_file);
  EXPECT_FALSE(ClassifyFileName("x.gguf").is_torch_file);
}

TEST(ClassifyTest, PlainFiles) {
  for (const char* name : {"config.json", "tokenizer.model", "scheduler_config.json", "optimizer.txt",
                           "model_index.json", "vocab.bin.txt", "trainer_state.json", "merges.txt",
                           "safetensors", "README.md.lz4", "index.json", "pytorch_model.txt"})
    EXPECT_EQ(Say(name), "plain") << name;
}

}  // namespace
}  // namespace weightfs
