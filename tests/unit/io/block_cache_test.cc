#include "convert/io/block_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <future>
#include <latch>
#include <random>
#include <stdexcept>
#include <thread>
#include <vector>

namespace weightfs {
namespace {

using Key = BlockCache::Key;

/// Fills a block with bytes that tell its key.
Status Fill(Key key, std::span<std::byte> destination) {
  for (size_t i = 0; i < destination.size(); ++i)
    destination[i] = static_cast<std::byte>(key.owner * 31 + key.index * 7 + i);
  return {};
}

bool IsFilled(Key key, const BlockPtr& block, size_t size) {
  for (size_t i = 0; i < size; ++i)
    if (block[i] != static_cast<std::byte>(key.owner * 31 + key.index * 7 + i)) return false;
  return true;
}

Result<BlockPtr> GetFilled(BlockCache& cache, Key key, uint64_t size) {
  return cache.Get(key, size, [key](std::span<std::byte> destination) { return Fill(key, destination); });
}

bool WaitUntil(const std::function<bool()>& condition) {
  for (int i = 0; i < 5000 && !condition(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  return condition();
}

TEST(BlockCacheTest, MakesABlockOnceAndKeepsIt) {
  BlockCache cache(1000);
  const Key key{cache.NewOwner(), 5};
  for (int i = 0; i < 3; ++i) {
    const auto block = GetFilled(cache, key, 100);
    ASSERT_TRUE(block.has_value());
    EXPECT_TRUE(IsFilled(key, *block, 100));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(block->get()) % kBlockAlignmentBytes, 0u);
  }
  const auto stats = cache.stats();
  EXPECT_EQ(stats.misses, 1u);
  EXPECT_EQ(stats.hits, 2u);
  EXPECT_EQ(stats.bytes, 100u);
  EXPECT_EQ(cache.capacity_bytes(), 1000u);
}

TEST(BlockCacheTest, OwnersAreDistinct) {
  BlockCache cache(1000);
  const uint64_t a = cache.NewOwner();
  const uint64_t b = cache.NewOwner();
  EXPECT_NE(a, b);
  ASSERT_TRUE(GetFilled(cache, {a, 1}, 10).has_value());
  EXPECT_TRUE(IsFilled({b, 1}, *GetFilled(cache, {b, 1}, 10), 10));
  EXPECT_EQ(cache.stats().misses, 2u);
}

TEST(BlockCacheTest, TheLeastRecentlyUsedBlockGoesFirst) {
  BlockCache cache(300);
  for (uint64_t i = 0; i < 3; ++i) ASSERT_TRUE(GetFilled(cache, {0, i}, 100).has_value());
  ASSERT_TRUE(GetFilled(cache, {0, 0}, 100).has_value());  // 1 is now the oldest
  ASSERT_TRUE(GetFilled(cache, {0, 3}, 100).has_value());
  EXPECT_EQ(cache.stats().evictions, 1u);
  EXPECT_EQ(cache.stats().bytes, 300u);
  const uint64_t misses = cache.stats().misses;
  for (const uint64_t i : {0, 2, 3}) ASSERT_TRUE(GetFilled(cache, {0, i}, 100).has_value());
  EXPECT_EQ(cache.stats().misses, misses);
  ASSERT_TRUE(GetFilled(cache, {0, 1}, 100).has_value());
  EXPECT_EQ(cache.stats().misses, misses + 1);
}

TEST(BlockCacheTest, HeldBlocksAreNotEvicted) {
  BlockCache cache(200);
  const auto held = *GetFilled(cache, {0, 0}, 100);
  for (uint64_t i = 1; i < 10; ++i) ASSERT_TRUE(GetFilled(cache, {0, i}, 100).has_value());
  EXPECT_TRUE(IsFilled({0, 0}, held, 100));
  EXPECT_EQ(cache.stats().bytes, 200u);
  const uint64_t misses = cache.stats().misses;
  EXPECT_EQ(GetFilled(cache, {0, 0}, 100)->get(), held.get());
  EXPECT_EQ(cache.stats().misses, misses);
}

TEST(BlockCacheTest, AFailedBlockIsNotKept) {
  BlockCache cache(100);
  for (int i = 0; i < 3; ++i) {
    const auto failed =
        cache.Get({0, 0}, 80, [](auto) { return Status(Fail(ErrorCode::kCorrupt, "broken")); });
    ASSERT_FALSE(failed.has_value());
    EXPECT_EQ(failed.error().message, "broken");
    EXPECT_EQ(cache.stats().bytes, 0u);
  }
  EXPECT_TRUE(IsFilled({0, 0}, *GetFilled(cache, {0, 0}, 80), 80));
}

TEST(BlockCacheTest, WhatAMakerThrowsBecomesAnError) {
  BlockCache cache(100);
  const auto thrown = cache.Get({0, 0}, 80, [](auto) -> Status { throw std::runtime_error("why"); });
  ASSERT_FALSE(thrown.has_value());
  EXPECT_EQ(thrown.error().code, ErrorCode::kInternal);
  EXPECT_THAT(thrown.error().message, ::testing::HasSubstr("why"));
  EXPECT_TRUE(GetFilled(cache, {0, 0}, 80).has_value());
}

TEST(BlockCacheTest, ABlockThatNoMemoryHoldsIsAnError) {
  BlockCache cache(100);
  for (const uint64_t size : {~uint64_t{0}, uint64_t{1} << 62}) {
    const auto block = GetFilled(cache, {0, 0}, size);
    ASSERT_FALSE(block.has_value());
    EXPECT_EQ(block.error().error_number, ENOMEM);
    EXPECT_EQ(cache.stats().bytes, 0u);
  }
}

TEST(BlockCacheTest, ABlockLargerThanTheCacheIsMadeAndDropped) {
  BlockCache cache(100);
  {
    const auto block = GetFilled(cache, {0, 0}, 1000);
    ASSERT_TRUE(block.has_value());
    EXPECT_TRUE(IsFilled({0, 0}, *block, 1000));
    EXPECT_EQ(cache.stats().bytes, 1000u);
  }
  EXPECT_EQ(cache.stats().bytes, 0u);
}

TEST(BlockCacheTest, OneThreadMayHoldMoreThanTheCapacityWithoutWaitingForItself) {
  BlockCache cache(0);
  const auto a = *GetFilled(cache, {0, 0}, 10);
  const auto b = *GetFilled(cache, {0, 1}, 10);
  const auto c = *GetFilled(cache, {0, 2}, 10);
  EXPECT_TRUE(IsFilled({0, 0}, a, 10) && IsFilled({0, 1}, b, 10) && IsFilled({0, 2}, c, 10));
}

TEST(BlockCacheTest, OtherThreadsWaitForRoom) {
  BlockCache cache(100);
  auto inside = *GetFilled(cache, {0, 0}, 100);
  auto beyond = *GetFilled(cache, {0, 1}, 100);  // this thread is now the one beyond the capacity
  std::atomic<bool> got{false};
  std::jthread other([&] {
    const auto block = GetFilled(cache, {0, 2}, 100);
    got = block.has_value() && IsFilled({0, 2}, *block, 100);
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_FALSE(got);
  EXPECT_EQ(cache.stats().bytes, 200u);
  beyond.reset();
  EXPECT_TRUE(WaitUntil([&] { return got.load(); }));
}

TEST(BlockCacheTest, SingleFlight) {
  BlockCache cache(1000);
  std::atomic<int> made{0};
  std::latch start(8);
  std::vector<std::jthread> threads;
  std::atomic<int> right{0};
  for (int t = 0; t < 8; ++t)
    threads.emplace_back([&] {
      start.arrive_and_wait();
      const auto block = cache.Get({0, 0}, 100, [&](std::span<std::byte> destination) {
        ++made;
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        return Fill({0, 0}, destination);
      });
      if (block && IsFilled({0, 0}, *block, 100)) ++right;
    });
  threads.clear();
  EXPECT_EQ(made, 1);
  EXPECT_EQ(right, 8);
  EXPECT_EQ(cache.stats().hits, 7u);
}

TEST(BlockCacheTest, WaitersGetTheMakersFailure) {
  BlockCache cache(1000);
  std::promise<void> release;
  std::vector<std::jthread> threads;
  std::atomic<int> failed{0};
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      const auto block = cache.Get({0, 0}, 100, [&](std::span<std::byte>) -> Status {
        release.get_future().wait();
        return FailIo(EIO, "disk");
      });
      if (!block && block.error().error_number == EIO) ++failed;
    });
  EXPECT_TRUE(WaitUntil([&] { return cache.stats().hits == 3; }));
  release.set_value();
  threads.clear();
  EXPECT_EQ(failed, 4);
  EXPECT_EQ(cache.stats().misses, 1u);
}

TEST(BlockCacheTest, MakersMayNeedBlocksOfAnotherOwnerWhenAllRoomIsTaken) {
  BlockCache cache(64);
  std::vector<std::jthread> threads;
  std::atomic<int> right{0};
  for (uint64_t t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (uint64_t i = 0; i < 50; ++i) {
        const Key outer{1, t * 50 + i};
        const auto block = cache.Get(outer, 64, [&](std::span<std::byte> destination) -> Status {
          WEIGHTFS_TRY(const BlockPtr inner, GetFilled(cache, {2, i % 3}, 64));
          if (!IsFilled({2, i % 3}, inner, 64)) return Fail(ErrorCode::kInternal, "inner");
          return Fill(outer, destination);
        });
        if (block && IsFilled(outer, *block, 64)) ++right;
      }
    });
  threads.clear();
  EXPECT_EQ(right, 200);
  EXPECT_LE(cache.stats().bytes, 64u);
}

TEST(BlockCacheTest, BlocksOutliveTheCache) {
  BlockPtr block;
  {
    BlockCache cache(100);
    block = *GetFilled(cache, {3, 4}, 50);
  }
  EXPECT_TRUE(IsFilled({3, 4}, block, 50));
}

TEST(BlockCacheTest, ManyThreadsOverASmallCapacity) {
  constexpr uint64_t kCapacity = 4096;
  for (const uint64_t capacity : {uint64_t{0}, uint64_t{300}, kCapacity}) {
    BlockCache cache(capacity);
    std::vector<std::jthread> threads;
    std::atomic<int> wrong{0};
    for (uint64_t t = 0; t < 8; ++t)
      threads.emplace_back([&, t] {
        std::mt19937_64 random(t);
        for (int i = 0; i < 2000; ++i) {
          const Key key{random() % 2, random() % 40};
          const uint64_t size = 16 + key.index * 20;  // some larger than the smaller capacities
          const bool fails = random() % 16 == 0;
          const auto block = cache.Get(key, size, [&](std::span<std::byte> destination) -> Status {
            if (fails) return Fail(ErrorCode::kIo, "injected");
            return Fill(key, destination);
          });
          if (block ? !IsFilled(key, *block, size) : block.error().message != "injected") ++wrong;
        }
      });
    threads.clear();
    EXPECT_EQ(wrong, 0);
    EXPECT_LE(cache.stats().bytes, capacity);
    EXPECT_EQ(cache.stats().hits + cache.stats().misses, 16'000u);
  }
}

}  // namespace
}  // namespace weightfs
