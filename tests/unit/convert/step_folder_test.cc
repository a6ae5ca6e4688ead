#include "convert/step_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <thread>

#include "convert/convert.h"
#include "tests/support/safetensors_writer.h"
#include "tests/support/temp_dir.h"

namespace weightfs {
namespace {

using ::testing::HasSubstr;
using testing::TempDir;
using testing::WriteFile;
using testing::WriteSafetensors;

const std::string kModel = WriteSafetensors({{"a", "F16", 1, std::string("\x00\x3c", 2)}});

void WriteStep(const TempDir& dir, const std::string& name, const std::string& model) {
  std::filesystem::create_directories(dir.path() / name);
  WriteFile(dir / (name + "/model.safetensors"), model);
}

/// Looks again until there are `count` new steps; false after ten seconds.
bool WaitForSteps(StepFolder& steps, size_t count) {
  for (int i = 0; i < 200; ++i) {
    steps.Refresh();
    if (steps.steps()->size() >= count) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  return false;
}

TEST(StepFolder, KnowsTheNamesOfSteps) {
  for (const char* name : {"step1", "step1000", "checkpoint-500"}) EXPECT_TRUE(IsStepName(name)) << name;
  for (const char* name : {"step", "steps1", "checkpoint-", "checkpoint-5a", "checkpoint5", "xstep1"})
    EXPECT_FALSE(IsStepName(name)) << name;
}

TEST(StepFolder, WholeStepsAreInTheTreeAndUnfinishedOnesAreNot) {
  TempDir dir;
  WriteStep(dir, "checkpoint-1", kModel);
  WriteStep(dir, "checkpoint-2", kModel.substr(0, kModel.size() - 1));
  const Result<OpenedSource> opened = Open(dir.path(), {});
  ASSERT_TRUE(opened) << opened.error().message;
  EXPECT_NE(opened->tree.FindPath("checkpoint-1/model.safetensors"), kNoNode);
  EXPECT_EQ(opened->tree.FindPath("checkpoint-2"), kNoNode);
  EXPECT_NE(opened->tree.FindPath(".weightfs/tensors/checkpoint-1/a.npy"), kNoNode);
  ASSERT_NE(opened->steps, nullptr);
}

TEST(StepFolder, FindsAStepOnceItIsWholeAndKeepsIt) {
  TempDir dir;
  WriteStep(dir, "step1", kModel);
  WriteStep(dir, "step2", kModel.substr(0, kModel.size() - 1));
  const Result<OpenedSource> opened = Open(dir.path(), {});
  ASSERT_TRUE(opened) << opened.error().message;
  StepFolder& steps = *opened->steps;
  steps.Refresh();
  EXPECT_TRUE(steps.steps()->empty());
  WriteStep(dir, "step2", kModel);
  EXPECT_FALSE(IsQuiet(dir / "step2"));
  ASSERT_TRUE(WaitForSteps(steps, 1));
  EXPECT_EQ(steps.steps()->front()->name, "step2");
  EXPECT_NE(steps.steps()->front()->opened->tree.FindPath("model.safetensors"), kNoNode);
  std::filesystem::remove_all(dir / "step2");
  steps.Refresh();
  EXPECT_EQ(steps.steps()->size(), 1u);
}

TEST(StepFolder, AFolderOfUnfinishedStepsAloneIsAnError) {
  TempDir dir;
  WriteStep(dir, "step1", "");
  const Result<OpenedSource> opened = Open(dir.path(), {});
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(opened.error().message, HasSubstr("step1"));
}

}  // namespace
}  // namespace weightfs
