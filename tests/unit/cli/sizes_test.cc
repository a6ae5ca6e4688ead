#include "cli/sizes.h"

#include <gtest/gtest.h>

#include "cli/messages.h"

namespace weightfs::cli {
namespace {

TEST(ParseSizeTest, UnitsArePowersOf1000Or1024) {
  EXPECT_EQ(ParseSize("0"), 0u);
  EXPECT_EQ(ParseSize("123"), 123u);
  EXPECT_EQ(ParseSize("123B"), 123u);
  EXPECT_EQ(ParseSize("5GB"), 5'000'000'000u);
  EXPECT_EQ(ParseSize("5gb"), 5'000'000'000u);
  EXPECT_EQ(ParseSize("64MiB"), 64u << 20);
  EXPECT_EQ(ParseSize("64M"), 64u << 20);
  EXPECT_EQ(ParseSize("20KB"), 20'000u);
  EXPECT_EQ(ParseSize("2 TiB"), 2ull << 40);
  EXPECT_EQ(ParseSize("1TB"), 1'000'000'000'000u);
  EXPECT_EQ(ParseSize("9223372036854775807"), INT64_MAX);
}

TEST(ParseSizeTest, FractionsAreCutToBytes) {
  EXPECT_EQ(ParseSize("1.5GB"), 1'500'000'000u);
  EXPECT_EQ(ParseSize("0.5KiB"), 512u);
  EXPECT_EQ(ParseSize("0.0001KB"), 0u);
}

TEST(ParseSizeTest, AnythingElseIsWrongUsage) {
  for (const char* text :
       {"", "GB", "-1", "+1", " 1", "1 2", "5 parsecs", "1e9", "0x10", "1..5", "1.2.3", "five",
        "9223372036854775808", "99999999999999999999", "9999999TiB", "9e18GB", "nan", "inf", "."}) {
    const Result<uint64_t> size = ParseSize(text);
    ASSERT_FALSE(size) << text;
    EXPECT_EQ(size.error().code, ErrorCode::kInvalidArgument);
    EXPECT_NE(size.error().message.find("expected"), std::string::npos);
  }
}

TEST(FormatSizeTest, ThreeDigitsAndAUnit) {
  EXPECT_EQ(FormatSize(0), "0 B");
  EXPECT_EQ(FormatSize(999), "999 B");
  EXPECT_EQ(FormatSize(1000), "1.00 kB");
  EXPECT_EQ(FormatSize(9'994), "9.99 kB");
  EXPECT_EQ(FormatSize(9'996), "10.0 kB");
  EXPECT_EQ(FormatSize(99'960), "100 kB");
  EXPECT_EQ(FormatSize(999'499), "999 kB");
  EXPECT_EQ(FormatSize(999'500), "1.00 MB");
  EXPECT_EQ(FormatSize(1'500'000'000'000), "1.50 TB");
  EXPECT_EQ(FormatSize(UINT64_MAX), "18.4 EB");
}

TEST(FormatCountTest, GroupsOfThree) {
  EXPECT_EQ(FormatCount(0), "0");
  EXPECT_EQ(FormatCount(999), "999");
  EXPECT_EQ(FormatCount(1000), "1,000");
  EXPECT_EQ(FormatCount(1234567), "1,234,567");
}

TEST(FormatDurationTest, SecondsMinutesHours) {
  EXPECT_EQ(FormatDuration(0), "0 s");
  EXPECT_EQ(FormatDuration(59.4), "59 s");
  EXPECT_EQ(FormatDuration(185), "3:05");
  EXPECT_EQ(FormatDuration(3723), "1:02:03");
  EXPECT_EQ(FormatDuration(1e12), "?");
  EXPECT_EQ(FormatDuration(-1), "?");
}

}  // namespace
}  // namespace weightfs::cli
