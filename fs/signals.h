/// \file
/// SIGTERM, SIGINT and SIGHUP end the mount.
#pragma once

#include <pthread.h>

#include <atomic>
#include <functional>
#include <thread>

namespace weightfs {

/// Blocks the ending signals in the calling thread and those that it starts, so that only a SignalWatcher
/// sees them; ignores SIGPIPE. Call before any thread is started.
void BlockEndingSignals();

/// Waits for an ending signal in a thread of its own, from construction to destruction.
///
/// On a signal it calls `stop` and interrupts the thread that made it (which waits in libfuse's loop) until
/// the watcher is destroyed. When that does not happen within `kGrace`, because a read waits for a source
/// that stalls, it calls `abandon`, which must unmount, and ends the process with status 0.
class SignalWatcher {
 public:
  static constexpr int kGraceSeconds = 2;

  /// Both functions are called from the watcher's thread.
  SignalWatcher(std::function<void()> stop, std::function<void()> abandon);
  ~SignalWatcher();
  SignalWatcher(const SignalWatcher&) = delete;
  SignalWatcher& operator=(const SignalWatcher&) = delete;

 private:
  void Watch();

  std::function<void()> stop_;
  std::function<void()> abandon_;
  pthread_t watched_;
  std::atomic<bool> done_ = false;
  std::thread thread_;
};

}  // namespace weightfs
