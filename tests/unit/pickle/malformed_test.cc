#include "tests/support/malformed_corpus.h"
#include "tests/unit/pickle/pickle_test_util.h"

namespace weightfs::pickle {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

TEST(PickleMalformedTest, EachFileGetsItsVerdict) {
  for (const auto& malformed : weightfs::testing::LoadMalformedCases(WEIGHTFS_MALFORMED_DIR "/pickle")) {
    SCOPED_TRACE(malformed.path);
    const auto tree = testing::ParseBytes(weightfs::testing::ReadFile(malformed.path));
    if (malformed.code == "ok") {  // A trick that is harmless here; the text is part of the value.
      ASSERT_TRUE(tree.has_value()) << tree.error().message;
      EXPECT_THAT(testing::Render(*tree), HasSubstr(malformed.message_contains));
      continue;
    }
    ASSERT_FALSE(tree.has_value());
    EXPECT_EQ(ErrorCodeName(tree.error().code), malformed.code) << tree.error().message;
    EXPECT_THAT(tree.error().message, StartsWith("p: offset "));
    EXPECT_THAT(tree.error().message, HasSubstr("; expected "));
    EXPECT_THAT(tree.error().message, HasSubstr(malformed.message_contains));
  }
}

}  // namespace
}  // namespace weightfs::pickle
