/// \file
/// The one place where an `Error` becomes the errno that a reading program sees.
#pragma once

#include "convert/base/result.h"

namespace weightfs {

/// The errno for `error`: the operating system's own for kIo where a reader can make sense of it, ESTALE for
/// a changed source, EIO for whatever else keeps bytes from being served. Never 0, and never a number that
/// the kernel takes as an instruction (ENOSYS, EINTR, EAGAIN).
int ErrnoOf(const Error& error);

}  // namespace weightfs
