#include "fs/scratch_pool.h"

#include <gtest/gtest.h>

#include <cstring>
#include <thread>
#include <vector>

namespace weightfs {
namespace {

TEST(ScratchPool, LendsTheOneThatWasUsedLast) {
  ScratchPool pool;
  const void* first = nullptr;
  {
    ScratchPool::Lease lease = pool.Borrow();
    first = (*lease).reply().data();
  }
  ScratchPool::Lease again = pool.Borrow();
  EXPECT_EQ((*again).reply().data(), first);
  ScratchPool::Lease other = pool.Borrow();
  EXPECT_NE((*other).reply().data(), first);
}

TEST(ScratchPool, NeverLendsOneBufferTwice) {
  ScratchPool pool;
  std::vector<std::jthread> threads;
  for (int t = 0; t < 24; ++t) {
    threads.emplace_back([&pool, t] {
      for (int i = 0; i < 300; ++i) {
        ScratchPool::Lease lease = pool.Borrow();
        const std::span<std::byte> mine = (*lease).reply().first(64);
        std::memset(mine.data(), t, mine.size());
        std::this_thread::yield();
        for (std::byte b : mine) ASSERT_EQ(b, std::byte(t));
      }
    });
  }
}

}  // namespace
}  // namespace weightfs
