#include "convert/source/toml.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "tests/support/malformed_corpus.h"

namespace weightfs {
namespace {

using ::testing::HasSubstr;

std::string JsonOf(std::string_view text, const Limits& limits = {}) {
  const Result<nlohmann::json> read = ParseToml(text, "file.toml", limits);
  return read ? read->dump() : read.error().message;
}

TEST(Toml, ReadsWhatSettingsLookLike) {
  EXPECT_EQ(
      JsonOf(
          "# a run\n[model]\nname = \"llama3\"\nflavor = '8B'\n[training]\nseq_len = 8_192\n"
          "lr = 3e-4\ncompile = false\nsteps = [1, 0x10, [2]]\n[[data]]\na.b = 1\n[[data]]\nc = {d = 2}\n"),
      R"({"data":[{"a":{"b":1}},{"c":{"d":2}}],"model":{"flavor":"8B","name":"llama3"},)"
      R"("training":{"compile":false,"lr":0.0003,"seq_len":8192,"steps":[1,16,[2]]}})");
  EXPECT_EQ(JsonOf(""), "{}");
  EXPECT_EQ(JsonOf("a = \"\xC3\xA9t\xC3\xA9\" # \xE2\x82\xAC"), R"({"a":"?t?"})");
  EXPECT_EQ(JsonOf("d = 2025-05-27\nt = 07:32:00\nm = 2025-05-27T07:32:00Z\n"),
            R"({"d":"2025-05-27","m":"2025-05-27T07:32:00Z","t":"07:32:00"})");
  EXPECT_EQ(JsonOf("a = inf\nb = nan\nc = -9223372036854775808"),
            R"({"a":null,"b":null,"c":-9223372036854775808})");
}

TEST(Toml, DotsInTextsAndNumbersAreNoDepth) {
  const std::string dots(1000, '.');
  EXPECT_EQ(JsonOf("a = \"" + dots + "\"").size(), 1008u);
  EXPECT_EQ(JsonOf("a = '" + dots + "' # " + dots).size(), 1008u);
  EXPECT_EQ(JsonOf("a = \"\"\"\\\"" + dots + "\n" + dots + "\"\"\"").size(), 2012u);
  std::string numbers = "a = [0.5";
  for (int i = 0; i < 200; ++i) numbers += ", 0.5";
  EXPECT_THAT(JsonOf(numbers + "]"), HasSubstr("0.5]"));
}

TEST(Toml, BoundsAreExact) {
  Limits limits;
  limits.toml_bytes_max = 8;
  EXPECT_EQ(JsonOf("a = 1234", limits), R"({"a":1234})");
  EXPECT_EQ(JsonOf("a = 12345", limits), "file.toml: 9 bytes of TOML; expected at most 8");
  limits = {};
  limits.json_depth_max = 3;
  EXPECT_EQ(JsonOf("a.b.c = 1", limits), R"({"a":{"b":{"c":1}}})");
  EXPECT_THAT(JsonOf("a.b.c.d = 1", limits), HasSubstr("nested deeper than 3"));
  EXPECT_EQ(JsonOf("a = [[1]]", limits), R"({"a":[[1]]})");
  EXPECT_THAT(JsonOf("a = [[[1]]]", limits), HasSubstr("nested deeper than 3"));
}

TEST(Toml, MalformedFiles) {
  for (const testing::MalformedCase& bad : testing::LoadMalformedCases(WEIGHTFS_MALFORMED_DIR "/toml")) {
    const Result<nlohmann::json> read = ParseToml(testing::ReadFile(bad.path), "file.toml", {});
    ASSERT_FALSE(read.has_value()) << bad.path;
    EXPECT_EQ(ErrorCodeName(read.error().code), bad.code) << bad.path << read.error().message;
    EXPECT_THAT(read.error().message, HasSubstr(bad.message_contains)) << bad.path;
  }
}

}  // namespace
}  // namespace weightfs
