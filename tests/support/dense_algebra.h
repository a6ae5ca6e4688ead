/// \file
/// Index operations done the plain way, on lists of element numbers: the oracle of `convert/view/algebra.h`.
///
/// Every element of every source has a number of its own. A dense tensor is a shape and the number of each of
/// its elements in row-major order, so an operation is a loop over index tuples, written from its definition.
#pragma once

#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "convert/view/algebra.h"
#include "convert/view/virtual_file.h"

namespace weightfs::testing {

/// The number of an element that a fill made; its bytes are zeros.
inline constexpr uint64_t kFilled = UINT64_MAX;

struct DenseView {
  Shape shape;
  std::vector<uint64_t> elements;
  friend bool operator==(const DenseView&, const DenseView&) = default;
  friend auto operator<=>(const DenseView&, const DenseView&) = default;
};

inline uint64_t CountOf(const Shape& shape) {
  uint64_t count = 1;
  for (const uint64_t extent : shape) count *= extent;
  return count;
}

/// A tensor of `shape` whose element at each index tuple is `element(tuple)`.
inline DenseView Tabulate(Shape shape, const std::function<uint64_t(const Shape&)>& element) {
  DenseView view{std::move(shape), {}};
  for (uint64_t flat = 0; flat < CountOf(view.shape); ++flat) {
    Shape index(view.shape.size());
    uint64_t rest = flat;
    for (size_t i = index.size(); i-- > 0; rest /= view.shape[i]) index[i] = rest % view.shape[i];
    view.elements.push_back(element(index));
  }
  return view;
}

inline uint64_t ElementAt(const DenseView& view, const Shape& index) {
  uint64_t flat = 0;
  for (size_t i = 0; i < index.size(); ++i) flat = flat * view.shape[i] + index[i];
  return view.elements[flat];
}

inline DenseView DenseReshape(const DenseView& view, Shape shape) {
  return {std::move(shape), view.elements};
}

inline DenseView DensePermute(const DenseView& view, const std::vector<size_t>& order) {
  Shape shape;
  for (const size_t axis : order) shape.push_back(view.shape[axis]);
  return Tabulate(shape, [&](const Shape& index) {
    Shape from(index.size());
    for (size_t k = 0; k < order.size(); ++k) from[order[k]] = index[k];
    return ElementAt(view, from);
  });
}

inline DenseView DenseSlice(const DenseView& view, size_t axis, uint64_t begin, int64_t step,
                            uint64_t count) {
  Shape shape = view.shape;
  shape[axis] = count;
  return Tabulate(shape, [&](Shape index) {
    index[axis] = begin + static_cast<uint64_t>(step) * index[axis];
    return ElementAt(view, index);
  });
}

inline DenseView DenseConcat(const std::vector<DenseView>& views, size_t axis) {
  Shape shape = views.front().shape;
  shape[axis] = 0;
  for (const DenseView& view : views) shape[axis] += view.shape[axis];
  return Tabulate(shape, [&](Shape index) {
    size_t k = 0;
    for (; index[axis] >= views[k].shape[axis]; ++k) index[axis] -= views[k].shape[axis];
    return ElementAt(views[k], index);
  });
}

inline DenseView DenseRepeat(const DenseView& view, size_t axis, uint64_t count) {
  Shape shape = view.shape;
  shape[axis] *= count;
  return Tabulate(shape, [&](Shape index) {
    index[axis] /= count;
    return ElementAt(view, index);
  });
}

inline DenseView DenseFill(Shape shape) {
  return Tabulate(std::move(shape), [](const Shape&) { return kFilled; });
}

/// The bytes of element `number` in a type of `unit_bytes`: its number over and over, xored so that bytes
/// differ.
inline std::string ElementBytes(uint64_t number, uint32_t unit_bytes) {
  std::string bytes(unit_bytes, '\0');
  if (number == kFilled) return bytes;
  const uint64_t mixed = number * 0x9E3779B97F4A7C15u + 0x1234567;
  for (uint32_t i = 0; i < unit_bytes; ++i) bytes[i] = static_cast<char>(mixed >> (56 - 8 * i % 64));
  return bytes;
}

inline std::string DenseViewBytes(const DenseView& view, uint32_t unit_bytes) {
  std::string bytes;
  for (const uint64_t number : view.elements) bytes += ElementBytes(number, unit_bytes);
  return bytes;
}

/// A packed source of `shape` whose elements are numbered from `first_number` on.
inline std::pair<TensorView, DenseView> MakeNumbered(Shape shape, DType dtype, uint64_t first_number) {
  const uint64_t count = CountOf(shape);
  DenseView dense{shape, {}};
  for (uint64_t i = 0; i < count; ++i) dense.elements.push_back(first_number + i);
  const uint32_t unit_bytes = UnitBytes(dtype);
  FilePtr storage = MakeMemoryFile(DenseViewBytes(dense, unit_bytes), "source");
  TensorView view =
      TensorView::Make(std::move(storage), *Layout::Contiguous(count, unit_bytes, 0), dtype, std::move(shape))
          .value();
  return {std::move(view), std::move(dense)};
}

/// All bytes of `view` behind `prefix_bytes` bytes of something else, read in one go.
inline std::string ReadAllBytes(const TensorView& view, uint64_t cache_bytes = 1 << 20) {
  const VirtualFilePtr file = MakeViewFile("", {view}, std::make_shared<BlockCache>(cache_bytes)).value();
  ReadScratch scratch;
  const auto bytes = file->Read({0, file->size_bytes()}, scratch).value();
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace weightfs::testing
