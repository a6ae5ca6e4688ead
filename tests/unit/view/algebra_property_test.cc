// Property: whatever operations make a view, every range of its bytes is what a dense evaluator gives,
// however small the cache, from memory or from a file on disk. RapidCheck prints its seed, and shrinks what
// fails.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <fstream>
#include <vector>

#include "convert/io/local_file.h"
#include "convert/view/algebra.h"
#include "tests/support/dense_algebra.h"
#include "tests/support/faulty_file.h"
#include "tests/support/temp_dir.h"

namespace weightfs {
namespace {

using testing::CountOf;
using testing::DenseView;
using testing::DenseViewBytes;

constexpr uint64_t kElementsMax = 3000;
constexpr int kStepsMax = 8;

uint64_t Draw(uint64_t begin, uint64_t end) {
  return *rc::gen::resize(rc::kNominalSize, rc::gen::inRange<uint64_t>(begin, end));
}

struct Pair {
  TensorView view;
  DenseView dense;
};

/// The file that all sources of one composition lie in, one after the other, with a few bytes between.
class Sources {
 public:
  explicit Sources(DType dtype) : dtype_(dtype) {}

  size_t Add(Shape shape) {
    DenseView dense{std::move(shape), {}};
    for (uint64_t i = 0; i < CountOf(dense.shape); ++i) dense.elements.push_back(next_number_++);
    bytes_.append(Draw(0, 9), '#');
    begins_.push_back(bytes_.size());
    bytes_ += DenseViewBytes(dense, UnitBytes(dtype_));
    denses_.push_back(std::move(dense));
    return denses_.size() - 1;
  }
  Pair Get(size_t i, const FilePtr& file) const {
    const uint64_t count = denses_[i].elements.size(), unit_bytes = UnitBytes(dtype_);
    FilePtr storage = MakeSubFile(file, begins_[i], count * unit_bytes, fmt::format("source {}", i)).value();
    Layout layout = Layout::Contiguous(count, static_cast<uint32_t>(unit_bytes), 0).value();
    return {TensorView::Make(std::move(storage), std::move(layout), dtype_, denses_[i].shape).value(),
            denses_[i]};
  }
  const std::string& bytes() const { return bytes_; }
  DType dtype() const { return dtype_; }

 private:
  DType dtype_;
  std::string bytes_;
  std::vector<uint64_t> begins_;
  std::vector<DenseView> denses_;
  uint64_t next_number_ = 0;
};

/// A random factorization of `count` into at most four extents.
Shape DrawShape(uint64_t count) {
  Shape shape;
  for (uint64_t rest = count; shape.size() < 4;) {
    std::vector<uint64_t> divisors;
    for (uint64_t d = 1; d <= rest; ++d)
      if (rest % d == 0) divisors.push_back(d);
    const uint64_t extent = shape.size() == 3 ? rest : divisors[Draw(0, divisors.size())];
    shape.push_back(extent);
    rest /= extent;
    if (rest == 1 && Draw(0, 2) == 0) break;
  }
  return shape;
}

/// One random step from `pair`; itself where the step drawn does not apply.
Pair Step(const Pair& pair, const std::vector<Pair>& others) {
  const Shape& shape = pair.dense.shape;
  const uint64_t way = Draw(0, 8);
  if (way == 0 && !pair.dense.elements.empty()) {
    const Shape to = DrawShape(pair.dense.elements.size());
    return {Reshape(pair.view, to).value(), DenseReshape(pair.dense, to)};
  }
  if (shape.empty()) return pair;
  const size_t axis = Draw(0, shape.size());
  const uint64_t extent = shape[axis];
  switch (way) {
    case 1: {
      std::vector<size_t> order(shape.size());
      for (size_t i = 0; i < order.size(); ++i) order[i] = i;
      for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[Draw(0, i)]);
      return {Permute(pair.view, order).value(), DensePermute(pair.dense, order)};
    }
    case 2:
    case 3: {
      if (extent == 0) return pair;
      const uint64_t begin = Draw(0, extent);
      const auto step = static_cast<int64_t>(Draw(1, 4)) * (Draw(0, 3) == 0 ? -1 : 1);
      const uint64_t reach = step < 0 ? begin : extent - 1 - begin;
      const uint64_t count = Draw(Draw(0, 8) == 0 ? 0 : 1, reach / static_cast<uint64_t>(std::abs(step)) + 2);
      return {Slice(pair.view, axis, begin, step, count).value(),
              DenseSlice(pair.dense, axis, begin, step, count)};
    }
    case 4: {
      // Cut in two, the parts the other way round.
      const uint64_t cut = Draw(0, extent + 1);
      const std::vector<TensorView> views = {Narrow(pair.view, axis, cut, extent - cut).value(),
                                             Narrow(pair.view, axis, 0, cut).value()};
      return {Concat(views, axis).value(),
              testing::DenseConcat({DenseSlice(pair.dense, axis, cut, 1, extent - cut),
                                    DenseSlice(pair.dense, axis, 0, 1, cut)},
                                   axis)};
    }
    case 5: {
      // With another source brought to a fitting shape.
      const Pair& other = others[Draw(0, others.size())];
      const uint64_t row = pair.dense.elements.size() / std::max<uint64_t>(extent, 1);
      if (row == 0 || other.dense.elements.size() < row ||
          pair.dense.elements.size() + other.dense.elements.size() > kElementsMax)
        return pair;
      const uint64_t rows = other.dense.elements.size() / row;
      Shape fitting = shape;
      fitting[axis] = rows;
      const uint64_t all = other.dense.elements.size();
      const TensorView flat = Narrow(Reshape(other.view, {all}).value(), 0, 0, rows * row).value();
      const DenseView dense =
          DenseReshape(DenseSlice(DenseReshape(other.dense, {all}), 0, 0, 1, rows * row), fitting);
      return {Concat(std::vector{pair.view, Reshape(flat, fitting).value()}, axis).value(),
              testing::DenseConcat({pair.dense, dense}, axis)};
    }
    case 6: {
      const uint64_t count = Draw(0, 4);
      if (pair.dense.elements.size() * count > kElementsMax) return pair;
      return {Repeat(pair.view, axis, count).value(), DenseRepeat(pair.dense, axis, count)};
    }
    default: {
      Shape head = shape;
      head[axis] = Draw(0, 3);
      if (pair.dense.elements.size() + CountOf(head) > kElementsMax || pair.view.dtype() == DType::kC64)
        return pair;
      return {Pad(pair.view, axis, head[axis], 0, 0).value(),
              testing::DenseConcat({testing::DenseFill(head), pair.dense}, axis)};
    }
  }
}

void CheckEveryRange(const VirtualFile& file, const std::string& expected) {
  RC_ASSERT(file.size_bytes() == expected.size());
  ReadScratch scratch;
  for (int i = 0; i < 12; ++i) {
    const uint64_t begin = i == 0 ? 0 : Draw(0, expected.size() + 1);
    const uint64_t longest = expected.size() - begin;
    const uint64_t size = i == 0 ? longest : Draw(0, longest + 1);
    const auto part = file.Read({begin, begin + size}, scratch);
    RC_ASSERT(part.has_value());
    RC_ASSERT(part->size() == size);
    RC_ASSERT(size == 0 || std::memcmp(part->data(), expected.data() + begin, size) == 0);
  }
}

constexpr DType kTypes[] = {DType::kU8, DType::kI16, DType::kF32, DType::kC64, DType::kF64};

/// Draws a composition, and hands on the view over `make_file(bytes)` and what it is.
template <typename MakeFile>
Pair Compose(const MakeFile& make_file) {
  Sources sources(kTypes[Draw(0, std::size(kTypes))]);
  const uint64_t count = Draw(1, 4);
  for (uint64_t i = 0; i < count; ++i) {
    Shape shape(Draw(0, 4));
    for (uint64_t& extent : shape) extent = Draw(Draw(0, 12) == 0 ? 0 : 1, 9);
    sources.Add(std::move(shape));
  }
  const FilePtr file = make_file(sources.bytes());
  std::vector<Pair> all;
  for (size_t i = 0; i < count; ++i) all.push_back(sources.Get(i, file));
  Pair pair = all[0];
  std::string shapes = fmt::format("{} {}", SafetensorsName(sources.dtype()), pair.dense.shape);
  const uint64_t steps = Draw(0, kStepsMax + 1);
  for (uint64_t i = 0; i < steps; ++i) {
    pair = Step(pair, all);
    shapes += fmt::format(" -> {}", pair.dense.shape);
  }
  RC_LOG() << shapes << "\n";
  RC_ASSERT(pair.view.shape() == pair.dense.shape);
  return pair;
}

VirtualFilePtr Serve(const TensorView& view) {
  const uint64_t cache_bytes = uint64_t{1} << Draw(0, 18);
  return MakeViewFile("prefix", {view, view}, std::make_shared<BlockCache>(cache_bytes)).value();
}

std::string Expected(const Pair& pair) {
  const std::string once = DenseViewBytes(pair.dense, UnitBytes(pair.view.dtype()));
  return "prefix" + once + once;
}

RC_GTEST_PROP(AlgebraProperty, AnyRangeOfAnyComposition, ()) {
  const Pair pair = Compose([](const std::string& bytes) { return MakeMemoryFile(bytes, "memory"); });
  CheckEveryRange(*Serve(pair.view), Expected(pair));
}

RC_GTEST_PROP(AlgebraProperty, AnyRangeOfAnyCompositionOnDisk, ()) {
  const testing::TempDir folder;
  const Pair pair = Compose([&](const std::string& bytes) -> FilePtr {
    std::ofstream(folder / "source", std::ios::binary) << bytes;
    return LocalFile::Open(folder / "source", "source", {}).value();
  });
  CheckEveryRange(*Serve(pair.view), Expected(pair));
}

// The same elements put together in another way are equal; with one element exchanged they are not.
RC_GTEST_PROP(AlgebraProperty, EqualWhateverTheWay, ()) {
  const Pair pair = Compose([](const std::string& bytes) { return MakeMemoryFile(bytes, "memory"); });
  const uint64_t count = pair.dense.elements.size();
  RC_PRE(count > 0);
  const TensorView flat = Reshape(pair.view, {count}).value();
  std::vector<TensorView> parts;
  for (uint64_t begin = 0; begin < count;) {
    const uint64_t size = Draw(1, count - begin + 1);
    parts.push_back(Narrow(flat, 0, begin, size).value());
    begin += size;
  }
  const TensorView again = Reshape(Concat(parts, 0).value(), pair.dense.shape).value();
  RC_ASSERT(SameElements(pair.view, again));
  const uint64_t a = Draw(0, count), b = Draw(0, count);
  if (pair.dense.elements[a] == pair.dense.elements[b]) return;
  std::vector<TensorView> exchanged;
  for (uint64_t i = 0; i < count; ++i) exchanged.push_back(Narrow(flat, 0, i == a ? b : i, 1).value());
  RC_ASSERT(!SameElements(flat, Concat(exchanged, 0).value()));
}

// Whichever read of the source fails, the reply is an error or right.
RC_GTEST_PROP(AlgebraProperty, AFaultIsAnError, ()) {
  testing::FaultyFile::Faults faults;
  faults.fail_begin = Draw(0, 12);
  faults.fail_end = faults.fail_begin + 1;
  const Pair pair = Compose([&](const std::string& bytes) -> FilePtr {
    return std::make_shared<testing::FaultyFile>(MakeMemoryFile(bytes, "memory"), faults);
  });
  const VirtualFilePtr file = Serve(pair.view);
  const std::string expected = Expected(pair);
  ReadScratch scratch;
  for (int i = 0; i < 6; ++i) {
    const uint64_t begin = Draw(0, expected.size() + 1), size = Draw(0, expected.size() - begin + 1);
    auto part = file->Read({begin, begin + size}, scratch);
    if (!part) part = file->Read({begin, begin + size}, scratch);
    RC_ASSERT(part.has_value());
    RC_ASSERT(size == 0 || std::memcmp(part->data(), expected.data() + begin, size) == 0);
  }
}

}  // namespace
}  // namespace weightfs
