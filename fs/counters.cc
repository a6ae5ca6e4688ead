#include "fs/counters.h"

#include <algorithm>
#include <bit>

namespace weightfs {
namespace {

constexpr size_t kCacheLineBytes = 64;

size_t LatencyBucket(std::chrono::nanoseconds took) {
  auto microseconds = static_cast<uint64_t>(std::max<int64_t>(took.count(), 0)) / 1000;
  return std::min<size_t>(std::bit_width(microseconds), kLatencyBucketCount - 1);
}

void Add(std::atomic<uint64_t>& counter, uint64_t amount) {
  counter.fetch_add(amount, std::memory_order_relaxed);
}
uint64_t Get(const std::atomic<uint64_t>& counter) { return counter.load(std::memory_order_relaxed); }

}  // namespace

std::string_view OperationName(Operation operation) {
  switch (operation) {
    case Operation::kLookup:
      return "lookup";
    case Operation::kGetAttributes:
      return "getattr";
    case Operation::kOpen:
      return "open";
    case Operation::kRead:
      return "read";
    case Operation::kListFolder:
      return "readdir";
    case Operation::kStatFs:
      return "statfs";
  }
  return "";
}

struct alignas(kCacheLineBytes) Counters::Shard {
  std::array<std::array<std::atomic<uint64_t>, kLatencyBucketCount>, kOperationCount> latency = {};
  std::array<std::atomic<uint64_t>, kFileClassCount> reads = {};
  std::array<std::atomic<uint64_t>, kFileClassCount> bytes = {};
  std::atomic<uint64_t> errors = 0;
  std::atomic<uint64_t> queued_reads = 0;
};

Counters::Counters() : shards_(new Shard[kShardCount]) {}

Counters::Shard& Counters::Mine() {
  static std::atomic<size_t> next_thread = 0;
  thread_local const size_t thread_index = next_thread.fetch_add(1, std::memory_order_relaxed);
  return shards_[thread_index % kShardCount];
}

void Counters::CountOperation(Operation operation, std::chrono::nanoseconds took) {
  Add(Mine().latency[static_cast<size_t>(operation)][LatencyBucket(took)], 1);
}

void Counters::CountRead(FileClass file_class, uint64_t bytes) {
  Shard& mine = Mine();
  Add(mine.reads[static_cast<size_t>(file_class)], 1);
  Add(mine.bytes[static_cast<size_t>(file_class)], bytes);
}

void Counters::CountError() { Add(Mine().errors, 1); }

void Counters::CountQueuedRead() { Add(Mine().queued_reads, 1); }

Counters::Snapshot Counters::Sum() const {
  Snapshot sum;
  for (size_t s = 0; s < kShardCount; ++s) {
    const Shard& shard = shards_[s];
    for (size_t o = 0; o < kOperationCount; ++o)
      for (size_t b = 0; b < kLatencyBucketCount; ++b) sum.latency[o][b] += Get(shard.latency[o][b]);
    for (size_t c = 0; c < kFileClassCount; ++c) {
      sum.reads[c] += Get(shard.reads[c]);
      sum.bytes[c] += Get(shard.bytes[c]);
    }
    sum.errors += Get(shard.errors);
    sum.queued_reads += Get(shard.queued_reads);
  }
  return sum;
}

}  // namespace weightfs
