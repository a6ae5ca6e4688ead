#include "cli/options.h"

#include <gtest/gtest.h>

#include <set>

namespace weightfs::cli {
namespace {

Status Apply(std::string_view name, const std::string& value, Settings& settings,
             Command command = Command::kMount) {
  return ApplyOption(*FindOption(name), "--" + std::string(name), value, command, settings);
}

/// The message of an option that is refused.
std::string Refusal(std::string_view name, const std::string& value, Command command = Command::kMount) {
  Settings settings;
  const Status status = Apply(name, value, settings, command);
  EXPECT_FALSE(status) << name << " " << value;
  if (status) return {};
  EXPECT_EQ(status.error().code, ErrorCode::kInvalidArgument);
  EXPECT_TRUE(status.error().message.starts_with("--" + std::string(name) + ": ")) << status.error().message;
  return status.error().message;
}

TEST(OptionTableTest, NamesAreUniqueAndTextsAreLines) {
  std::set<std::string_view> names;
  for (const OptionSpec& option : AllOptions()) {
    EXPECT_TRUE(names.insert(option.name).second) << option.name;
    EXPECT_NE(option.commands, 0) << option.name;
    EXPECT_FALSE(option.help.empty()) << option.name;
    EXPECT_EQ(option.help.find('\n'), std::string_view::npos) << option.name;
    EXPECT_EQ(FindOption(option.name), &option);
  }
  EXPECT_EQ(FindOption("frobnicate"), nullptr);
}

TEST(OptionTableTest, HoldsEveryOptionOfTheCommandLine) {
  for (const char* name : {"dtype",     "to",        "family",      "max-shard-size", "config",
                           "overlay",   "rules",     "include",     "exclude",        "weights",
                           "tag",       "also",      "allow-links", "trim-vocab",     "vocab-size",
                           "tp",        "pp",        "partial",     "cache",          "threads",
                           "readahead", "direct-io", "source-io"})
    EXPECT_NE(FindOption(name), nullptr) << name;
}

TEST(ApplyOptionTest, StoresWhatOptionsSay) {
  Settings settings;
  ASSERT_TRUE(Apply("dtype", "torch.bfloat16", settings));
  EXPECT_EQ(settings.open.dtype, DType::kBF16);
  ASSERT_TRUE(Apply("dtype", "keep", settings));
  EXPECT_EQ(settings.open.dtype, std::nullopt);
  ASSERT_TRUE(Apply("to", "hf", settings));
  ASSERT_TRUE(Apply("family", "none", settings));
  EXPECT_EQ(settings.open.family, "none");
  ASSERT_TRUE(Apply("family", "some:activation=gelu:heads=8:empty=", settings));
  EXPECT_EQ(settings.open.family, "some");
  EXPECT_EQ(settings.open.family_options,
            (std::map<std::string, std::string>{{"activation", "gelu"}, {"empty", ""}, {"heads", "8"}}));
  ASSERT_TRUE(Apply("family", "auto:a=b=c", settings));
  EXPECT_EQ(settings.open.family_options, (std::map<std::string, std::string>{{"a", "b=c"}}));
  ASSERT_TRUE(Apply("rules", "r.json", settings));
  ASSERT_TRUE(Apply("rules", "r.json", settings, Command::kFamilies));
  EXPECT_EQ(settings.open.rules_path, "r.json");
  ASSERT_TRUE(Apply("tag", "000650", settings));
  EXPECT_EQ(settings.open.tag, "000650");
  ASSERT_TRUE(Apply("trim-vocab", "", settings));
  EXPECT_TRUE(settings.open.trim_vocab);
  ASSERT_TRUE(Apply("vocab-size", "50257", settings));
  EXPECT_EQ(settings.open.vocab_size, 50257u);
  ASSERT_TRUE(Apply("max-shard-size", "5GB", settings));
  EXPECT_EQ(settings.open.max_shard_size_bytes, 5'000'000'000u);
  ASSERT_TRUE(Apply("config", "c.json", settings));
  EXPECT_EQ(settings.open.config_path, "c.json");
  ASSERT_TRUE(Apply("overlay", "a", settings));
  ASSERT_TRUE(Apply("overlay", "b", settings));
  EXPECT_EQ(settings.open.overlays, (std::vector<std::string>{"a", "b"}));
  ASSERT_TRUE(Apply("include", "x", settings));
  ASSERT_TRUE(Apply("exclude", "y", settings));
  EXPECT_EQ(settings.open.include, std::vector<std::string>{"x"});
  EXPECT_EQ(settings.open.exclude, std::vector<std::string>{"y"});
  ASSERT_TRUE(Apply("weights", "ema.model", settings));
  EXPECT_EQ(settings.open.weights_key_path, "ema.model");
  ASSERT_TRUE(Apply("allow-links", "/data", settings));
  EXPECT_EQ(settings.open.allowed_link_dirs, std::vector<std::string>{"/data"});
  ASSERT_TRUE(Apply("also", "/node1", settings));
  ASSERT_TRUE(Apply("also", "/node2", settings));
  EXPECT_EQ(settings.open.also, (std::vector<std::string>{"/node1", "/node2"}));
  ASSERT_TRUE(Apply("partial", "", settings));
  EXPECT_TRUE(settings.open.partial);
  ASSERT_TRUE(Apply("cache", "1GiB", settings));
  EXPECT_EQ(settings.open.limits.cache_bytes, 1_GiB);
  ASSERT_TRUE(Apply("threads", "8", settings));
  EXPECT_EQ(settings.threads, 8u);
  ASSERT_TRUE(Apply("readahead", "128KiB", settings));
  EXPECT_EQ(settings.readahead_bytes, 128_KiB);
  ASSERT_TRUE(Apply("readahead", "16MiB", settings));
  ASSERT_TRUE(Apply("direct-io", "", settings));
  EXPECT_TRUE(settings.direct_io);
  ASSERT_TRUE(Apply("source-io", "direct", settings));
  EXPECT_EQ(settings.open.source_io, SourceIo::kDirect);
  EXPECT_EQ(settings.source_io, "direct");
  ASSERT_TRUE(Apply("allow-other", "", settings));
  EXPECT_TRUE(settings.allow_other);
}

TEST(ApplyOptionTest, RefusesValuesThatAreNotExpected) {
  for (const char* value : {"", "int8", "f8", "BF17", "keep "}) Refusal("dtype", value);
  for (const char* value : {"0", "", "five"}) Refusal("max-shard-size", value);
  for (const char* value : {"0", "257", "many", "", "-1", "1.5", "8 "}) Refusal("threads", value);
  for (const char* value : {"1", "131071", "16777217", "x"}) Refusal("readahead", value);
  for (const char* value : {"mmap", "", "Auto"}) Refusal("source-io", value);
  for (const char* name : {"config", "overlay", "include", "exclude", "weights", "also", "allow-links",
                           "cache", "family", "rules", "tag"})
    Refusal(name, "");
  for (const char* value : {":a=b", "x:", "x:a", "x:=b", "x:a=b:", "x:a=b:a=c"}) Refusal("family", value);
  for (const char* value : {"", "0", "-1", "1.5", "many", "5 "}) Refusal("vocab-size", value);
}

TEST(ApplyOptionTest, WhatIsStillToComeSaysSo) {
  for (const auto& [name, value] :
       std::vector<std::pair<const char*, const char*>>{{"to", "diffusers"}, {"tp", "2"}, {"pp", "2"}})
    EXPECT_NE(Refusal(name, value).find("does not apply"), std::string::npos) << name;
}

TEST(ApplyOptionTest, OptionsOfOtherCommandsSaySo) {
  EXPECT_NE(Refusal("readahead", "1MiB", Command::kExport).find("does not apply to 'export'"),
            std::string::npos);
  EXPECT_NE(Refusal("json", "", Command::kMount).find("does not apply to 'mount'"), std::string::npos);
  EXPECT_NE(Refusal("dtype", "f32", Command::kUmount).find("does not apply to 'umount'"), std::string::npos);
  Settings settings;
  EXPECT_TRUE(Apply("readahead", "1MiB", settings, Command::kRun));
}

TEST(CommandTest, NamesRoundTrip) {
  for (int i = 0; i < kCommandCount; ++i) {
    const auto command = static_cast<Command>(i);
    EXPECT_EQ(FindCommand(CommandName(command)), command);
  }
  EXPECT_EQ(FindCommand("frobnicate"), std::nullopt);
}

}  // namespace
}  // namespace weightfs::cli
