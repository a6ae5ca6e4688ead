// The laws of convert/view/algebra.h, brute-forced against a dense evaluator over small shapes.
#include "convert/view/algebra.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <vector>

#include "tests/support/dense_algebra.h"
#include "tests/support/scalar_cast.h"

namespace weightfs {
namespace {

using testing::CountOf;
using testing::DenseConcat;
using testing::DenseView;
using testing::DenseViewBytes;
using ::testing::HasSubstr;
using testing::MakeNumbered;
using testing::ReadAllBytes;
using testing::ScalarCastAll;

struct Pair {
  TensorView view;
  DenseView dense;
};

Pair Numbered(Shape shape, DType dtype = DType::kU16, uint64_t first = 0) {
  auto [view, dense] = MakeNumbered(std::move(shape), dtype, first);
  return {std::move(view), std::move(dense)};
}

void ExpectSame(const Result<TensorView>& view, const DenseView& dense, const std::string& what) {
  ASSERT_TRUE(view) << what << ": " << view.error().message;
  EXPECT_EQ(view->shape(), dense.shape) << what;
  EXPECT_EQ(ReadAllBytes(*view), DenseViewBytes(dense, UnitBytes(view->dtype()))) << what;
}

const std::vector<Shape> kShapes = {{}, {1}, {6}, {2, 3}, {3, 1, 2}, {4, 6}, {2, 3, 4}, {2, 2, 3, 2}};

std::vector<std::vector<size_t>> Orders(size_t rank) {
  std::vector<size_t> order(rank);
  for (size_t i = 0; i < rank; ++i) order[i] = i;
  std::vector<std::vector<size_t>> orders;
  do orders.push_back(order);
  while (std::next_permutation(order.begin(), order.end()));
  return orders;
}

TEST(AlgebraTest, Permute) {
  for (const Shape& shape : kShapes) {
    const Pair source = Numbered(shape);
    for (const auto& order : Orders(shape.size()))
      ExpectSame(Permute(source.view, order), DensePermute(source.dense, order),
                 fmt::format("{} by {}", shape, order));
  }
}

TEST(AlgebraTest, EverySliceOfEveryAxis) {
  for (const Shape& shape : kShapes) {
    const Pair source = Numbered(shape);
    for (size_t axis = 0; axis < shape.size(); ++axis)
      for (uint64_t begin = 0; begin < shape[axis]; ++begin)
        for (int64_t step = -3; step <= 3; ++step)
          for (uint64_t count = 0; count <= shape[axis] + 1; ++count) {
            const int64_t last = static_cast<int64_t>(begin) + step * (static_cast<int64_t>(count) - 1);
            const bool fits = count == 0 || (last >= 0 && last < static_cast<int64_t>(shape[axis]) &&
                                             (step != 0 || count == 1));
            const auto slice = Slice(source.view, axis, begin, step, count);
            const std::string what =
                fmt::format("{} axis {}: {} from {} by {}", shape, axis, count, begin, step);
            if (fits) {
              ExpectSame(slice, DenseSlice(source.dense, axis, begin, step, count), what);
            } else {
              ASSERT_FALSE(slice) << what;
              EXPECT_EQ(slice.error().code, ErrorCode::kInvalidArgument);
              EXPECT_THAT(slice.error().message, HasSubstr(fmt::format("axis {}", axis)));
            }
          }
  }
}

// Slices of axes whose digits lie in several modes, after a permute and a reshape.
TEST(AlgebraTest, SlicesThatCutThroughModes) {
  const Pair source = Numbered({4, 6});
  const TensorView permuted = Reshape(*Transpose(source.view, 0, 1), {2, 12}).value();
  const DenseView dense = DenseReshape(DensePermute(source.dense, {1, 0}), {2, 12});
  for (uint64_t begin = 0; begin < 12; ++begin)
    for (int64_t step : {-2, -1, 1, 2, 5})
      for (uint64_t count = 1; count <= 12; ++count) {
        const auto slice = Slice(permuted, 1, begin, step, count);
        if (slice)
          ExpectSame(slice, DenseSlice(dense, 1, begin, step, count),
                     fmt::format("{} from {} by {}", count, begin, step));
      }
}

TEST(AlgebraTest, ConcatStackInterleaveSplitRepeat) {
  for (const Shape& shape : kShapes) {
    for (size_t axis = 0; axis < shape.size(); ++axis) {
      std::vector<Pair> sources;
      for (uint64_t k = 0; k < 3; ++k) {
        Shape part = shape;
        part[axis] = k == 1 ? 2 : shape[axis];
        sources.push_back(Numbered(part, DType::kF32, 1000 * k));
      }
      const std::vector<TensorView> views = {sources[0].view, sources[1].view, sources[2].view};
      const std::vector<DenseView> denses = {sources[0].dense, sources[1].dense, sources[2].dense};
      const std::string what = fmt::format("{} axis {}", shape, axis);
      const auto joined = Concat(views, axis);
      ExpectSame(joined, DenseConcat(denses, axis), what);

      const uint64_t extents[] = {shape[axis], 2, shape[axis]};
      const auto parts = Split(*joined, axis, extents);
      ASSERT_TRUE(parts);
      for (size_t k = 0; k < 3; ++k) {
        ExpectSame((*parts)[k], denses[k], what);
        EXPECT_TRUE(SameElements((*parts)[k], views[k])) << what;
      }
      for (const uint64_t count : {0, 1, 3})
        ExpectSame(Repeat(*joined, axis, count), DenseRepeat(DenseConcat(denses, axis), axis, count), what);
    }
    const Pair a = Numbered(shape, DType::kF32), b = Numbered(shape, DType::kF32, 1000);
    const std::vector<TensorView> two = {a.view, b.view};
    for (size_t axis = 0; axis <= shape.size(); ++axis) {
      Shape row = shape;
      row.insert(row.begin() + static_cast<ptrdiff_t>(axis), 1);
      const DenseView stacked = DenseConcat({DenseReshape(a.dense, row), DenseReshape(b.dense, row)}, axis);
      ExpectSame(Stack(two, axis), stacked, fmt::format("stack {} {}", shape, axis));
      if (axis == 0 || shape.empty()) continue;
      Shape flat = shape;
      flat[axis - 1] *= 2;
      ExpectSame(Interleave(two, axis - 1), DenseReshape(stacked, flat),
                 fmt::format("interleave {} {}", shape, axis));
    }
  }
}

TEST(AlgebraTest, PadAndFill) {
  const Pair source = Numbered({2, 3}, DType::kF32);
  const DenseView zeros = testing::DenseFill({2, 2}), one = testing::DenseFill({2, 1});
  ExpectSame(Pad(source.view, 1, 2, 1, 0), DenseConcat({zeros, source.dense, one}, 1), "pad");
  ExpectSame(Pad(source.view, 0, 0, 1, 0), DenseConcat({source.dense, testing::DenseFill({1, 3})}, 0),
             "rows");
  for (const DType dtype :
       {DType::kBool, DType::kU8, DType::kI8, DType::kI16, DType::kU16, DType::kF16, DType::kBF16,
        DType::kI32, DType::kU32, DType::kF32, DType::kF64, DType::kI64, DType::kU64}) {
    ExpectSame(Fill({3, 2}, dtype, 0), testing::DenseFill({3, 2}), std::string(SafetensorsName(dtype)));
    ASSERT_TRUE(Fill({}, dtype, 1));
    EXPECT_NE(ReadAllBytes(*Fill({}, dtype, 1)), std::string(UnitBytes(dtype), '\0'));
  }
  EXPECT_EQ(ReadAllBytes(*Fill({2}, DType::kBF16, 1)), std::string("\x80\x3f\x80\x3f", 4));
  EXPECT_EQ(ReadAllBytes(*Fill({1}, DType::kI8, -1)), "\xff");
  // A constant is cast as any element is.
  EXPECT_EQ(ReadAllBytes(*Fill({2}, DType::kF32, 1)->Cast(DType::kF16)), std::string("\0\x3c\0\x3c", 4));
  EXPECT_FALSE(Fill({1}, DType::kU8, 256));
  EXPECT_FALSE(Fill({1}, DType::kU8, -1));
  EXPECT_FALSE(Fill({1}, DType::kI64, 9223372036854775808.0));
  EXPECT_FALSE(Fill({1}, DType::kI32, 0.5));
  EXPECT_FALSE(Fill({1}, DType::kF16, 0.1));
  EXPECT_FALSE(Fill({1}, DType::kBool, 2));
  EXPECT_FALSE(Fill({1}, DType::kF4, 0));
  EXPECT_EQ(Fill({UINT64_MAX, 2}, DType::kU8, 0).error().code, ErrorCode::kLimitExceeded);
}

TEST(AlgebraTest, EmptyAndScalar) {
  const Pair empty = Numbered({0, 3}), scalar = Numbered({});
  for (const auto& order : Orders(2))
    ExpectSame(Permute(empty.view, order), DensePermute(empty.dense, order), "0x3");
  ExpectSame(Concat(std::vector{empty.view, empty.view}, 0), empty.dense, "empty concat");
  ExpectSame(Narrow(empty.view, 1, 1, 2), DenseSlice(empty.dense, 1, 1, 1, 2), "narrow of empty");
  const Pair rows = Numbered({2, 3});
  ExpectSame(Concat(std::vector{empty.view, rows.view, empty.view}, 0), rows.dense, "empty parts");
  ExpectSame(Reshape(scalar.view, {1, 1}), DenseReshape(scalar.dense, {1, 1}), "scalar");
  ExpectSame(Stack(std::vector{scalar.view, scalar.view}, 0),
             DenseConcat({DenseReshape(scalar.dense, {1}), DenseReshape(scalar.dense, {1})}, 0),
             "stack of scalars");
  ExpectSame(Repeat(*Reshape(scalar.view, {1}), 0, 4), DenseRepeat(DenseReshape(scalar.dense, {1}), 0, 4),
             "repeat");
  ExpectSame(Narrow(rows.view, 0, 2, 0), DenseSlice(rows.dense, 0, 2, 1, 0), "nothing, from the end");
}

TEST(AlgebraTest, RefusesWhatDoesNotFit) {
  const Pair source = Numbered({2, 3});
  const auto expect = [](const auto& result, ErrorCode code, const char* message) {
    ASSERT_FALSE(result) << message;
    EXPECT_EQ(result.error().code, code) << message;
    EXPECT_THAT(result.error().message, HasSubstr(message));
  };
  expect(Reshape(source.view, {7}), ErrorCode::kInvalidArgument, "shape [2, 3] as shape [7]");
  expect(Reshape(source.view, {UINT64_MAX, UINT64_MAX}), ErrorCode::kInvalidArgument,
         "expected as many elements");
  expect(Permute(source.view, std::vector<size_t>{0}), ErrorCode::kInvalidArgument, "every axis once");
  expect(Permute(source.view, std::vector<size_t>{0, 0}), ErrorCode::kInvalidArgument, "every axis once");
  expect(Select(source.view, 2, 0), ErrorCode::kInvalidArgument, "axis 2 of a tensor of shape [2, 3]");
  expect(Select(source.view, 1, 3), ErrorCode::kInvalidArgument, "1 indices from 3");
  expect(Slice(source.view, 0, 0, INT64_MIN, 2), ErrorCode::kInvalidArgument, "axis 0");
  expect(Slice(source.view, 0, UINT64_MAX, 1, UINT64_MAX), ErrorCode::kInvalidArgument, "axis 0");
  expect(Concat({}, 0), ErrorCode::kInvalidArgument, "no tensors");
  const Pair other = Numbered({3, 2}), wide = Numbered({2, 3}, DType::kF32);
  expect(Concat(std::vector{source.view, other.view}, 0), ErrorCode::kInvalidArgument, "[2, 3] and [3, 2]");
  expect(Concat(std::vector{source.view, wide.view}, 0), ErrorCode::kInvalidArgument, "one dtype");
  expect(Sum(std::vector{source.view, source.view}), ErrorCode::kInvalidArgument, "expected f64");
  expect(Repeat(source.view, 0, UINT64_MAX), ErrorCode::kLimitExceeded, "64 bits");
  const uint64_t parts[] = {1, 3};
  expect(Split(source.view, 1, parts), ErrorCode::kInvalidArgument, "expected 3 in all");
  const auto pairs =
      TensorView::Make(MakeMemoryFile("12", "f4"), *Layout::Contiguous(2, 1, 0), DType::kF4, {2, 2});
  expect(Transpose(*pairs, 0, 1), ErrorCode::kUnsupported, "narrower than a byte");
}

TEST(AlgebraTest, TooManyPiecesAreRefused) {
  const uint64_t limit = Limits{}.view_pieces_max;
  for (const uint64_t count : {limit - 1, limit, limit + 1}) {
    // Every third element of pairs that lie apart: the pairs must be taken one by one.
    const Pair source = Numbered({count, 3}, DType::kU8);
    const TensorView pairs = Reshape(*Narrow(source.view, 1, 0, 2), {2 * count}).value();
    const auto cut = Slice(pairs, 0, 0, 3, 2 * count / 3);
    const auto joined = Concat(std::vector(count, Numbered({1, 2}).view), 1);
    ASSERT_EQ(cut.has_value(), count <= limit);
    ASSERT_EQ(joined.has_value(), count <= limit);
    if (count <= limit) continue;
    EXPECT_EQ(cut.error().code, ErrorCode::kLimitExceeded);
    EXPECT_EQ(joined.error().code, ErrorCode::kLimitExceeded);
    EXPECT_THAT(cut.error().message, HasSubstr("more than 65536 pieces"));
  }
}

TEST(AlgebraTest, ElementOperationsGoAlong) {
  const Pair source = Numbered({2, 3}, DType::kF16);
  const TensorView cast = source.view.Cast(DType::kF32)->Scale(0.5)->AddScalar(-1).value();
  const TensorView first = Transpose(cast, 0, 1).value();
  const TensorView last = Transpose(source.view, 0, 1)->Cast(DType::kF32)->Scale(0.5)->AddScalar(-1).value();
  EXPECT_TRUE(SameElements(first, last));
  EXPECT_EQ(ReadAllBytes(first), ReadAllBytes(last));
  EXPECT_FALSE(SameElements(first, *Transpose(source.view, 0, 1)));
  EXPECT_THAT(first.Operations(),
              ::testing::ElementsAre("strided", "cast f16 to f32", "times 0.5", "plus -1"));
  EXPECT_FALSE(cast.Scale(2)) << "a scale after a term";
  EXPECT_FALSE(cast.AddScalar(2));
}

float Half(const std::string& bytes, size_t index) {
  float value = 0;
  ScalarCastAll(reinterpret_cast<const std::byte*>(bytes.data()) + 2 * index,
                reinterpret_cast<std::byte*>(&value), 1, DType::kF16, DType::kF32);
  return value;
}

TEST(AlgebraTest, SumsAndMeansRoundAfterEveryStep) {
  const auto half = [](double value) { return Fill({4, 2}, DType::kF16, value).value(); };
  // 2048 + 1 is 2048 in f16, ties to even; 2048 + 2 is not.
  const std::vector<TensorView> views = {half(2048), half(1), half(1), half(2)};
  EXPECT_EQ(Half(ReadAllBytes(*Sum(views)), 3), 2050);
  EXPECT_EQ(Half(ReadAllBytes(*Mean(views)), 0), 512.5);
  // Index operations go through a sum: the sum of slices is the slice of the sum.
  const Pair a = Numbered({3, 4}, DType::kF64), b = Numbered({3, 4}, DType::kF64, 100);
  const TensorView sum = Sum(std::vector{a.view, b.view}).value();
  const TensorView of_slices =
      Sum(std::vector{*Narrow(*Transpose(a.view, 0, 1), 0, 1, 2), *Narrow(*Transpose(b.view, 0, 1), 0, 1, 2)})
          .value();
  const TensorView slice = Narrow(*Transpose(sum, 0, 1), 0, 1, 2).value();
  EXPECT_TRUE(SameElements(of_slices, slice));
  EXPECT_FALSE(SameElements(slice, *Mean(std::vector{*Narrow(*Transpose(a.view, 0, 1), 0, 1, 2),
                                                     *Narrow(*Transpose(b.view, 0, 1), 0, 1, 2)})));
  EXPECT_EQ(ReadAllBytes(of_slices), ReadAllBytes(slice));
  EXPECT_FALSE(Sum(std::vector{sum, sum}));
  EXPECT_THAT(sum.Operations(), ::testing::ElementsAre("sum of 2"));
}

/// Every view that reshape, permute, narrow and concat make of a tensor of six elements in `depth` steps.
class Enumeration {
 public:
  void Run(int depth) {
    const Pair start = Numbered({2, 3}, DType::kU8), other = Numbered({2, 3}, DType::kU8, 100);
    other_ = other;
    Visit(start, depth);
  }
  size_t views = 0;
  std::map<DenseView, TensorView> distinct;

 private:
  void Visit(const Pair& pair, int depth) {
    ++views;
    Check(pair);
    if (depth == 0 || ::testing::Test::HasFailure()) return;
    const Shape& shape = pair.dense.shape;
    for (const Shape& to : ShapesOf(CountOf(shape)))
      if (to != shape) Visit({Reshape(pair.view, to).value(), DenseReshape(pair.dense, to)}, depth - 1);
    for (const auto& order : Orders(shape.size()))
      if (!std::ranges::is_sorted(order))
        Visit({Permute(pair.view, order).value(), DensePermute(pair.dense, order)}, depth - 1);
    for (size_t axis = 0; axis < shape.size(); ++axis) {
      for (uint64_t begin = 0; begin < shape[axis]; ++begin)
        for (uint64_t count = 1; begin + count <= shape[axis]; ++count)
          if (count < shape[axis])
            Visit({Narrow(pair.view, axis, begin, count).value(),
                   DenseSlice(pair.dense, axis, begin, 1, count)},
                  depth - 1);
      // With itself, with its parts the other way round, and with another tensor.
      Visit({Concat(std::vector{pair.view, pair.view}, axis).value(),
             DenseConcat({pair.dense, pair.dense}, axis)},
            depth - 1);
      for (uint64_t cut = 1; cut < shape[axis]; ++cut) {
        const uint64_t rest = shape[axis] - cut;
        const Pair a{Narrow(pair.view, axis, 0, cut).value(), DenseSlice(pair.dense, axis, 0, 1, cut)};
        const Pair b{Narrow(pair.view, axis, cut, rest).value(), DenseSlice(pair.dense, axis, cut, 1, rest)};
        Visit({Concat(std::vector{a.view, b.view}, axis).value(), DenseConcat({a.dense, b.dense}, axis)},
              depth - 1);
        Visit({Concat(std::vector{b.view, a.view}, axis).value(), DenseConcat({b.dense, a.dense}, axis)},
              depth - 1);
      }
    }
    if (shape == other_.dense.shape)
      Visit({Concat(std::vector{other_.view, pair.view}, 1).value(),
             DenseConcat({other_.dense, pair.dense}, 1)},
            depth - 1);
  }

  void Check(const Pair& pair) {
    const auto [found, is_new] = distinct.emplace(pair.dense, pair.view);
    if (is_new) {
      EXPECT_EQ(ReadAllBytes(pair.view), DenseViewBytes(pair.dense, 1));
    } else {
      EXPECT_TRUE(SameElements(found->second, pair.view)) << fmt::format("{}", pair.dense.elements);
    }
  }

  /// Shapes of rank up to 3 without extents of 1, and some with.
  static const std::vector<Shape>& ShapesOf(uint64_t count) {
    static std::map<uint64_t, std::vector<Shape>> known;
    auto [found, is_new] = known.try_emplace(count);
    if (is_new) {
      found->second = {{count}, {1, count}};
      for (uint64_t a = 2; a < count; ++a)
        if (count % a == 0) found->second.push_back({a, count / a});
    }
    return found->second;
  }

  Pair other_;
};

TEST(AlgebraTest, EqualViewsCompareEqualToDepthFour) {
  Enumeration enumeration;
  enumeration.Run(4);
  EXPECT_GT(enumeration.views, 100'000u);
  // Those that differ compare unequal.
  std::map<Shape, std::vector<const TensorView*>> by_shape;
  size_t pairs = 0;
  for (const auto& [dense, view] : enumeration.distinct) {
    auto& others = by_shape[dense.shape];
    for (size_t i = 0; i < others.size(); i += 1 + others.size() / 20, ++pairs)
      ASSERT_FALSE(SameElements(*others[i], view)) << fmt::format("{}", dense.elements);
    others.push_back(&view);
  }
  EXPECT_GT(pairs, 10'000u);
  RecordProperty("views", static_cast<int>(enumeration.views));
  RecordProperty("distinct", static_cast<int>(enumeration.distinct.size()));
}

}  // namespace
}  // namespace weightfs
