/// \file
/// Counters of a mount, cheap enough for every request.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "fs/inode_table.h"

namespace weightfs {

/// Kinds of requests that are timed.
enum class Operation : uint8_t { kLookup, kGetAttributes, kOpen, kRead, kListFolder, kStatFs };
inline constexpr size_t kOperationCount = 6;
/// "lookup", "getattr", "open", "read", "readdir", "statfs".
std::string_view OperationName(Operation operation);

/// Latency classes: bucket i counts requests that took less than 2^i microseconds (and no earlier bucket's
/// less); the last one takes all that are longer.
inline constexpr size_t kLatencyBucketCount = 28;

/// Thread-safe and lock-free: threads add to shards of their own cache lines, a snapshot sums them.
class Counters {
 public:
  struct Snapshot {
    std::array<std::array<uint64_t, kLatencyBucketCount>, kOperationCount> latency = {};
    std::array<uint64_t, kFileClassCount> reads = {};
    std::array<uint64_t, kFileClassCount> bytes = {};
    uint64_t errors = 0;
    uint64_t queued_reads = 0;
  };

  Counters();
  void CountOperation(Operation operation, std::chrono::nanoseconds took);
  void CountRead(FileClass file_class, uint64_t bytes);
  void CountError();
  /// A read that found its group full and had to wait for a thread.
  void CountQueuedRead();
  Snapshot Sum() const;

 private:
  struct Shard;
  static constexpr size_t kShardCount = 16;
  Shard& Mine();
  std::shared_ptr<Shard[]> shards_;
};

/// Times one request, from construction to destruction.
class OperationTimer {
 public:
  OperationTimer(Counters& counters, Operation operation)
      : counters_(counters), operation_(operation), started_(std::chrono::steady_clock::now()) {}
  ~OperationTimer() { counters_.CountOperation(operation_, std::chrono::steady_clock::now() - started_); }
  OperationTimer(const OperationTimer&) = delete;
  OperationTimer& operator=(const OperationTimer&) = delete;

 private:
  Counters& counters_;
  Operation operation_;
  std::chrono::steady_clock::time_point started_;
};

}  // namespace weightfs
