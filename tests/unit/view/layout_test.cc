// The laws of layouts, by brute force over small shapes and strides.
#include "convert/view/layout.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <vector>

namespace weightfs {
namespace {

using ::testing::HasSubstr;
using Numbers = std::vector<uint64_t>;

/// Positions in bytes of all units, from the definition.
Numbers Positions(const Numbers& shape, const Numbers& strides, uint64_t offset, uint32_t unit_bytes) {
  Numbers positions{offset};
  for (size_t i = 0; i < shape.size(); ++i) {
    Numbers next;
    for (const uint64_t position : positions)
      for (uint64_t index = 0; index < shape[i]; ++index) next.push_back(position + index * strides[i]);
    positions = next;
  }
  for (uint64_t& position : positions) position *= unit_bytes;
  return positions;
}

/// Calls `check` for every shape of rank up to 3 with extents up to 4, and strides from a few values.
void ForEachSmallLayout(const std::function<void(const Numbers& shape, const Numbers& strides)>& check) {
  const Numbers extents{0, 1, 2, 3, 4}, distances{0, 1, 2, 3, 4, 6, 12};
  for (size_t rank = 0; rank <= 3; ++rank) {
    Numbers shape(rank), strides(rank);
    const std::function<void(size_t)> choose = [&](size_t i) {
      if (i == rank) return check(shape, strides);
      for (const uint64_t extent : extents) {
        for (const uint64_t distance : distances) {
          shape[i] = extent;
          strides[i] = distance;
          choose(i + 1);
        }
      }
    };
    choose(0);
  }
}

TEST(LayoutTest, GivesThePositionsOfTheDefinition) {
  ForEachSmallLayout([](const Numbers& shape, const Numbers& strides) {
    const Numbers expected = Positions(shape, strides, 3, 2);
    const auto layout = Layout::Strided(shape, strides, 3, 2, 1000, {});
    ASSERT_TRUE(layout);
    ASSERT_EQ(layout->unit_count(), expected.size());
    for (size_t i = 0; i < expected.size(); ++i) ASSERT_EQ(layout->PositionBytes(i), expected[i]);
    if (expected.empty()) {
      ASSERT_TRUE(layout->span_bytes().empty());
      return;
    }
    const auto [low, high] = std::ranges::minmax(expected);
    ASSERT_EQ(layout->span_bytes(), (ByteRange{low, high + 2}));
    bool packed = true;
    for (size_t i = 0; i < expected.size(); ++i) packed = packed && expected[i] == expected[0] + 2 * i;
    ASSERT_EQ(layout->contiguous(), packed);
    const uint64_t run = layout->run_units();
    ASSERT_EQ(expected.size() % run, 0u);
    for (size_t i = 0; i < expected.size(); ++i)
      if (i % run != 0) {
        ASSERT_EQ(expected[i], expected[i - 1] + 2);
      }
  });
}

TEST(LayoutTest, KeepsTheNormalForm) {
  ForEachSmallLayout([](const Numbers& shape, const Numbers& strides) {
    const auto layout = Layout::Strided(shape, strides, 0, 4, 1000, {});
    ASSERT_TRUE(layout);
    const auto modes = layout->modes();
    for (size_t i = 0; i < modes.size(); ++i) {
      ASSERT_GT(modes[i].extent, 1u);
      if (i > 0) {
        ASSERT_NE(modes[i - 1].stride_bytes, modes[i].extent * modes[i].stride_bytes);
      }
    }
    if (layout->unit_count() == 0) {
      ASSERT_TRUE(modes.empty());
    }
  });
}

TEST(LayoutTest, EqualFunctionsCompareEqual) {
  std::map<Numbers, Layout> by_positions;
  size_t merged = 0;
  ForEachSmallLayout([&](const Numbers& shape, const Numbers& strides) {
    const auto layout = Layout::Strided(shape, strides, 5, 1, 1000, {});
    ASSERT_TRUE(layout);
    const auto [known, is_new] = by_positions.emplace(Positions(shape, strides, 5, 1), *layout);
    ASSERT_EQ(known->second, *layout);
    merged += !is_new;
  });
  EXPECT_GT(merged, 1000u);
  const Layout* previous = nullptr;
  for (const auto& [positions, layout] : by_positions) {
    if (previous != nullptr) {
      ASSERT_FALSE(*previous == layout);
    }
    previous = &layout;
  }
}

TEST(LayoutTest, DiffersByOffsetAndUnit) {
  const Layout a = *Layout::Contiguous(6, 2, 0);
  EXPECT_EQ(a, *Layout::Contiguous(6, 2, 0));
  EXPECT_NE(a, *Layout::Contiguous(6, 2, 2));
  EXPECT_NE(a, *Layout::Contiguous(6, 4, 0));
  EXPECT_EQ(*Layout::Contiguous(0, 4, 0), *Layout::Contiguous(0, 4, 8));
  EXPECT_EQ(*Layout::Contiguous(1, 4, 8), *Layout::Strided(Numbers{1, 1}, Numbers{7, 0}, 2, 4, 12, {}));
  EXPECT_NE(*Layout::Contiguous(0, 4, 0), *Layout::Contiguous(0, 2, 0));
}

TEST(LayoutTest, EveryUnitLiesWithinTheStorage) {
  ForEachSmallLayout([](const Numbers& shape, const Numbers& strides) {
    const Numbers positions = Positions(shape, strides, 2, 4);
    const uint64_t needed = positions.empty() ? 0 : std::ranges::max(positions) + 4;
    ASSERT_TRUE(Layout::Strided(shape, strides, 2, 4, needed, {}));
    if (needed == 0) return;
    const auto refused = Layout::Strided(shape, strides, 2, 4, needed - 1, {});
    ASSERT_FALSE(refused);
    ASSERT_EQ(refused.error().code, ErrorCode::kCorrupt);
  });
}

TEST(LayoutTest, SaysWhatReachesPastTheStorage) {
  const auto refused = Layout::Strided(Numbers{2, 3}, Numbers{3, 1}, 1, 4, 24, {});
  ASSERT_FALSE(refused);
  EXPECT_THAT(
      refused.error().message,
      HasSubstr("shape [2, 3], strides [3, 1], offset 1, 4 bytes each reaches past its storage of 24 bytes; "
                "the last element is number 6"));
}

TEST(LayoutTest, ArithmeticThatOverflowsIsRefused) {
  constexpr uint64_t kHuge = uint64_t{1} << 63;
  struct {
    Numbers shape, strides;
    uint64_t offset;
  } const cases[] = {
      {{kHuge, kHuge}, {1, 1}, 0},  {{2}, {kHuge}, kHuge},       {{3}, {kHuge}, 0},
      {{1}, {1}, ~uint64_t{0}},     {{kHuge, 4}, {0, 0}, 0},     {{kHuge, 2}, {0, kHuge}, 0},
      {{5}, {1}, ~uint64_t{0} - 2}, {{2, 2}, {kHuge, kHuge}, 0}, {{~uint64_t{0}}, {1}, 0},
  };
  for (const auto& c : cases) {
    for (const uint64_t storage : {uint64_t{0}, uint64_t{16}, ~uint64_t{0}}) {
      const auto layout = Layout::Strided(c.shape, c.strides, c.offset, 4, storage, {});
      EXPECT_FALSE(layout) << ::testing::PrintToString(c.shape) << " over " << storage;
    }
  }
  EXPECT_FALSE(Layout::Contiguous(kHuge, 4, 0));
  EXPECT_FALSE(Layout::Contiguous(1, 4, ~uint64_t{0} - 3));
  EXPECT_TRUE(Layout::Contiguous(1, 4, ~uint64_t{0} - 4));
}

TEST(LayoutTest, WithoutUnitsNothingElseMatters) {
  const auto layout =
      Layout::Strided(Numbers{~uint64_t{0}, 0, ~uint64_t{0}},
                      Numbers{~uint64_t{0}, ~uint64_t{0}, ~uint64_t{0}}, ~uint64_t{0}, 8, 0, {});
  ASSERT_TRUE(layout);
  EXPECT_EQ(layout->unit_count(), 0u);
  EXPECT_TRUE(layout->contiguous());
}

TEST(LayoutTest, RankIsLimited) {
  for (const uint32_t rank : {63u, 64u, 65u}) {
    const auto layout = Layout::Strided(Numbers(rank, 1), Numbers(rank, 1), 0, 4, 4, {});
    EXPECT_EQ(layout.has_value(), rank <= 64);
    if (!layout) {
      EXPECT_EQ(layout.error().code, ErrorCode::kLimitExceeded);
    }
  }
  EXPECT_FALSE(Layout::Strided(Numbers{1, 1}, Numbers{1}, 0, 4, 4, {}));
}

TEST(LayoutTest, RepetitionIsLimited) {
  const auto served = [](uint64_t count, const Limits& limits, uint64_t storage_bytes) {
    const auto layout = Layout::Strided(Numbers{count}, Numbers{0}, 0, 4, storage_bytes, limits);
    if (!layout) {
      EXPECT_EQ(layout.error().code, ErrorCode::kLimitExceeded);
    }
    return layout.has_value();
  };
  Limits limits;
  limits.repeated_tensor_bytes_max = 4000;
  limits.repeated_tensor_factor_max = 16;
  for (const int delta : {-1, 0, 1}) {
    EXPECT_EQ(served(1000 + delta, limits, 4), delta <= 0);         // The bytes are the larger limit.
    EXPECT_EQ(served(16 * 100 + delta, limits, 400), delta <= 0);   // The factor is.
    EXPECT_EQ(served((1 << 28) + delta, Limits{}, 4), delta <= 0);  // 1 GiB by default.
  }
  // A storage of any size that is not repeated is served whole.
  limits.repeated_tensor_bytes_max = 0;
  limits.repeated_tensor_factor_max = 0;
  EXPECT_TRUE(Layout::Strided(Numbers{100}, Numbers{1}, 0, 4, 400, limits));
}

}  // namespace
}  // namespace weightfs
