#include "fs/errno.h"

#include <cerrno>

namespace weightfs {
namespace {

int ErrnoOfIo(int error_number) {
  constexpr int kErrnoMax = 4095;  // What a FUSE reply can carry.
  if (error_number <= 0 || error_number > kErrnoMax) return EIO;
  switch (error_number) {
    case ENOSYS:  // The kernel would never ask again, for any file.
    case EINTR:   // Would be taken for a signal to the reader.
    case EAGAIN:  // Would be taken for a non-blocking descriptor.
      return EIO;
    default:
      return error_number;
  }
}

}  // namespace

int ErrnoOf(const Error& error) {
  switch (error.code) {
    case ErrorCode::kIo:
      return ErrnoOfIo(error.error_number);
    case ErrorCode::kStale:
      return ESTALE;
    case ErrorCode::kNotFound:
      return ENOENT;
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kAmbiguous:
      return EINVAL;
    case ErrorCode::kCorrupt:
    case ErrorCode::kUnsupported:
    case ErrorCode::kLimitExceeded:
    case ErrorCode::kInternal:
      return EIO;
  }
  return EIO;
}

}  // namespace weightfs
