/// \file
/// Element types of tensors: the closed set that safetensors can carry.
///
/// Follows docs/formats/safetensors.md, "dtypes". The numeric order of `DType` is the rank order of the
/// reference writer: it sorts tensors by rank, highest first, then by name.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace weightfs {

/// Element type, in ascending safetensors rank.
enum class DType : uint8_t {
  kBool,
  kF4,
  kF6E2M3,
  kF6E3M2,
  kU8,
  kI8,
  kF8E5M2,
  kF8E4M3,
  kF8E8M0,
  kF8E4M3Fnuz,
  kF8E5M2Fnuz,
  kI16,
  kU16,
  kF16,
  kBF16,
  kI32,
  kU32,
  kF32,
  kC64,
  kF64,
  kI64,
  kU64,
};
inline constexpr int kDTypeCount = 22;

/// Bits of one element: 4, 6, 8, 16, 32 or 64.
uint32_t BitWidth(DType dtype);

/// The string in a safetensors header ("BF16").
std::string_view SafetensorsName(DType dtype);

/// The torch name without the `torch.` prefix ("bfloat16"); empty for the two 6-bit types, which torch lacks.
/// `kF4` is `float4_e2m1fn_x2`: torch counts pairs, safetensors counts elements.
std::string_view TorchName(DType dtype);

/// The dtype with this safetensors header string, or nothing.
std::optional<DType> DTypeFromSafetensorsName(std::string_view name);

/// The dtype with this torch name (without `torch.`; also the aliases `half`, `float`, `double`), or nothing.
std::optional<DType> DTypeFromTorchName(std::string_view name);

/// True for f64, f32, f16 and bf16: the types that `--dtype` casts from and to.
bool IsCastable(DType dtype);

/// The value of a `--dtype` option: `f32 f16 bf16 f64`, torch's names with or without `torch.`. Nothing when
/// the word is none of these (`keep` included: the caller treats it).
std::optional<DType> DTypeFromOption(std::string_view word);

}  // namespace weightfs
