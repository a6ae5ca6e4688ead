#include "fs/error_log.h"

#include <gtest/gtest.h>

namespace weightfs {
namespace {

TEST(ErrorLog, KeepsTheLastOnesOldestFirst) {
  ErrorLog log("/mountpoint-of-a-test");
  const size_t recorded = ErrorLog::kRecordsMax + 10;
  for (size_t i = 0; i < recorded; ++i) {
    log.Record("model.safetensors", i, 5, {.code = ErrorCode::kIo, .message = "cause " + std::to_string(i)});
  }
  const std::vector<ErrorRecord> last = log.Last();
  ASSERT_EQ(last.size(), ErrorLog::kRecordsMax);
  for (size_t i = 0; i < last.size(); ++i) {
    EXPECT_EQ(last[i].offset_bytes, recorded - ErrorLog::kRecordsMax + i);
    EXPECT_EQ(last[i].cause, "cause " + std::to_string(last[i].offset_bytes));
    EXPECT_GT(last[i].time_seconds, 0);
  }
}

TEST(ErrorLog, AddsTheRemedyToTheCause) {
  ErrorLog log("/mountpoint-of-a-test");
  log.Record("f", 0, 116, {.code = ErrorCode::kStale, .message = "changed", .remedy = "mount again"});
  EXPECT_EQ(log.Last().at(0).cause, "changed; mount again");
  EXPECT_EQ(log.Last().at(0).error_number, 116);
}

}  // namespace
}  // namespace weightfs
