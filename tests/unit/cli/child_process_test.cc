#include "cli/child_process.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <thread>

#include "cli/interrupt.h"
#include "tests/support/temp_dir.h"

namespace weightfs::cli {
namespace {

using weightfs::testing::ReadFile;
using weightfs::testing::TempDir;

Result<int> Shell(const std::string& script) { return RunChild({"sh", "-c", script}, "/mnt/m"); }

TEST(ReplaceBracesTest, EveryPairOnce) {
  EXPECT_EQ(ReplaceBraces("plain", "/m"), "plain");
  EXPECT_EQ(ReplaceBraces("{}", "/m"), "/m");
  EXPECT_EQ(ReplaceBraces("a{}b{}c{", "/m"), "a/mb/mc{");
  EXPECT_EQ(ReplaceBraces("{}", "/odd{}name"), "/odd{}name");
}

TEST(RunChildTest, StatusIsThatOfTheCommand) {
  EXPECT_EQ(Shell("exit 0"), 0);
  EXPECT_EQ(Shell("exit 7"), 7);
  EXPECT_EQ(Shell("exit 255"), 255);
  EXPECT_EQ(Shell("kill -TERM $$"), 128 + SIGTERM);
  EXPECT_EQ(Shell("kill -KILL $$"), 128 + SIGKILL);
}

TEST(RunChildTest, TheMountpointIsInTheEnvironment) {
  EXPECT_EQ(Shell("test \"$WEIGHTFS_MOUNT\" = /mnt/m"), 0);
}

TEST(RunChildTest, WhatCannotBeStartedIsAnErrorThatNamesIt) {
  const Result<int> status = RunChild({"weightfs-no-such-command"}, "/mnt/m");
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().error_number, ENOENT);
  EXPECT_NE(status.error().message.find("weightfs-no-such-command"), std::string::npos);
}

TEST(RunChildTest, SignalsSentToUsArePassedOn) {
  const TempDir dir;
  const InterruptGuard guard;
  const pid_t self = getpid();
  // The signals are blocked here while the child runs, so the thread that sends them must block them too.
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &mask, nullptr);
  std::jthread sender([&] {
    while (!std::filesystem::exists(dir / "ready")) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    kill(self, SIGTERM);
  });
  pthread_sigmask(SIG_UNBLOCK, &mask, nullptr);
  EXPECT_EQ(Shell("trap 'echo got >" + (dir / "note") + "; exit 9' TERM; : >" + (dir / "ready") +
                  "; while :; do sleep 0.05; done"),
            9);
  EXPECT_EQ(ReadFile(dir / "note"), "got\n");
}

}  // namespace
}  // namespace weightfs::cli
