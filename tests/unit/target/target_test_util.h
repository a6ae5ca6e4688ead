/// \file
/// Served tensors for tests of targets.
#pragma once

#include <gtest/gtest.h>

#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "convert/target/hf/served_tensor.h"

namespace weightfs::testing {

/// A view of `storage` from `offset_bytes` on.
inline TensorView ViewOf(FilePtr storage, DType dtype, Shape shape, uint64_t offset_bytes = 0) {
  uint64_t elements = 1;
  for (const uint64_t extent : shape) elements *= extent;
  const uint64_t unit_bytes = UnitBytes(dtype);
  auto layout = Layout::Contiguous(elements * BitWidth(dtype) / 8 / unit_bytes, unit_bytes, offset_bytes);
  EXPECT_TRUE(layout.has_value());
  auto view = TensorView::Make(std::move(storage), *layout, dtype, std::move(shape));
  EXPECT_TRUE(view.has_value()) << view.error().message;
  return *view;
}

/// A tensor with a storage of its own, of bytes 0, 1, 2, ...
inline ServedTensor Tensor(std::string name, DType dtype, Shape shape) {
  uint64_t bits = BitWidth(dtype);
  for (const uint64_t extent : shape) bits *= extent;
  std::string bytes(bits / 8, '\0');
  std::iota(bytes.begin(), bytes.end(), '\0');
  return {.name = std::move(name),
          .view = ViewOf(MakeMemoryFile(std::move(bytes), "memory"), dtype, std::move(shape))};
}

inline std::vector<size_t> AllOf(const std::vector<ServedTensor>& tensors) {
  std::vector<size_t> indices(tensors.size());
  std::iota(indices.begin(), indices.end(), size_t{0});
  return indices;
}

}  // namespace weightfs::testing
