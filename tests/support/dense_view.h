/// \file
/// Tensor views evaluated the plain way, element by element from the definition: the oracle of
/// `convert/view`.
#pragma once

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "convert/view/tensor_view.h"
#include "tests/support/scalar_cast.h"

namespace weightfs::testing {

/// A torch-like tensor over bytes in memory. For 4-bit types `shape` and `strides` count pairs.
struct DenseTensor {
  std::string storage;
  DType dtype = DType::kU8;
  DType cast = DType::kU8;  ///< Equal to `dtype`: none.
  std::vector<uint64_t> shape, strides;
  uint64_t offset = 0;
  ElementOps ops;

  std::string Describe() const {
    return fmt::format("{} as {}, shape [{}], strides [{}], offset {}, swap {}, flip {}, storage of {} bytes",
                       SafetensorsName(dtype), SafetensorsName(cast), fmt::join(shape, ","),
                       fmt::join(strides, ","), offset, ops.swap_bytes, static_cast<int>(ops.sign_flip),
                       storage.size());
  }
  uint64_t UnitCount() const {
    uint64_t count = 1;
    for (const uint64_t extent : shape) count *= extent;
    return count;
  }
  /// The shape in elements.
  Shape ElementShape() const {
    Shape elements = shape;
    if (dtype == DType::kF4) elements.empty() ? elements.push_back(2) : void(elements.back() *= 2);
    return elements;
  }
  /// The view of `storage_file`, which holds `storage`.
  Result<TensorView> View(FilePtr storage_file, const Limits& limits = {}) const {
    WEIGHTFS_TRY(Layout layout, Layout::Strided(shape, strides, offset, UnitBytes(dtype),
                                                storage_file->size_bytes(), limits));
    WEIGHTFS_TRY(const TensorView view,
                 TensorView::Make(std::move(storage_file), std::move(layout), dtype, ElementShape(), ops));
    return view.Cast(cast);
  }
};

/// One stored unit after its element operations, as served.
inline std::string DenseElement(const DenseTensor& tensor, std::string unit) {
  const size_t swap = tensor.ops.swap_bytes;
  for (size_t i = 0; i + swap <= unit.size(); i += swap)
    std::reverse(unit.begin() + i, unit.begin() + i + swap);
  const auto flip = [&](size_t last_byte) { unit[last_byte] = static_cast<char>(unit[last_byte] ^ 0x80); };
  const bool complex = tensor.dtype == DType::kC64;
  const SignFlip sign = tensor.ops.sign_flip;
  if (complex && (sign == SignFlip::kReal || sign == SignFlip::kAll)) flip(3);
  if (complex && (sign == SignFlip::kImaginary || sign == SignFlip::kAll)) flip(7);
  if (!complex && sign == SignFlip::kAll) flip(unit.size() - 1);
  if (tensor.cast == tensor.dtype) return unit;
  std::string served(BitWidth(tensor.cast) / 8, '\0');
  ScalarCastAll(reinterpret_cast<const std::byte*>(unit.data()), reinterpret_cast<std::byte*>(served.data()),
                1, tensor.dtype, tensor.cast);
  return served;
}

/// All bytes that the tensor serves.
inline std::string DenseBytes(const DenseTensor& tensor) {
  std::string bytes;
  const uint64_t count = tensor.UnitCount();
  const size_t unit_bytes = UnitBytes(tensor.dtype);
  for (uint64_t index = 0; index < count; ++index) {
    uint64_t position = tensor.offset;
    uint64_t rest = index;
    for (size_t i = tensor.shape.size(); i-- > 0; rest /= tensor.shape[i])
      position += rest % tensor.shape[i] * tensor.strides[i];
    bytes += DenseElement(tensor, tensor.storage.substr(position * unit_bytes, unit_bytes));
  }
  return bytes;
}

}  // namespace weightfs::testing
