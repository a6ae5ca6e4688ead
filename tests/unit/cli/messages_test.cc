#include "cli/messages.h"

#include <gtest/gtest.h>

namespace weightfs::cli {
namespace {

TEST(MessagesTest, OneLinePerCauseThenTheRemedy) {
  EXPECT_EQ(FormatError({ErrorCode::kCorrupt, 0, "a.bin: short; expected more", ""}),
            "weightfs: a.bin: short; expected more\n");
  EXPECT_EQ(FormatError({ErrorCode::kCorrupt, 0, "first\nsecond", "do this"}),
            "weightfs: first\nweightfs: second\n  do this\n");
}

TEST(ExitStatusTest, DependsOnTheStageForSourceErrorsOnly) {
  for (const ErrorCode code : {ErrorCode::kNotFound, ErrorCode::kCorrupt, ErrorCode::kUnsupported,
                               ErrorCode::kLimitExceeded, ErrorCode::kIo, ErrorCode::kStale}) {
    EXPECT_EQ(ExitStatusFor(code, Stage::kOpening), 3);
    EXPECT_EQ(ExitStatusFor(code, Stage::kRunning), 1);
  }
  for (const Stage stage : {Stage::kOpening, Stage::kRunning}) {
    EXPECT_EQ(ExitStatusFor(ErrorCode::kInvalidArgument, stage), 2);
    EXPECT_EQ(ExitStatusFor(ErrorCode::kAmbiguous, stage), 2);
    EXPECT_EQ(ExitStatusFor(ErrorCode::kInternal, stage), 1);
  }
}

}  // namespace
}  // namespace weightfs::cli
