#include "convert/base/result.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <memory>
#include <set>

namespace weightfs {
namespace {

TEST(ResultTest, CodesHaveDistinctNames) {
  std::set<std::string_view> names;
  for (int code = 0; code <= static_cast<int>(ErrorCode::kInternal); ++code)
    names.insert(ErrorCodeName(static_cast<ErrorCode>(code)));
  EXPECT_EQ(names.size(), static_cast<size_t>(ErrorCode::kInternal) + 1);
  EXPECT_EQ(ErrorCodeName(ErrorCode::kLimitExceeded), "limit_exceeded");
}

TEST(ResultTest, WithinNamesEveryCause) {
  const Error error{ErrorCode::kCorrupt, 0, "one\ntwo", "remedy"};
  const Error within = error.Within("f.bin");
  EXPECT_EQ(within.message, "f.bin: one\nf.bin: two");
  EXPECT_EQ(within.code, ErrorCode::kCorrupt);
  EXPECT_EQ(within.remedy, "remedy");
  EXPECT_EQ((Error{ErrorCode::kIo, 5, "", ""}.Within("f").message), "f: ");
}

TEST(ResultTest, FailIoAppendsTheText) {
  const Status status = FailIo(ENOENT, "f.bin: cannot be opened");
  ASSERT_FALSE(status.has_value());
  EXPECT_EQ(status.error().message, "f.bin: cannot be opened: No such file or directory");
  EXPECT_EQ(status.error().code, ErrorCode::kIo);
  EXPECT_EQ(status.error().error_number, ENOENT);
}

Result<std::unique_ptr<int>> Make(bool works) {
  if (!works) return Fail(ErrorCode::kNotFound, "absent", "look elsewhere");
  return std::make_unique<int>(7);
}

Result<int> UseTwice(bool first, bool second) {
  WEIGHTFS_TRY(const std::unique_ptr<int> a, Make(first));
  WEIGHTFS_TRY(auto b, Make(second));
  return *a + *b;
}

Status CheckBoth(bool first, bool second) {
  WEIGHTFS_CHECK(Make(first));
  WEIGHTFS_CHECK(Make(second));
  return {};
}

TEST(ResultTest, TryAndCheckPassErrorsOn) {
  EXPECT_EQ(UseTwice(true, true).value(), 14);
  EXPECT_EQ(UseTwice(false, true).error().message, "absent");
  EXPECT_EQ(UseTwice(true, false).error().remedy, "look elsewhere");
  EXPECT_TRUE(CheckBoth(true, true).has_value());
  EXPECT_EQ(CheckBoth(true, false).error().code, ErrorCode::kNotFound);
}

}  // namespace
}  // namespace weightfs
