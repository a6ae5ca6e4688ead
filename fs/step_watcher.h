/// \file
/// Looks for new training steps beside the requests, so that a source that stalls keeps nobody waiting.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>

#include "convert/step_folder.h"
#include "fs/inode_table.h"

namespace weightfs {

/// Thread-safe. A thread of its own looks when it is asked to and adds what it finds to the table.
class StepWatcher {
 public:
  /// How long `Update` waits for the look that it asked for.
  static constexpr int kWaitMilliseconds = 250;

  StepWatcher(std::shared_ptr<StepFolder> folder, InodeTable& table);
  ~StepWatcher();
  StepWatcher(const StepWatcher&) = delete;
  StepWatcher& operator=(const StepWatcher&) = delete;

  /// Has new steps looked for. Returns when that is done, or earlier: after `kWaitMilliseconds`, or at once
  /// while an earlier look is late.
  void Update();

 private:
  void Run();

  const std::shared_ptr<StepFolder> folder_;
  InodeTable& table_;
  size_t added_ = 0;  ///< Steps in the table; of the thread alone.

  std::mutex mutex_;  ///< Guards all below. No other lock is taken while it is held.
  std::condition_variable changed_;
  uint64_t asked_ = 0;
  uint64_t answered_ = 0;
  bool is_late_ = false;  ///< Somebody gave up waiting for the look that runs.
  bool is_ending_ = false;
  std::thread thread_;
};

}  // namespace weightfs
