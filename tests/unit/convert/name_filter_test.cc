#include "convert/name_filter.h"

#include <gtest/gtest.h>

namespace weightfs {
namespace {

TEST(NameFilter, PatternsAreUnanchoredAndExcludeWins) {
  const Result<NameFilter> filter = NameFilter::Compile({"layers\\.[01]\\.", "^head"}, {"bias$"});
  ASSERT_TRUE(filter);
  EXPECT_EQ(filter->DroppedBy("model.layers.0.weight"), "");
  EXPECT_EQ(filter->DroppedBy("head.weight"), "");
  EXPECT_EQ(filter->DroppedBy("model.layers.2.weight"), "no --include matches");
  EXPECT_EQ(filter->DroppedBy("model.layers.1.bias"), "--exclude bias$");
}

TEST(NameFilter, WithoutPatternsEverythingStays) {
  const Result<NameFilter> filter = NameFilter::Compile({}, {});
  ASSERT_TRUE(filter);
  EXPECT_TRUE(filter->empty());
  EXPECT_EQ(filter->DroppedBy("anything"), "");
}

TEST(NameFilter, ABadPatternNamesTheOption) {
  const Result<NameFilter> filter = NameFilter::Compile({}, {"a("});
  ASSERT_FALSE(filter);
  EXPECT_EQ(filter.error().code, ErrorCode::kInvalidArgument);
  EXPECT_NE(filter.error().message.find("--exclude a("), std::string::npos) << filter.error().message;
}

}  // namespace
}  // namespace weightfs
