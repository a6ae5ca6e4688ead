// How mounts begin and end.
#include <gmock/gmock.h>
#include <sys/wait.h>

#include <csignal>
#include <fstream>

#include "fs/mountpoint.h"
#include "tests/mount/mount_test.h"

namespace weightfs::testing {
namespace {

using ::testing::HasSubstr;

bool IsAlive(pid_t pid) { return kill(pid, 0) == 0; }

/// Reaps a child or waits for a process of another parent to be gone.
bool HasEnded(pid_t pid) { return waitpid(pid, nullptr, WNOHANG) == pid || !IsAlive(pid); }

TEST_F(MountTest, TheMountAnswersWhenStartReturns) {
  AddSteeredFile("file", 100);
  Mount();
  EXPECT_EQ(MountTypeAt(mountpoint_).value(), kMountType);
  EXPECT_EQ(std::filesystem::file_size(Path("file")), 100u);
}

TEST_F(MountTest, EachEndingSignalUnmountsAndEndsWell) {
  for (int number : {SIGTERM, SIGINT, SIGHUP}) {
    AddSteeredFile("file", 100);
    Mount();
    ASSERT_EQ(kill(process_->pid(), number), 0);
    int status = 0;
    ASSERT_EQ(waitpid(process_->pid(), &status, 0), process_->pid());
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << number;
    process_.reset();
    EXPECT_EQ(MountTypeAt(mountpoint_).value(), "");
    source_ = OpenedSource();
  }
}

TEST_F(MountTest, ASignalUnmountsThoughFilesAreOpen) {
  AddSteeredFile("file", 100);
  Mount();
  const Descriptor file(Path("file"), O_RDONLY);
  EXPECT_TRUE(process_->Stop());
  process_.reset();
  EXPECT_EQ(MountTypeAt(mountpoint_).value(), "");
}

TEST_F(MountTest, UnmountingEndsTheProcess) {
  AddSteeredFile("file", 100);
  Mount();
  const Status unmounted = Umount(mountpoint_);
  ASSERT_TRUE(unmounted) << unmounted.error().message;
  int status = 0;
  ASSERT_EQ(waitpid(process_->pid(), &status, 0), process_->pid());
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  process_.reset();
}

TEST_F(MountTest, UnmountingRefusesWhileFilesAreOpen) {
  AddSteeredFile("file", 100);
  Mount();
  Descriptor file(Path("file"), O_RDONLY);
  const Status busy = Umount(mountpoint_);
  ASSERT_FALSE(busy);
  EXPECT_EQ(busy.error().error_number, EBUSY);
  EXPECT_THAT(busy.error().message, HasSubstr("is busy"));
  EXPECT_THAT(busy.error().remedy, HasSubstr("fuser -vm"));
  EXPECT_EQ(PreadAll(file, 0, 100).size(), 100u) << "and goes on serving";
}

TEST_F(MountTest, AKilledProcessLeavesAMountpointThatUmountClears) {
  AddSteeredFile("file", 100);
  Mount();
  const Descriptor file(Path("file"), O_RDONLY);  // Even while it is in use.
  kill(process_->pid(), SIGKILL);
  ASSERT_EQ(waitpid(process_->pid(), nullptr, 0), process_->pid());
  process_.reset();
  EXPECT_TRUE(Eventually([&] { return IsDeadMount(mountpoint_); }));
  const Status refused = CheckMountpoint(mountpoint_);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(refused.error().message, HasSubstr("whose process has died"));
  EXPECT_THAT(refused.error().remedy, HasSubstr("weightfs umount " + mountpoint_));
  EXPECT_FALSE(ReadStatus(mountpoint_));
  const Status cleared = Umount(mountpoint_);
  EXPECT_TRUE(cleared) << cleared.error().message;
  EXPECT_TRUE(CheckMountpoint(mountpoint_));
}

TEST_F(MountTest, AMountedMountpointIsBusy) {
  AddSteeredFile("file", 100);
  Mount();
  const Result<MountProcess> second =
      MountProcess::Start(OpenedSource(), {.mountpoint = mountpoint_}, MountProcess::Lifetime::kWithParent);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(second.error().message, HasSubstr("is busy: weightfs is mounted there already"));
}

TEST_F(MountTest, FailuresOfTheNewProcessReachTheCaller) {
  // The server refuses the tree: a file stands where its own folder must be.
  ASSERT_TRUE(source_.tree.AddFile(".weightfs", MakeTextFile("x"), kTime));
  const Result<MountProcess> failed =
      MountProcess::Start(std::move(source_), {.mountpoint = mountpoint_}, MountProcess::Lifetime::kDetached);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, ErrorCode::kCorrupt);
  EXPECT_FALSE(failed.error().message.empty());
  EXPECT_EQ(MountTypeAt(mountpoint_).value(), "");
}

TEST_F(MountTest, OptionsOutOfRangeAreRefused) {
  for (const MountOptions& options :
       {MountOptions{.threads = 100'000}, MountOptions{.readahead_bytes = 100}}) {
    MountOptions with_mountpoint = options;
    with_mountpoint.mountpoint = mountpoint_;
    const Result<MountProcess> refused =
        MountProcess::Start(OpenedSource(), with_mountpoint, MountProcess::Lifetime::kWithParent);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
  }
}

TEST_F(MountTest, ADetachedProcessOutlivesItsStarterAndHoldsNoTerminal) {
  // A starter of its own, so that the daemon's parent ends.
  SharedMemory<std::atomic<pid_t>> daemon;
  AddSteeredFile("file", 100);
  const pid_t starter = fork();
  if (starter == 0) {
    MountOptions options;
    options.mountpoint = mountpoint_;
    Result<MountProcess> started =
        MountProcess::Start(std::move(source_), options, MountProcess::Lifetime::kDetached);
    if (started) *daemon = started->pid();
    _exit(started ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(starter, &status, 0), starter);
  ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  EXPECT_EQ(std::filesystem::file_size(Path("file")), 100u);
  const std::string process = "/proc/" + std::to_string(*daemon);
  EXPECT_EQ(std::filesystem::read_symlink(process + "/cwd"), "/");
  for (const char* descriptor : {"/fd/0", "/fd/1", "/fd/2"})
    EXPECT_EQ(std::filesystem::read_symlink(process + descriptor), "/dev/null");
  EXPECT_EQ(getsid(*daemon), static_cast<pid_t>(*daemon));
  EXPECT_TRUE(Umount(mountpoint_));
  EXPECT_TRUE(Eventually([&] { return HasEnded(*daemon); }));
}

TEST_F(MountTest, AProcessWithParentEndsWithIt) {
  SharedMemory<std::atomic<pid_t>> server;
  AddSteeredFile("file", 100);
  const pid_t starter = fork();
  if (starter == 0) {
    MountOptions options;
    options.mountpoint = mountpoint_;
    Result<MountProcess> started =
        MountProcess::Start(std::move(source_), options, MountProcess::Lifetime::kWithParent);
    if (started) *server = started->pid();
    pause();
  }
  EXPECT_TRUE(Eventually([&] { return *server != 0; }));
  EXPECT_NE(getpgid(*server), getpgid(starter)) << "Ctrl-C does not reach it";
  kill(starter, SIGKILL);
  ASSERT_EQ(waitpid(starter, nullptr, 0), starter);
  EXPECT_TRUE(Eventually([&] { return MountTypeAt(mountpoint_).value() == ""; }));
}

TEST_F(MountTest, ServesInFrontUntilItIsUnmounted) {
  AddSteeredFile("file", 100);
  const pid_t server = fork();
  if (server == 0) {
    MountOptions options;
    options.mountpoint = mountpoint_;
    const Status served = MountAndServe(std::move(source_), options, [] {});
    _exit(served ? 0 : 1);
  }
  EXPECT_TRUE(Eventually([&] { return MountTypeAt(mountpoint_).value() == kMountType; }));
  EXPECT_EQ(std::filesystem::file_size(Path("file")), 100u);
  EXPECT_TRUE(Eventually([&] { return Umount(mountpoint_).has_value(); }));
  int status = 0;
  ASSERT_EQ(waitpid(server, &status, 0), server);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

// A sanitizer's own memory is no part of the bound.
#ifndef WEIGHTFS_SANITIZED
TEST_F(MountTest, MemoryStaysWithinItsBoundAfterServing) {
  constexpr uint64_t kSize = 256 * 1_MiB;
  AddSteeredFile("file", kSize);
  Mount();
  const Descriptor file(Path("file"), O_RDONLY);
  for (uint64_t offset = 0; offset < kSize; offset += 8 * 1_MiB)
    EXPECT_EQ(PreadAll(file, offset, 8 * 1_MiB).size(), 8 * 1_MiB);
  std::ifstream status("/proc/" + std::to_string(process_->pid()) + "/status");
  uint64_t resident_kib = 0;
  for (std::string word; status >> word;)
    if (word == "VmRSS:") status >> resident_kib;
  ASSERT_GT(resident_kib, 0u);
  const uint64_t threads = ReadStatusJson().at("threads").at("running").get<uint64_t>();
  EXPECT_LE(resident_kib * 1_KiB, 64_MiB + threads * 3_MiB);
}
#endif

}  // namespace
}  // namespace weightfs::testing
