#include "cli/mount_words.h"

#include <gtest/gtest.h>

namespace weightfs::cli {
namespace {

using Words = std::vector<std::string>;

TEST(SplitMountWordsTest, CommasSplitUnlessTheyBelongToAValue) {
  EXPECT_EQ(*SplitMountWords(""), Words{});
  EXPECT_EQ(*SplitMountWords("ro"), Words{"ro"});
  EXPECT_EQ(*SplitMountWords("ro,,dtype=f16,"), (Words{"ro", "dtype=f16"}));
  EXPECT_EQ(*SplitMountWords(R"(include=a{1\,3}\.w,ro)"), (Words{R"(include=a{1,3}\.w)", "ro"}));
  EXPECT_EQ(*SplitMountWords(R"(include="a{1,3}",ro)"), (Words{"include=a{1,3}", "ro"}));
  EXPECT_EQ(*SplitMountWords(R"(include=a"b,ro)"), (Words{R"(include=a"b)", "ro"}));
  EXPECT_EQ(*SplitMountWords(R"(exclude=^\d+\\$)"), Words{R"(exclude=^\d+\\$)"});
}

TEST(SplitMountWordsTest, OpenQuoteIsWrongUsage) {
  const Result<Words> words = SplitMountWords(R"(include="a,b)");
  ASSERT_FALSE(words);
  EXPECT_EQ(words.error().code, ErrorCode::kInvalidArgument);
}

TEST(ApplyMountWordsTest, OptionsWithoutDashes) {
  Settings settings;
  ASSERT_TRUE(ApplyMountWords(
      {"dtype=bf16,allow_other,max-shard-size=5GB", "include=^a,include=b=c,direct_io,partial"}, false,
      settings));
  EXPECT_EQ(settings.open.dtype, DType::kBF16);
  EXPECT_TRUE(settings.allow_other);
  EXPECT_TRUE(settings.direct_io);
  EXPECT_TRUE(settings.open.partial);
  EXPECT_EQ(settings.open.max_shard_size_bytes, 5'000'000'000u);
  EXPECT_EQ(settings.open.include, (Words{"^a", "b=c"}));
}

TEST(ApplyMountWordsTest, FamiliesHaveOptions) {
  Settings settings;
  ASSERT_TRUE(
      ApplyMountWords({"family=some:act=relu:heads=8,rules=/a/r.json,tag=000650,trim_vocab,vocab-size=50257"},
                      false, settings));
  EXPECT_EQ(settings.open.family, "some");
  EXPECT_EQ(settings.open.family_options,
            (std::map<std::string, std::string>{{"act", "relu"}, {"heads", "8"}}));
  EXPECT_EQ(settings.open.rules_path, "/a/r.json");
  EXPECT_EQ(settings.open.tag, "000650");
  EXPECT_TRUE(settings.open.trim_vocab);
  EXPECT_EQ(settings.open.vocab_size, 50257u);
}

TEST(ApplyMountWordsTest, TheLastOfOneOptionCounts) {
  Settings settings;
  ASSERT_TRUE(ApplyMountWords({"dtype=bf16,dtype=f32", "cache=1MiB"}, false, settings));
  EXPECT_EQ(settings.open.dtype, DType::kF32);
}

TEST(ApplyMountWordsTest, GenericWordsChangeNothing) {
  Settings settings;
  EXPECT_TRUE(ApplyMountWords(
      {"ro,rw,dev,nodev,suid,nosuid,exec,noexec,user,user=me,users,nouser,owner,group,nofail,auto,"
       "noauto,_netdev,defaults,noatime,relatime,async,x-systemd.automount,X-mount.mkdir,"
       "x-systemd.device-timeout=5,comment=hello"},
      false, settings));
  EXPECT_EQ(settings.open.dtype, std::nullopt);
  EXPECT_FALSE(settings.allow_other);
}

TEST(ApplyMountWordsTest, UnknownWordsAreWrongUsageUnlessSloppy) {
  for (const char* word : {"frobnicate", "frobnicate=1", "foreground", "f", "--dtype=f16"}) {
    Settings settings;
    const Status status = ApplyMountWords({word}, false, settings);
    ASSERT_FALSE(status) << word;
    EXPECT_EQ(status.error().code, ErrorCode::kInvalidArgument);
    EXPECT_TRUE(ApplyMountWords({word}, true, settings)) << word;
  }
  Settings settings;
  const Status named = ApplyMountWords({"ro,frobnicate"}, false, settings);
  EXPECT_NE(named.error().message.find("frobnicate"), std::string::npos);
}

TEST(ApplyMountWordsTest, ValuesMustFit) {
  for (const char* word : {"dtype", "dtype=", "dtype=int8", "partial=yes", "allow_other=1", "readahead=1",
                           "json", "tensor=x", "to=nemo"}) {
    Settings settings;
    EXPECT_FALSE(ApplyMountWords({word}, false, settings)) << word;
    EXPECT_FALSE(ApplyMountWords({word}, true, settings)) << word;
  }
}

}  // namespace
}  // namespace weightfs::cli
