/// \file
/// Keeps reads that wait for a stalled source from taking every thread.
///
/// Files are divided into wait groups (inode_table.h). Of one group at most `per_group_max` reads run at
/// once. Beyond the first of each group, at most `extra_max` reads run at once in total. So however many
/// groups stall, a group that does not stall always has a thread, and a request that reads nothing never
/// waits for one that does:
///
///     running threads <= number of groups + extra_max
///
/// A read that may not run is queued and its thread goes back to take other requests; a read that ends takes
/// a queued one along, so every queued read is run by the first thread that may.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <vector>

#include "convert/base/bytes.h"
#include "fs/inode_table.h"

struct fuse_req;

namespace weightfs {

/// One read that was asked for and not yet answered.
struct ReadRequest {
  fuse_req* request = nullptr;
  const ServedFile* file = nullptr;
  ByteRange range;
  WaitGroup group = kNeverWaits;  ///< That of `file`.
  std::chrono::steady_clock::time_point started;
};

/// Thread-safe. Takes no lock unless a read is queued.
class ReadGate {
 public:
  /// \param group_count    groups are 0 .. group_count - 1
  /// \param per_group_max  at least 1
  ReadGate(uint32_t group_count, uint32_t per_group_max, uint32_t extra_max);

  /// Asks to run `read` (of group `read.group`). True: run it, then call Leave. False: it was queued.
  bool Enter(const ReadRequest& read);

  /// Ends a read of `group` that was let in. \return a queued read that is let in: run it, then call Leave
  std::optional<ReadRequest> Leave(WaitGroup group);

  /// Takes every queued read out, to be answered with an error when the mount ends.
  std::vector<ReadRequest> TakeQueued();

  /// Reads that run now, of one group; for tests.
  uint32_t running(WaitGroup group) const { return running_[group].load(); }

 private:
  bool TryAcquire(WaitGroup group);
  bool TryReserveExtra();
  void Release(WaitGroup group);
  std::optional<ReadRequest> TakeIfAdmitted(WaitGroup group);  // Needs mutex_.

  const uint32_t per_group_max_;
  const uint32_t extra_max_;
  std::vector<std::atomic<uint32_t>> running_;  ///< By group.
  /// At least the sum over groups of max(0, running - 1): raised before and lowered after `running_`.
  std::atomic<uint32_t> extra_{0};
  /// Number of queued reads. A thread that queues raises it before it looks whether it may run after all; a
  /// thread that leaves looks at it after it has released. A read is only queued while another of its group
  /// runs, so the one that leaves sees it, and no read is left behind.
  std::atomic<uint32_t> queued_{0};
  std::mutex mutex_;
  std::map<WaitGroup, std::deque<ReadRequest>> queues_;  ///< Guarded by mutex_. No empty queues.
};

}  // namespace weightfs
