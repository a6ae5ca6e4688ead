// A user without root mounts through fusermount3.
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include <fstream>
#include <iostream>

#include "fs/mountpoint.h"
#include "tests/mount/mount_test.h"

namespace weightfs::testing {
namespace {

constexpr uid_t kNobody = 65534;
constexpr unsigned kFuseMajor = 10;
constexpr unsigned kFuseMinor = 229;

#define EXPECT_OR_FAIL(condition)                                               \
  do {                                                                          \
    if (!(condition)) {                                                         \
      std::cerr << __LINE__ << ": " #condition << " (errno " << errno << ")\n"; \
      return false;                                                             \
    }                                                                           \
  } while (false)

/// With root: drops it for good, in a mount namespace where /dev/fuse is a node that everybody may open.
bool BecomeUser(const std::string& folder) {
  if (geteuid() != 0) return true;
  EXPECT_OR_FAIL(unshare(CLONE_NEWNS) == 0);
  EXPECT_OR_FAIL(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0);
  const std::string devices = folder + "/devices";
  EXPECT_OR_FAIL(mkdir(devices.c_str(), 0755) == 0);
  EXPECT_OR_FAIL(mount("none", devices.c_str(), "tmpfs", MS_NOSUID, "mode=755") == 0);
  const std::string node = devices + "/fuse";
  EXPECT_OR_FAIL(mknod(node.c_str(), S_IFCHR | 0666, makedev(kFuseMajor, kFuseMinor)) == 0);
  EXPECT_OR_FAIL(chmod(node.c_str(), 0666) == 0);
  EXPECT_OR_FAIL(mount(node.c_str(), "/dev/fuse", nullptr, MS_BIND, nullptr) == 0);
  EXPECT_OR_FAIL(setgid(kNobody) == 0 && setuid(kNobody) == 0);
  return true;
}

bool MountReadUnmount(OpenedSource source, const std::string& mountpoint) {
  std::vector<std::string> notices;
  MountOptions options{.mountpoint = mountpoint};
  options.notice = [&](const std::string& line) { notices.push_back(line); };
  Result<MountProcess> started =
      MountProcess::Start(std::move(source), options, MountProcess::Lifetime::kWithParent);
  if (!started) std::cerr << started.error().message << "\n";
  EXPECT_OR_FAIL(started);
  struct stat attributes;
  EXPECT_OR_FAIL(stat((mountpoint + "/file").c_str(), &attributes) == 0);
  EXPECT_OR_FAIL(attributes.st_uid == geteuid());
  {
    const Descriptor file(mountpoint + "/file", O_RDONLY);
    const std::string bytes = PreadAll(file, 0, 3 * 1_MiB);
    EXPECT_OR_FAIL(bytes.size() == 3 * 1_MiB && MatchesPattern(bytes.data(), bytes.size(), 0));
  }
  // The window cannot be raised without root, and the user is told how it could be.
  if (!ReadAheadCanBeSet()) {
    EXPECT_OR_FAIL(notices.size() == 1);
    EXPECT_OR_FAIL(notices[0].find("read_ahead_kb") != std::string::npos);
  }
  EXPECT_OR_FAIL(MountTypeAt(mountpoint).value() == kMountType);
  {
    const Descriptor file(mountpoint + "/file", O_RDONLY);
    const Status busy = Umount(mountpoint);
    EXPECT_OR_FAIL(!busy && busy.error().error_number == EBUSY);
  }
  const Status unmounted = Umount(mountpoint);
  if (!unmounted) std::cerr << unmounted.error().message << "\n";
  EXPECT_OR_FAIL(unmounted);
  EXPECT_OR_FAIL(MountTypeAt(mountpoint).value().empty());
  int status = 0;
  EXPECT_OR_FAIL(waitpid(started->pid(), &status, 0) == started->pid() && status == 0);
  return true;
}

bool ClearAfterKill(OpenedSource source, const std::string& mountpoint) {
  Result<MountProcess> started =
      MountProcess::Start(std::move(source), {.mountpoint = mountpoint}, MountProcess::Lifetime::kWithParent);
  EXPECT_OR_FAIL(started);
  kill(started->pid(), SIGKILL);
  EXPECT_OR_FAIL(waitpid(started->pid(), nullptr, 0) == started->pid());
  EXPECT_OR_FAIL(IsDeadMount(mountpoint));
  EXPECT_OR_FAIL(Umount(mountpoint));
  EXPECT_OR_FAIL(CheckMountpoint(mountpoint));
  return true;
}

bool StopBySignal(OpenedSource source, const std::string& mountpoint) {
  Result<MountProcess> started =
      MountProcess::Start(std::move(source), {.mountpoint = mountpoint}, MountProcess::Lifetime::kWithParent);
  EXPECT_OR_FAIL(started);
  EXPECT_OR_FAIL(started->Stop());
  EXPECT_OR_FAIL(MountTypeAt(mountpoint).value().empty());
  return true;
}

class UserMountTest : public MountTest {
 protected:
  /// A folder that any user may reach, unlike the build folder, which may lie below a closed home.
  UserMountTest() {
    EXPECT_NE(mkdtemp(folder_.data()), nullptr);
    std::filesystem::permissions(folder_, std::filesystem::perms(0755));
    user_mountpoint_ = folder_ + "/mountpoint";
    std::filesystem::create_directory(user_mountpoint_);
    if (geteuid() == 0) {
      EXPECT_EQ(chown(user_mountpoint_.c_str(), kNobody, kNobody), 0);
    }
    AddSteeredFile("file", 3 * 1_MiB);
  }
  ~UserMountTest() override { std::filesystem::remove_all(folder_); }

  void ExpectAsUser(bool (*steps)(OpenedSource, const std::string&)) {
    const pid_t user = fork();
    if (user == 0) {
      _exit(BecomeUser(folder_) && steps(std::move(source_), user_mountpoint_) ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(waitpid(user, &status, 0), user);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  }

  std::string folder_ = "/tmp/weightfs-user-test-XXXXXX";
  std::string user_mountpoint_;
};

TEST_F(UserMountTest, MountsReadsAndUnmounts) { ExpectAsUser(MountReadUnmount); }

TEST_F(UserMountTest, ClearsAMountWhoseProcessHasDied) { ExpectAsUser(ClearAfterKill); }

TEST_F(UserMountTest, ASignalUnmounts) { ExpectAsUser(StopBySignal); }

TEST_F(UserMountTest, AClosedDeviceIsNamedWithWhatWouldHelp) {
  if (geteuid() != 0) return;  // A user cannot close the device; the tests above ran with it open.
  const pid_t user = fork();
  if (user == 0) {
    const auto is_named = [] {
      EXPECT_OR_FAIL(unshare(CLONE_NEWNS) == 0);
      EXPECT_OR_FAIL(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0);
      EXPECT_OR_FAIL(mount("/dev/null", "/dev/fuse", nullptr, MS_BIND, nullptr) == 0);
      EXPECT_OR_FAIL(umount("/dev/fuse") == 0);
      EXPECT_OR_FAIL(setgid(kNobody) == 0 && setuid(kNobody) == 0);
      const Status fuse = CheckFuse();
      if (access("/dev/fuse", R_OK | W_OK) == 0) return fuse.has_value();
      EXPECT_OR_FAIL(!fuse);
      EXPECT_OR_FAIL(fuse.error().code == ErrorCode::kIo);
      EXPECT_OR_FAIL(fuse.error().message.find("/dev/fuse") != std::string::npos);
      EXPECT_OR_FAIL(fuse.error().remedy.find("chmod 666 /dev/fuse") != std::string::npos);
      return true;
    };
    _exit(is_named() ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(user, &status, 0), user);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

}  // namespace
}  // namespace weightfs::testing
