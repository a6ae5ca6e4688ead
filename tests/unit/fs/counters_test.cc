#include "fs/counters.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace weightfs {
namespace {

using std::chrono::microseconds;
using std::chrono::nanoseconds;

TEST(Counters, BucketsAreBoundedByPowersOfTwoMicroseconds) {
  Counters counters;
  const auto bucket_of = [&](nanoseconds took) {
    const auto before = counters.Sum().latency[static_cast<size_t>(Operation::kOpen)];
    counters.CountOperation(Operation::kOpen, took);
    const auto after = counters.Sum().latency[static_cast<size_t>(Operation::kOpen)];
    for (size_t b = 0; b < after.size(); ++b)
      if (after[b] != before[b]) return static_cast<int>(b);
    return -1;
  };
  EXPECT_EQ(bucket_of(nanoseconds(-5)), 0);
  EXPECT_EQ(bucket_of(nanoseconds(999)), 0);
  EXPECT_EQ(bucket_of(microseconds(1)), 1);
  EXPECT_EQ(bucket_of(microseconds(2)), 2);
  EXPECT_EQ(bucket_of(microseconds(3)), 2);
  EXPECT_EQ(bucket_of(microseconds(4)), 3);
  EXPECT_EQ(bucket_of(std::chrono::hours(1000)), static_cast<int>(kLatencyBucketCount) - 1);
}

TEST(Counters, ThreadsLoseNothing) {
  constexpr int kThreads = 20;
  constexpr uint64_t kEach = 5000;
  Counters counters;
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&] {
        for (uint64_t i = 0; i < kEach; ++i) {
          counters.CountRead(FileClass::kWeights, 3);
          counters.CountError();
          counters.CountQueuedRead();
        }
      });
    }
  }
  const Counters::Snapshot sum = counters.Sum();
  EXPECT_EQ(sum.reads[static_cast<size_t>(FileClass::kWeights)], kThreads * kEach);
  EXPECT_EQ(sum.bytes[static_cast<size_t>(FileClass::kWeights)], 3 * kThreads * kEach);
  EXPECT_EQ(sum.bytes[static_cast<size_t>(FileClass::kOther)], 0u);
  EXPECT_EQ(sum.errors, kThreads * kEach);
  EXPECT_EQ(sum.queued_reads, kThreads * kEach);
}

}  // namespace
}  // namespace weightfs
