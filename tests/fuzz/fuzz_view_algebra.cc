// Index operations made of the input's bytes: each is refused, or gives the elements that a dense evaluator
// gives, and so does every range that is read of the last view.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "convert/view/algebra.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/support/dense_algebra.h"

namespace weightfs {
namespace {

using testing::CountOf;
using testing::DenseView;

constexpr uint64_t kElementsMax = 4096;
constexpr int kStepsMax = 12;

struct Pair {
  TensorView view;
  DenseView dense;
};

/// Takes `made` when the dense evaluator can follow; a failure must say why.
void Take(const Result<TensorView>& made, const std::function<DenseView()>& dense, Pair& pair) {
  if (!made) return Expect(!made.error().message.empty());
  if (made->element_count() > kElementsMax) return;
  pair = {*made, dense()};
  Expect(pair.view.shape() == pair.dense.shape);
}

void Step(Input& input, Pair& pair) {
  const TensorView& view = pair.view;
  const DenseView& dense = pair.dense;
  const uint8_t way = input.Byte() % 8;
  const size_t axis = input.Byte() % 6;
  switch (way) {
    case 0: {
      Shape shape(input.Byte() % 6);
      for (uint64_t& extent : shape) extent = input.Number();
      return Take(Reshape(view, shape), [&] { return DenseReshape(dense, shape); }, pair);
    }
    case 1: {
      std::vector<size_t> order(input.Byte() % 6);
      for (size_t& from : order) from = input.Byte() % 6;
      return Take(Permute(view, order), [&] { return DensePermute(dense, order); }, pair);
    }
    case 2: {
      const uint64_t begin = input.Number(), count = input.Number();
      const auto step = static_cast<int64_t>(input.Number()) * (input.Byte() % 2 == 0 ? 1 : -1);
      return Take(
          Slice(view, axis, begin, step, count), [&] { return DenseSlice(dense, axis, begin, step, count); },
          pair);
    }
    case 3: {
      const std::vector<TensorView> views(1 + input.Byte() % 3, view);
      return Take(
          Concat(views, axis), [&] { return DenseConcat(std::vector<DenseView>(views.size(), dense), axis); },
          pair);
    }
    case 4: {
      const uint64_t cut = input.Number();
      const auto head = Narrow(view, axis, 0, cut);
      if (!head) return Expect(!head.error().message.empty());
      const uint64_t rest = view.shape()[axis] - cut;
      const std::vector<TensorView> parts = {Narrow(view, axis, cut, rest).value(), *head};
      return Take(
          Concat(parts, axis),
          [&] {
            return testing::DenseConcat(
                {DenseSlice(dense, axis, cut, 1, rest), DenseSlice(dense, axis, 0, 1, cut)}, axis);
          },
          pair);
    }
    case 5: {
      const uint64_t count = input.Number();
      return Take(Repeat(view, axis, count), [&] { return DenseRepeat(dense, axis, count); }, pair);
    }
    case 6: {
      const uint64_t before = input.Number();
      const auto padded = Pad(view, axis, before, 0, 0);
      return Take(
          padded,
          [&] {
            Shape head = dense.shape;
            head[axis] = before;
            return testing::DenseConcat({testing::DenseFill(head), dense}, axis);
          },
          pair);
    }
    default: {
      const std::vector<TensorView> views(1 + input.Byte() % 3, view);
      return Take(
          Stack(views, axis),
          [&] {
            Shape row = dense.shape;
            row.insert(row.begin() + static_cast<ptrdiff_t>(axis), 1);
            return DenseConcat(std::vector<DenseView>(views.size(), DenseReshape(dense, row)), axis);
          },
          pair);
    }
  }
}

void Run(Input input) {
  constexpr DType kTypes[] = {DType::kU8, DType::kF16, DType::kF32, DType::kF64};
  const DType dtype = kTypes[input.Byte() % 4];
  const uint64_t cache_bytes = uint64_t{1} << input.Byte() % 16;
  Shape shape(input.Byte() % 5);
  for (uint64_t& extent : shape) extent = input.Byte() % 8;
  if (CountOf(shape) > kElementsMax) return;
  auto [view, dense] = testing::MakeNumbered(shape, dtype, 0);
  Pair pair{std::move(view), std::move(dense)};
  for (int i = 0; i < kStepsMax && !input.empty(); ++i) Step(input, pair);

  const std::string expected = "header" + DenseViewBytes(pair.dense, UnitBytes(dtype));
  const auto file = MakeViewFile("header", {pair.view}, std::make_shared<BlockCache>(cache_bytes));
  Expect(file && (*file)->size_bytes() == expected.size());
  static ReadScratch scratch;
  for (const uint64_t at : {uint64_t{0}, input.Number(), input.Number()}) {
    const uint64_t begin = at % (expected.size() + 1), size = expected.size() - begin;
    const auto part = (*file)->Read({begin, begin + size}, scratch);
    Expect(part && std::memcmp(part->data(), expected.data() + begin, size) == 0);
  }
  // Put together again from its parts it is the same view.
  const uint64_t count = pair.dense.elements.size();
  if (count < 2) return;
  const TensorView flat = Reshape(pair.view, {count}).value();
  const uint64_t cut = 1 + input.Number() % (count - 1);
  const std::vector<TensorView> parts = {Narrow(flat, 0, 0, cut).value(),
                                         Narrow(flat, 0, cut, count - cut).value()};
  Expect(SameElements(pair.view, Reshape(Concat(parts, 0).value(), pair.dense.shape).value()));
}

}  // namespace
}  // namespace weightfs

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  weightfs::Run({data, size});
  return 0;
}
