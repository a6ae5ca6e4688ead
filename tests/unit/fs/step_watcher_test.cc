#include "fs/step_watcher.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <filesystem>

#include "convert/convert.h"
#include "tests/support/temp_dir.h"

namespace weightfs {
namespace {

using std::chrono::steady_clock;
using testing::TempDir;
using testing::WriteFile;

/// A folder whose step1 is whole, and the opening of which a test steers.
class StepWatcherTest : public ::testing::Test {
 protected:
  StepWatcherTest() {
    std::filesystem::create_directory(dir_ / "step1");
    WriteFile(dir_ / "step1/file", "x");
    const auto long_ago = std::filesystem::file_time_type::clock::now() - std::chrono::hours(1);
    std::filesystem::last_write_time(dir_ / "step1/file", long_ago);
    std::filesystem::last_write_time(dir_ / "step1", long_ago);
    folder_ = std::make_shared<StepFolder>(dir_.path(), std::set<std::string>{},
                                           [this](const std::string&) -> Result<OpenedSource> {
                                             while (is_stalled_) std::this_thread::yield();
                                             OpenedSource step;
                                             WEIGHTFS_CHECK(step.tree.AddFile("file", MakeTextFile("x"), 0));
                                             return step;
                                           });
  }
  bool HasStep() { return table_.Child(*table_.Find(1), "step1").has_value(); }
  /// Asks until the step is there; false after ten seconds.
  bool WaitForStep(StepWatcher& watcher) {
    const auto deadline = steady_clock::now() + std::chrono::seconds(10);
    while (!HasStep() && steady_clock::now() < deadline) watcher.Update();
    return HasStep();
  }

  TempDir dir_;
  std::atomic<bool> is_stalled_ = false;
  VirtualTree tree_;
  InodeTable table_{tree_, {}};
  std::shared_ptr<StepFolder> folder_;
};

TEST_F(StepWatcherTest, AddsAStepWhenAsked) {
  StepWatcher watcher(folder_, table_);
  EXPECT_FALSE(HasStep());
  EXPECT_TRUE(WaitForStep(watcher));
}

TEST_F(StepWatcherTest, ASourceThatStallsKeepsNobodyWaiting) {
  is_stalled_ = true;
  StepWatcher watcher(folder_, table_);
  watcher.Update();  // Waits its time, once.
  const auto start = steady_clock::now();
  for (int i = 0; i < 50; ++i) watcher.Update();
  EXPECT_LT(steady_clock::now() - start, std::chrono::milliseconds(5 * StepWatcher::kWaitMilliseconds));
  EXPECT_FALSE(HasStep());
  is_stalled_ = false;
  EXPECT_TRUE(WaitForStep(watcher));
}

}  // namespace
}  // namespace weightfs
