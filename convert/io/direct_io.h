/// \file
/// Whether and how a file can be read past the page cache. Internal to convert/io.
#pragma once

#include <sys/stat.h>

#include <string>

#include "convert/base/result.h"
#include "convert/io/descriptor.h"
#include "convert/io/source_name.h"

namespace weightfs {

/// A second descriptor of a file, opened with O_DIRECT; or why there is none.
struct DirectDescriptor {
  Descriptor fd;
  std::string obstacle;  ///< Empty exactly when `fd` is valid.
};

/// Opens `source` with O_DIRECT, when the file system can then read at every multiple of
/// `kReadAlignmentBytes` into buffers so aligned, and the file is still the one open as `fd`.
/// The kernel is asked (`STATX_DIOALIGN`, Linux 6.1); where it does not say, a probe read decides on ext4,
/// xfs, btrfs and f2fs, and nothing else is tried.
/// \error kIo  no descriptor is left (EMFILE, ENFILE)
Result<DirectDescriptor> OpenDirect(int fd, const SourceName& source, const struct stat& attributes);

/// True for file systems whose pages are the storage itself (tmpfs, ramfs, hugetlbfs): nothing to read past.
bool LivesInPageCache(int fd);

}  // namespace weightfs
