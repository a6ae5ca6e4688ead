/// \file
/// SIGINT, SIGTERM and SIGHUP while there is something to clean up.
#pragma once

namespace weightfs::cli {

/// From construction to destruction the three signals set a flag and do nothing else. One at a time.
class InterruptGuard {
 public:
  InterruptGuard();
  /// Restores what the signals did before.
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

  /// The number of the first signal that arrived, or 0. Safe from every thread.
  static int signal_number();
};

}  // namespace weightfs::cli
