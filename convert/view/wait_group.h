/// \file
/// What something waits for that is made of several things (RandomAccessFile::wait_group).
#pragma once

namespace weightfs {

/// The group of what waits for `a` and for `b`: the one that is not nullptr, `several` when they differ.
inline const void* CommonWaitGroup(const void* a, const void* b, const void* several) {
  if (b == nullptr || a == b) return a;
  return a == nullptr ? b : several;
}

}  // namespace weightfs
