#include "fs/errno.h"

#include <gtest/gtest.h>

#include <cerrno>

namespace weightfs {
namespace {

int OfIo(int error_number) { return ErrnoOf({.code = ErrorCode::kIo, .error_number = error_number}); }

TEST(Errno, PassesOnWhatTheSystemSaid) {
  for (int number : {EIO, EACCES, EPERM, ENOENT, ENOTCONN, ETIMEDOUT, EROFS, ENOTDIR, EISDIR, EREMOTEIO})
    EXPECT_EQ(OfIo(number), number);
}

TEST(Errno, NeverPassesOnWhatTheKernelWouldTakeForAnInstruction) {
  for (int number : {0, -1, -EIO, ENOSYS, EINTR, EAGAIN, 4096, 512 * 1024})
    EXPECT_EQ(OfIo(number), EIO) << number;
}

TEST(Errno, EveryClassHasANumber) {
  auto of = [](ErrorCode code) { return ErrnoOf({.code = code}); };
  EXPECT_EQ(of(ErrorCode::kStale), ESTALE);
  EXPECT_EQ(of(ErrorCode::kNotFound), ENOENT);
  EXPECT_EQ(of(ErrorCode::kInvalidArgument), EINVAL);
  EXPECT_EQ(of(ErrorCode::kAmbiguous), EINVAL);
  for (ErrorCode code : {ErrorCode::kCorrupt, ErrorCode::kUnsupported, ErrorCode::kLimitExceeded,
                         ErrorCode::kInternal, ErrorCode::kIo})
    EXPECT_EQ(of(code), EIO) << ErrorCodeName(code);
}

}  // namespace
}  // namespace weightfs
