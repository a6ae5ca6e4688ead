// Constant tensors: one element in memory, over and over.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "convert/base/bytes.h"
#include "convert/view/algebra.h"
#include "convert/view/kernels/cast.h"

namespace weightfs {
namespace {

/// The bytes of one element of value `value`, or nothing where the type cannot hold it.
template <typename Integer>
bool StoreInteger(double value, std::string& bytes) {
  // The bounds as doubles: the upper one is exact as a power of two.
  const double end = std::ldexp(1.0, std::numeric_limits<Integer>::digits);
  if (value != std::floor(value) || value >= end ||
      value < static_cast<double>(std::numeric_limits<Integer>::min()))
    return false;
  const auto integer = static_cast<Integer>(value);
  bytes.assign(reinterpret_cast<const char*>(&integer), sizeof integer);
  return true;
}

bool StoreFloat(double value, DType dtype, std::string& bytes) {
  bytes.resize(UnitBytes(dtype));
  double back = 0;
  const auto* from = reinterpret_cast<const std::byte*>(&value);
  auto* element = reinterpret_cast<std::byte*>(bytes.data());
  FindCastKernel(DType::kF64, dtype)(from, element, 1);
  FindCastKernel(dtype, DType::kF64)(element, reinterpret_cast<std::byte*>(&back), 1);
  return back == value || std::isnan(value);
}

bool StoreElement(double value, DType dtype, std::string& bytes) {
  switch (dtype) {
    case DType::kBool:
      bytes.assign(1, value != 0 ? '\1' : '\0');
      return value == 0 || value == 1;
    case DType::kU8:
      return StoreInteger<uint8_t>(value, bytes);
    case DType::kI8:
      return StoreInteger<int8_t>(value, bytes);
    case DType::kU16:
      return StoreInteger<uint16_t>(value, bytes);
    case DType::kI16:
      return StoreInteger<int16_t>(value, bytes);
    case DType::kU32:
      return StoreInteger<uint32_t>(value, bytes);
    case DType::kI32:
      return StoreInteger<int32_t>(value, bytes);
    case DType::kU64:
      return StoreInteger<uint64_t>(value, bytes);
    case DType::kI64:
      return StoreInteger<int64_t>(value, bytes);
    default:
      return IsCastable(dtype) && StoreFloat(value, dtype, bytes);
  }
}

}  // namespace

Result<TensorView> Fill(Shape shape, DType dtype, double value) {
  std::string bytes;
  if (!StoreElement(value, dtype, bytes))
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("a fill of {} with {}; expected a value that the type holds exactly",
                            SafetensorsName(dtype), value));
  const std::optional<uint64_t> count = CheckedProduct(shape);
  if (!count)
    return Fail(ErrorCode::kLimitExceeded,
                fmt::format("a fill of shape [{}] does not fit 64 bits", fmt::join(shape, ", ")));
  const Mode all{*count, 0};
  WEIGHTFS_TRY(Layout layout, *count == 0
                                  ? Layout::Contiguous(0, UnitBytes(dtype), 0)
                                  : Result<Layout>(Layout::FromModes({&all, 1}, UnitBytes(dtype), 0)));
  return TensorView::Make(MakeMemoryFile(std::move(bytes), fmt::format("the constant {}", value)),
                          std::move(layout), dtype, std::move(shape));
}

}  // namespace weightfs
