#include "fs/read_gate.h"

#include <gtest/gtest.h>

#include <array>
#include <random>
#include <thread>
#include <vector>

namespace weightfs {
namespace {

ReadRequest Read(WaitGroup group, uint64_t id = 0) { return {.range = {id, id}, .group = group}; }

TEST(ReadGate, BoundsOneGroup) {
  ReadGate gate(2, /*per_group_max=*/3, /*extra_max=*/100);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(gate.Enter(Read(0)));
  EXPECT_FALSE(gate.Enter(Read(0)));
  EXPECT_TRUE(gate.Enter(Read(1))) << "another group is not concerned";
  EXPECT_EQ(gate.running(0), 3u);
}

TEST(ReadGate, AGroupThatDoesNotStallAlwaysHasOne) {
  constexpr uint32_t kGroups = 50;
  ReadGate gate(kGroups, /*per_group_max=*/4, /*extra_max=*/5);
  // All groups but the last take as much as they get.
  uint32_t running = 0;
  for (uint32_t group = 0; group + 1 < kGroups; ++group)
    for (int i = 0; i < 10; ++i) running += gate.Enter(Read(group));
  EXPECT_EQ(running, kGroups - 1 + 5);
  EXPECT_TRUE(gate.Enter(Read(kGroups - 1)));
  EXPECT_FALSE(gate.Enter(Read(kGroups - 1)));
  // Its second read is taken along when the first ends, though everything else is stuck.
  const auto next = gate.Leave(kGroups - 1);
  ASSERT_TRUE(next);
  EXPECT_EQ(next->group, kGroups - 1);
  EXPECT_FALSE(gate.Leave(kGroups - 1));
}

TEST(ReadGate, QueuedReadsComeInOrder) {
  ReadGate gate(1, 1, 0);
  EXPECT_TRUE(gate.Enter(Read(0, 1)));
  for (uint64_t id = 2; id < 6; ++id) EXPECT_FALSE(gate.Enter(Read(0, id)));
  for (uint64_t id = 2; id < 6; ++id) {
    const auto next = gate.Leave(0);
    ASSERT_TRUE(next);
    EXPECT_EQ(next->range.begin, id);
  }
  EXPECT_FALSE(gate.Leave(0));
  EXPECT_EQ(gate.running(0), 0u);
}

TEST(ReadGate, AnExtraThatBecomesFreeGoesToWhoeverWaits) {
  ReadGate gate(2, 4, 1);
  EXPECT_TRUE(gate.Enter(Read(0)));
  EXPECT_TRUE(gate.Enter(Read(0)));  // The one extra.
  EXPECT_TRUE(gate.Enter(Read(1)));
  EXPECT_FALSE(gate.Enter(Read(1, 7)));
  const auto next = gate.Leave(0);
  ASSERT_TRUE(next);
  EXPECT_EQ(next->group, 1u);
  EXPECT_EQ(next->range.begin, 7u);
}

TEST(ReadGate, GivesUpWhatIsQueued) {
  ReadGate gate(2, 1, 0);
  EXPECT_TRUE(gate.Enter(Read(0)));
  EXPECT_TRUE(gate.Enter(Read(1)));
  EXPECT_FALSE(gate.Enter(Read(0, 1)));
  EXPECT_FALSE(gate.Enter(Read(1, 2)));
  EXPECT_EQ(gate.TakeQueued().size(), 2u);
  EXPECT_FALSE(gate.Leave(0));
  EXPECT_FALSE(gate.Leave(1));
}

/// Many threads, few slots: every read runs exactly once, and no bound is ever passed.
TEST(ReadGate, LosesNoReadUnderContention) {
  constexpr uint32_t kGroups = 3;
  constexpr uint32_t kPerGroup = 2;
  constexpr uint32_t kExtra = 2;
  constexpr int kThreads = 12;
  constexpr int kEach = 4000;
  ReadGate gate(kGroups, kPerGroup, kExtra);
  std::array<std::atomic<int>, kGroups> inside = {};
  std::atomic<int> inside_all = 0;
  std::vector<std::atomic<int>> ran(kThreads * kEach);
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        std::mt19937 random(static_cast<unsigned>(t));
        for (int i = 0; i < kEach; ++i) {
          std::optional<ReadRequest> read = Read(random() % kGroups, static_cast<uint64_t>(t * kEach + i));
          if (!gate.Enter(*read)) continue;
          while (read) {
            EXPECT_LE(inside[read->group].fetch_add(1) + 1, static_cast<int>(kPerGroup));
            EXPECT_LE(inside_all.fetch_add(1) + 1, static_cast<int>(kGroups + kExtra));
            ran[read->range.begin].fetch_add(1);
            if (random() % 8 == 0) std::this_thread::yield();
            inside_all.fetch_sub(1);
            inside[read->group].fetch_sub(1);
            read = gate.Leave(read->group);
          }
        }
      });
    }
  }
  for (size_t id = 0; id < ran.size(); ++id) ASSERT_EQ(ran[id].load(), 1) << id;
  EXPECT_TRUE(gate.TakeQueued().empty());
  for (uint32_t group = 0; group < kGroups; ++group) EXPECT_EQ(gate.running(group), 0u);
}

}  // namespace
}  // namespace weightfs
