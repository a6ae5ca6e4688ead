// The law of convert/view/assemble.h, brute-forced: random cuts of small tensors into boxes, put together
// again.
#include "convert/view/assemble.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "convert/view/algebra.h"
#include "tests/support/dense_algebra.h"

namespace weightfs {
namespace {

using testing::CountOf;
using testing::DenseView;
using testing::DenseViewBytes;
using ::testing::HasSubstr;
using testing::MakeNumbered;
using testing::ReadAllBytes;

struct Cut {
  Shape offsets, sizes;
};

/// Cuts `box` in two at random places again and again: any guillotine partition can come out.
void CutUp(const Cut& box, std::mt19937& random, int depth, std::vector<Cut>& cuts) {
  const size_t axis = box.sizes.empty() ? 0 : random() % box.sizes.size();
  if (depth == 0 || box.sizes.empty() || box.sizes[axis] < 2 || random() % 5 == 0) return cuts.push_back(box);
  const uint64_t at = 1 + random() % (box.sizes[axis] - 1);
  Cut low = box, high = box;
  low.sizes[axis] = at;
  high.sizes[axis] -= at;
  high.offsets[axis] += at;
  CutUp(low, random, depth - 1, cuts);
  CutUp(high, random, depth - 1, cuts);
}

/// A part with elements of its own, laid out in a random order of its axes.
std::pair<TensorView, DenseView> RandomPart(const Shape& sizes, uint64_t first, std::mt19937& random) {
  std::vector<size_t> order(sizes.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  if (random() % 2 == 0) std::ranges::shuffle(order, random);
  Shape stored(sizes.size());
  for (size_t i = 0; i < order.size(); ++i) stored[i] = sizes[order[i]];
  const auto [view, dense] = MakeNumbered(stored, DType::kU16, first);
  std::vector<size_t> back(order.size());
  for (size_t i = 0; i < order.size(); ++i) back[order[i]] = i;
  return {Permute(view, back).value(), DensePermute(dense, back)};
}

TEST(AssembleTest, RandomBoxesOfRandomTensors) {
  std::mt19937 random(20261126);
  const std::vector<Shape> shapes = {{},     {1},       {7},          {1, 5},         {5, 1},
                                     {6, 5}, {3, 4, 5}, {2, 3, 1, 4}, {2, 2, 3, 2, 2}};
  for (const Shape& shape : shapes)
    for (int round = 0; round < 60; ++round) {
      std::vector<Cut> cuts;
      CutUp({Shape(shape.size(), 0), shape}, random, 1 + round % 6, cuts);
      std::vector<PlacedView> parts;
      DenseView expected = testing::DenseFill(shape);
      for (size_t k = 0; k < cuts.size(); ++k) {
        auto [view, dense] = RandomPart(cuts[k].sizes, 1000 * k, random);
        expected = testing::Tabulate(shape, [&](const Shape& index) {
          Shape inside = index;
          for (size_t axis = 0; axis < shape.size(); ++axis) {
            if (index[axis] < cuts[k].offsets[axis] ||
                index[axis] >= cuts[k].offsets[axis] + cuts[k].sizes[axis])
              return testing::ElementAt(expected, index);
            inside[axis] -= cuts[k].offsets[axis];
          }
          return testing::ElementAt(dense, inside);
        });
        parts.push_back({cuts[k].offsets, std::move(view)});
      }
      std::ranges::shuffle(parts, random);
      const auto whole = Assemble(shape, DType::kU16, parts);
      const std::string what = fmt::format("{} round {}", shape, round);
      ASSERT_TRUE(whole) << what << ": " << whole.error().message;
      EXPECT_EQ(whole->shape(), shape) << what;
      EXPECT_EQ(ReadAllBytes(*whole), DenseViewBytes(expected, 2)) << what;
    }
}

TEST(AssembleTest, BoxesOfOneTensorAreThatTensorAgain) {
  std::mt19937 random(7);
  const auto [view, dense] = MakeNumbered({4, 6, 3}, DType::kF32, 0);
  for (int round = 0; round < 40; ++round) {
    std::vector<Cut> cuts;
    CutUp({{0, 0, 0}, {4, 6, 3}}, random, 5, cuts);
    std::vector<PlacedView> parts;
    for (const Cut& cut : cuts) {
      TensorView part = view;
      for (size_t axis = 0; axis < 3; ++axis)
        part = Narrow(part, axis, cut.offsets[axis], cut.sizes[axis]).value();
      parts.push_back({cut.offsets, part});
    }
    const TensorView whole = Assemble({4, 6, 3}, DType::kF32, parts).value();
    EXPECT_TRUE(SameElements(whole, view)) << round;
  }
}

TEST(AssembleTest, RowsThatFollowEachOtherBecomeOnePiece) {
  const auto [view, dense] = MakeNumbered({4, 6}, DType::kF32, 0);
  const PlacedView parts[] = {{{2, 0}, Narrow(view, 0, 2, 2).value()},
                              {{0, 0}, Narrow(view, 0, 0, 2).value()}};
  EXPECT_TRUE(Assemble({4, 6}, DType::kF32, parts)->IdentityRange());
}

TEST(AssembleTest, EmptyPartsAndEmptyTensors) {
  const auto [row, dense] = MakeNumbered({1, 3}, DType::kF32, 0);
  const auto [none, no_dense] = MakeNumbered({0, 3}, DType::kF32, 0);
  const PlacedView parts[] = {{{0, 0}, row}, {{1, 0}, none}};
  EXPECT_EQ(ReadAllBytes(*Assemble({1, 3}, DType::kF32, parts)), DenseViewBytes(dense, 4));
  const auto empty = Assemble({0, 3}, DType::kF8E4M3, {});
  ASSERT_TRUE(empty);
  EXPECT_EQ(empty->shape(), (Shape{0, 3}));
  EXPECT_EQ(empty->dtype(), DType::kF8E4M3);
}

// Every set of up to three boxes of a 3 x 3 tensor: the first fault is where counting finds it.
TEST(AssembleTest, FaultsAreFoundWhereTheyAre) {
  const Shape shape = {3, 3};
  std::vector<Cut> all;
  for (uint64_t r = 0; r < 3; ++r)
    for (uint64_t c = 0; c < 3; ++c)
      for (uint64_t h = 1; h <= 3 - r; ++h)
        for (uint64_t w = 1; w <= 3 - c; ++w) all.push_back({{r, c}, {h, w}});
  size_t whole = 0;
  for (size_t i = 0; i < all.size(); ++i)
    for (size_t j = i; j < all.size(); ++j)
      for (size_t k = j; k < all.size(); ++k) {
        std::vector<size_t> chosen = {i, j, k};
        chosen.erase(std::unique(chosen.begin(), chosen.end()), chosen.end());
        std::vector<Box> boxes;
        int counts[3][3] = {};
        for (const size_t n : chosen) {
          boxes.push_back({all[n].offsets, all[n].sizes});
          for (uint64_t r = 0; r < all[n].sizes[0]; ++r)
            for (uint64_t c = 0; c < all[n].sizes[1]; ++c)
              ++counts[all[n].offsets[0] + r][all[n].offsets[1] + c];
        }
        const auto fault = FindTilingFault(shape, boxes);
        ASSERT_TRUE(fault);
        const int* first =
            std::ranges::find_if(&counts[0][0], &counts[0][0] + 9, [](int n) { return n != 1; });
        if (first == &counts[0][0] + 9) {
          ++whole;
          EXPECT_FALSE(*fault);
          continue;
        }
        ASSERT_TRUE(*fault);
        const auto at = static_cast<uint64_t>(first - &counts[0][0]);
        EXPECT_EQ((*fault)->begin, (Shape{at / 3, at % 3}));
        EXPECT_EQ((*fault)->count, static_cast<uint64_t>(*first));
        for (uint64_t r = (*fault)->begin[0]; r < (*fault)->end[0]; ++r)
          for (uint64_t c = (*fault)->begin[1]; c < (*fault)->end[1]; ++c) EXPECT_EQ(counts[r][c], *first);
      }
  EXPECT_GT(whole, 10u);
}

TEST(AssembleTest, RefusesWhatDoesNotFit) {
  const auto [row, dense] = MakeNumbered({1, 3}, DType::kF32, 0);
  const auto message = [&](std::vector<PlacedView> parts, DType dtype = DType::kF32) {
    const auto made = Assemble({2, 3}, dtype, parts);
    EXPECT_FALSE(made);
    return made ? std::string() : made.error().message;
  };
  EXPECT_THAT(message({{{0, 0}, row}}),
              HasSubstr("from [1, 0] to [2, 3] of a tensor of shape [2, 3] lies in 0 parts"));
  EXPECT_THAT(message({{{0, 0}, row}, {{0, 0}, row}}), HasSubstr("lies in 2 parts"));
  EXPECT_THAT(message({{{2, 0}, row}}), HasSubstr("box 0 of sizes [1, 3] at [2, 0]"));
  EXPECT_THAT(message({{{UINT64_MAX, 0}, row}}), HasSubstr("expected it within the tensor"));
  EXPECT_THAT(message({{{0}, row}}), HasSubstr("expected it within the tensor"));
  EXPECT_THAT(message({{{0, 0}, row}, {{1, 0}, row}}, DType::kF16), HasSubstr("stored alike"));
  const TensorView cast = row.Cast(DType::kF16).value();
  EXPECT_THAT(message({{{0, 0}, row}, {{1, 0}, cast}}), HasSubstr("stored alike"));
}

TEST(AssembleTest, ManyBoxesAndManyAxes) {
  // 16,384 rows are checked at once; one row is left out.
  std::vector<Shape> offsets;
  for (uint64_t i = 0; i < 16384; ++i)
    if (i != 9000) offsets.push_back({i, 0});
  const Shape sizes = {1, 8};
  std::vector<Box> boxes;
  for (const Shape& at : offsets) boxes.push_back({at, sizes});
  const auto fault = FindTilingFault({16384, 8}, boxes);
  ASSERT_TRUE(fault && *fault);
  EXPECT_EQ((*fault)->begin, (Shape{9000, 0}));
  EXPECT_EQ((*fault)->end, (Shape{9001, 8}));

  const Shape deep(30, 2), corner(30, 0), half(30, 1);
  const Box one[] = {{corner, half}};
  const auto refused = FindTilingFault(deep, one);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kLimitExceeded);
}

}  // namespace
}  // namespace weightfs
