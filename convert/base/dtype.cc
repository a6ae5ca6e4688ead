#include "convert/base/dtype.h"

#include <array>

namespace weightfs {
namespace {

struct DTypeInfo {
  uint8_t bits;
  std::string_view safetensors_name;
  std::string_view torch_name;
};

constexpr std::array<DTypeInfo, kDTypeCount> kDTypes = {{
    {8, "BOOL", "bool"},
    {4, "F4", "float4_e2m1fn_x2"},
    {6, "F6_E2M3", ""},
    {6, "F6_E3M2", ""},
    {8, "U8", "uint8"},
    {8, "I8", "int8"},
    {8, "F8_E5M2", "float8_e5m2"},
    {8, "F8_E4M3", "float8_e4m3fn"},
    {8, "F8_E8M0", "float8_e8m0fnu"},
    {8, "F8_E4M3FNUZ", "float8_e4m3fnuz"},
    {8, "F8_E5M2FNUZ", "float8_e5m2fnuz"},
    {16, "I16", "int16"},
    {16, "U16", "uint16"},
    {16, "F16", "float16"},
    {16, "BF16", "bfloat16"},
    {32, "I32", "int32"},
    {32, "U32", "uint32"},
    {32, "F32", "float32"},
    {64, "C64", "complex64"},
    {64, "F64", "float64"},
    {64, "I64", "int64"},
    {64, "U64", "uint64"},
}};

const DTypeInfo& Info(DType dtype) { return kDTypes[static_cast<size_t>(dtype)]; }

}  // namespace

uint32_t BitWidth(DType dtype) { return Info(dtype).bits; }
std::string_view SafetensorsName(DType dtype) { return Info(dtype).safetensors_name; }
std::string_view TorchName(DType dtype) { return Info(dtype).torch_name; }

std::optional<DType> DTypeFromSafetensorsName(std::string_view name) {
  for (size_t i = 0; i < kDTypes.size(); ++i)
    if (kDTypes[i].safetensors_name == name) return static_cast<DType>(i);
  return std::nullopt;
}

std::optional<DType> DTypeFromTorchName(std::string_view name) {
  if (name.empty()) return std::nullopt;
  if (name == "half") return DType::kF16;
  if (name == "float") return DType::kF32;
  if (name == "double") return DType::kF64;
  for (size_t i = 0; i < kDTypes.size(); ++i)
    if (kDTypes[i].torch_name == name) return static_cast<DType>(i);
  return std::nullopt;
}

bool IsCastable(DType dtype) {
  return dtype == DType::kF64 || dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16;
}

std::optional<DType> DTypeFromOption(std::string_view word) {
  if (word == "f32") return DType::kF32;
  if (word == "f16") return DType::kF16;
  if (word == "bf16") return DType::kBF16;
  if (word == "f64") return DType::kF64;
  if (word.starts_with("torch.")) word.remove_prefix(6);
  const std::optional<DType> dtype = DTypeFromTorchName(word);
  return dtype && IsCastable(*dtype) ? dtype : std::nullopt;
}

}  // namespace weightfs
