// A read that fails: the reader gets the errno, the others get their bytes, and status.json keeps the cause.
#include <sys/mman.h>
#include <sys/wait.h>
#include <csignal>

#include "tests/mount/mount_test.h"

namespace weightfs::testing {
namespace {

constexpr uint64_t kSize = 2 * 1_MiB;

int ReadErrno(const std::string& path, int flags = O_RDONLY) {
  const Descriptor file(path, flags);
  char byte;
  return pread(file, &byte, 1, 0) < 0 ? errno : 0;
}

TEST_F(MountTest, AFailedReadGivesItsErrno) {
  const auto steering = AddSteeredFile("file", kSize);
  const auto other = AddSteeredFile("other", kSize);
  Mount();
  for (int number : {EIO, EACCES, ENOTCONN, ETIMEDOUT}) {
    steering->error_number = number;
    EXPECT_EQ(ReadErrno(Path("file"), O_RDONLY | O_DIRECT), number);
  }
  const Descriptor fine(Path("other"), O_RDONLY);
  EXPECT_EQ(PreadAll(fine, 0, kSize).size(), kSize);
  steering->error_number = 0;
  EXPECT_EQ(ReadErrno(Path("file")), 0) << "an error is not remembered";
}

TEST_F(MountTest, AChangedSourceIsStale) {
  const auto steering = AddSteeredFile("file", kSize);
  Mount();
  steering->is_stale = true;
  EXPECT_EQ(ReadErrno(Path("file"), O_RDONLY | O_DIRECT), ESTALE);
  const nlohmann::json status = ReadStatusJson();
  EXPECT_EQ(status.at("error_count"), 1);
  const nlohmann::json error = status.at("errors").at(0);
  EXPECT_EQ(error.at("file"), "file");
  EXPECT_EQ(error.at("offset"), 0);
  EXPECT_EQ(error.at("errno"), ESTALE);
  EXPECT_EQ(error.at("cause"), "source.bin: changed after it was opened");
}

TEST_F(MountTest, BytesThatComeOutShortAreAnErrorNotAnEnd) {
  const auto steering = AddSteeredFile("file", kSize);
  Mount();
  steering->is_short = true;
  EXPECT_EQ(ReadErrno(Path("file")), EIO);
  steering->is_short = false;
  const Descriptor file(Path("file"), O_RDONLY);
  EXPECT_EQ(PreadAll(file, 0, kSize).size(), kSize) << "the size was not taken to be less";
}

TEST_F(MountTest, APageThatCannotBeReadIsABusError) {
  const auto steering = AddSteeredFile("file", kSize);
  Mount();
  steering->error_number = EIO;
  const pid_t reader = fork();
  if (reader == 0) {
    const Descriptor file(Path("file"), O_RDONLY);
    const auto* bytes =
        static_cast<const volatile char*>(mmap(nullptr, kSize, PROT_READ, MAP_SHARED, file, 0));
    signal(SIGBUS, SIG_DFL);
    _exit(bytes[0]);
  }
  int status = 0;
  ASSERT_EQ(waitpid(reader, &status, 0), reader);
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGBUS);
}

}  // namespace
}  // namespace weightfs::testing
