#include "convert/view/kernels/strided_copy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

namespace weightfs {
namespace {

/// The copy from its definition, one unit at a time.
void CopyPlainly(const std::byte* source, std::byte* destination, std::span<const CopyMode> modes,
                 uint32_t unit_bytes) {
  if (modes.empty()) {
    std::memcpy(destination, source, unit_bytes);
    return;
  }
  for (uint64_t i = 0; i < modes[0].extent; ++i)
    CopyPlainly(source + i * modes[0].source_stride_bytes,
                destination + i * modes[0].destination_stride_bytes, modes.subspan(1), unit_bytes);
}

void ExpectCopied(const std::vector<CopyMode>& modes, uint32_t unit_bytes) {
  uint64_t source_bytes = unit_bytes, destination_bytes = unit_bytes;
  for (const CopyMode& mode : modes) {
    source_bytes += (mode.extent - 1) * mode.source_stride_bytes;
    destination_bytes += (mode.extent - 1) * mode.destination_stride_bytes;
  }
  std::mt19937_64 random(source_bytes * 31 + destination_bytes);
  std::vector<std::byte> source(source_bytes);
  for (std::byte& b : source) b = static_cast<std::byte>(random());
  std::vector<std::byte> got(destination_bytes, std::byte{0xcd}), expected = got;
  CopyPlainly(source.data(), expected.data(), modes, unit_bytes);
  CopyStrided(source.data(), got.data(), modes, unit_bytes);
  std::string text;
  for (const CopyMode& mode : modes)
    text += ::testing::PrintToString(
        std::tuple(mode.extent, mode.source_stride_bytes, mode.destination_stride_bytes));
  EXPECT_TRUE(got == expected) << text << " of " << unit_bytes << " bytes";
}

TEST(StridedCopyTest, TransposesOfEveryWidthAndRaggedEdges) {
  for (const uint32_t unit : {1u, 2u, 4u, 8u})
    for (const uint64_t rows : {1u, 7u, 8u, 16u, 31u, 32u, 33u, 64u, 65u, 130u})
      for (const uint64_t columns : {1u, 5u, 8u, 16u, 32u, 63u, 64u, 129u})
        ExpectCopied({{rows, columns * unit, unit}, {columns, unit, static_cast<int64_t>(rows * unit)}},
                     unit);
}

TEST(StridedCopyTest, TransposesWithinLargerMatrices) {
  for (const uint32_t unit : {1u, 2u, 4u, 8u}) {
    ExpectCopied({{70, 100 * unit + 3, unit}, {67, unit, 71 * unit + 1}}, unit);
    ExpectCopied({{3, 40'000, 70'000}, {70, 100 * unit, unit}, {67, unit, 70 * unit}}, unit);
  }
}

TEST(StridedCopyTest, AnyBoxInAnyOrder) {
  std::mt19937_64 random(5);
  for (int round = 0; round < 3000; ++round) {
    const uint32_t unit = 1u << random() % 4;
    std::vector<CopyMode> modes(random() % 5);
    int64_t destination_stride = unit;
    for (CopyMode& mode : modes) {
      mode = {1 + random() % 7, random() % 40 * unit, destination_stride};
      destination_stride *= static_cast<int64_t>(mode.extent);  // No two units in one place.
    }
    std::ranges::shuffle(modes, random);
    ExpectCopied(modes, unit);
  }
}

TEST(ModeWalkTest, CoversEveryTupleOnce) {
  const std::vector<CopyMode> modes{{3, 100, 1000}, {1, 7, 7}, {2, 10, 50}};
  ModeWalk walk(modes);
  std::vector<std::pair<uint64_t, int64_t>> seen;
  do seen.emplace_back(walk.source_bytes(), walk.destination_bytes());
  while (walk.Next());
  const std::vector<std::pair<uint64_t, int64_t>> expected{{0, 0},      {10, 50},    {100, 1000},
                                                           {110, 1050}, {200, 2000}, {210, 2050}};
  EXPECT_EQ(seen, expected);
  EXPECT_EQ(walk.source_bytes(), 0u);
  ModeWalk none({});
  EXPECT_FALSE(none.Next());
}

}  // namespace
}  // namespace weightfs
