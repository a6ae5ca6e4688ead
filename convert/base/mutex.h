/// \file
/// std::mutex and its friends with the annotations that clang checks.
#pragma once

#include <condition_variable>
#include <mutex>

#include "convert/base/thread_annotations.h"

namespace weightfs {

/// A lock. Name what it guards with WEIGHTFS_GUARDED_BY.
class WEIGHTFS_CAPABILITY("mutex") Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void Lock() WEIGHTFS_ACQUIRE() { mutex_.lock(); }
  void Unlock() WEIGHTFS_RELEASE() { mutex_.unlock(); }

 private:
  friend class CondVar;
  std::mutex mutex_;
};

/// Holds a `Mutex` while it lives.
class WEIGHTFS_SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) WEIGHTFS_ACQUIRE(mutex) : mutex_(mutex) { mutex_.Lock(); }
  ~MutexLock() WEIGHTFS_RELEASE() { mutex_.Unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

/// A condition to wait for. Wake-ups may be spurious: wait in a loop over the condition.
class CondVar {
 public:
  /// Gives `mutex` back while it waits, and holds it again on return.
  void Wait(Mutex& mutex) WEIGHTFS_REQUIRES(mutex) {
    std::unique_lock<std::mutex> held(mutex.mutex_, std::adopt_lock);
    condition_.wait(held);
    held.release();
  }
  void NotifyAll() { condition_.notify_all(); }
  void NotifyOne() { condition_.notify_one(); }

 private:
  std::condition_variable condition_;
};

}  // namespace weightfs
