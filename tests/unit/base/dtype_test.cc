#include "convert/base/dtype.h"

#include <gtest/gtest.h>

#include <set>

namespace weightfs {
namespace {

DType At(int i) { return static_cast<DType>(i); }

TEST(DTypeTest, NamesComeBack) {
  std::set<std::string_view> names;
  for (int i = 0; i < kDTypeCount; ++i) {
    EXPECT_EQ(DTypeFromSafetensorsName(SafetensorsName(At(i))), At(i));
    names.insert(SafetensorsName(At(i)));
    if (!TorchName(At(i)).empty()) {
      EXPECT_EQ(DTypeFromTorchName(TorchName(At(i))), At(i));
    }
  }
  EXPECT_EQ(names.size(), static_cast<size_t>(kDTypeCount));
}

TEST(DTypeTest, WidthsAgreeWithTheNames) {
  // The number in a name is its width, but for the two names with none and the power-of-two scale.
  for (int i = 0; i < kDTypeCount; ++i) {
    const std::string_view name = SafetensorsName(At(i));
    if (name == "BOOL") {
      EXPECT_EQ(BitWidth(At(i)), 8u);
      continue;
    }
    uint32_t bits = 0;
    for (size_t c = name.find_first_of("0123456789"); c < name.size() && name[c] >= '0' && name[c] <= '9';
         ++c)
      bits = bits * 10 + static_cast<uint32_t>(name[c] - '0');
    EXPECT_EQ(BitWidth(At(i)), bits) << name;
  }
}

TEST(DTypeTest, TheOrderIsTheReferenceWritersRank) {
  // Widths never fall from one rank to the next but from the first to the second (a boolean before 4 bits).
  for (int i = 2; i < kDTypeCount; ++i) EXPECT_GE(BitWidth(At(i)), BitWidth(At(i - 1)));
  EXPECT_LT(DType::kI16, DType::kF16);
  EXPECT_LT(DType::kF16, DType::kBF16);
  EXPECT_LT(DType::kF32, DType::kC64);
  EXPECT_LT(DType::kF64, DType::kI64);
  EXPECT_LT(DType::kI64, DType::kU64);
}

TEST(DTypeTest, UnknownNames) {
  for (const std::string_view name : {"", "f32", "F33", "BF8", "F32 "})
    EXPECT_EQ(DTypeFromSafetensorsName(name), std::nullopt);
  for (const std::string_view name : {"", "F32", "torch.float32", "complex128", "quint8"})
    EXPECT_EQ(DTypeFromTorchName(name), std::nullopt);
}

TEST(DTypeTest, TorchAliases) {
  EXPECT_EQ(DTypeFromTorchName("half"), DType::kF16);
  EXPECT_EQ(DTypeFromTorchName("float"), DType::kF32);
  EXPECT_EQ(DTypeFromTorchName("double"), DType::kF64);
}

TEST(DTypeTest, OptionWords) {
  for (const std::string_view word : {"bf16", "bfloat16", "torch.bfloat16"})
    EXPECT_EQ(DTypeFromOption(word), DType::kBF16) << word;
  for (const std::string_view word : {"f16", "float16", "half", "torch.half"})
    EXPECT_EQ(DTypeFromOption(word), DType::kF16) << word;
  EXPECT_EQ(DTypeFromOption("f32"), DType::kF32);
  EXPECT_EQ(DTypeFromOption("f64"), DType::kF64);
  for (const std::string_view word : {"keep", "", "int8", "torch.", "BF16", "torch.f16", "float8_e4m3fn"})
    EXPECT_EQ(DTypeFromOption(word), std::nullopt) << word;
}

TEST(DTypeTest, FourTypesAreCast) {
  int castable = 0;
  for (int i = 0; i < kDTypeCount; ++i) castable += IsCastable(At(i));
  EXPECT_EQ(castable, 4);
  for (const DType dtype : {DType::kF64, DType::kF32, DType::kF16, DType::kBF16})
    EXPECT_TRUE(IsCastable(dtype));
}

}  // namespace
}  // namespace weightfs
