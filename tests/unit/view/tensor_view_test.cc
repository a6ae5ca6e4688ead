#include "convert/view/tensor_view.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "tests/support/dense_view.h"

namespace weightfs {
namespace {

using testing::DenseTensor;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

FilePtr Zeros(uint64_t size_bytes) { return MakeMemoryFile(std::string(size_bytes, '\0'), "zeros"); }

Result<TensorView> Packed(FilePtr storage, DType dtype, Shape shape, ElementOps ops = {},
                          uint64_t offset_bytes = 0) {
  uint64_t bits = BitWidth(dtype);
  for (const uint64_t extent : shape) bits *= extent;
  WEIGHTFS_TRY(Layout layout,
               Layout::Contiguous(bits / 8 / UnitBytes(dtype), UnitBytes(dtype), offset_bytes));
  return TensorView::Make(std::move(storage), std::move(layout), dtype, std::move(shape), ops);
}

TEST(TensorViewTest, CountsEveryType) {
  for (int i = 0; i < kDTypeCount; ++i) {
    const auto dtype = static_cast<DType>(i);
    const auto view = Packed(Zeros(1000), dtype, {2, 3, 4});
    ASSERT_TRUE(view) << SafetensorsName(dtype);
    EXPECT_EQ(view->element_count(), 24u);
    EXPECT_EQ(view->size_bytes(), 24 * BitWidth(dtype) / 8);
    EXPECT_EQ(view->stored_size_bytes(), view->size_bytes());
    EXPECT_EQ(view->IdentityRange(), (ByteRange{0, view->size_bytes()}));
    EXPECT_THAT(view->Operations(), IsEmpty());
  }
}

TEST(TensorViewTest, ScalarsAndEmptyTensors) {
  EXPECT_EQ(Packed(Zeros(8), DType::kF64, {})->size_bytes(), 8u);
  const auto empty = Packed(Zeros(0), DType::kF64, {5, 0});
  ASSERT_TRUE(empty);
  EXPECT_EQ(empty->size_bytes(), 0u);
  EXPECT_TRUE(empty->IdentityRange()->empty());
}

TEST(TensorViewTest, RefusesWhatDoesNotFit) {
  const auto past_end = Packed(Zeros(15), DType::kF32, {4});
  ASSERT_FALSE(past_end);
  EXPECT_EQ(past_end.error().code, ErrorCode::kCorrupt);
  EXPECT_THAT(past_end.error().message, HasSubstr("bytes 0 to 16 of a storage that has 15"));
  EXPECT_TRUE(Packed(Zeros(16), DType::kF32, {4}));
  // The layout's units are not the shape's elements, or of another size.
  const Layout four = *Layout::Contiguous(4, 4, 0);
  EXPECT_FALSE(TensorView::Make(Zeros(100), four, DType::kF32, {5}));
  EXPECT_FALSE(TensorView::Make(Zeros(100), four, DType::kF64, {2}));
  EXPECT_FALSE(TensorView::Make(Zeros(100), four, DType::kF32, {uint64_t{1} << 63, 4}));
  // Three 4-bit elements fill no number of bytes.
  EXPECT_FALSE(TensorView::Make(Zeros(100), *Layout::Contiguous(1, 1, 0), DType::kF4, {3}));
  EXPECT_FALSE(TensorView::Make(Zeros(100), *Layout::Contiguous(2, 1, 0), DType::kF6E2M3, {3}));
}

TEST(TensorViewTest, NarrowTypes) {
  DenseTensor pairs{.storage = std::string(6, 'x'), .dtype = DType::kF4, .cast = DType::kF4};
  pairs.shape = {3, 2};
  pairs.strides = {1, 3};
  const auto view = pairs.View(Zeros(6));
  ASSERT_TRUE(view);
  EXPECT_EQ(view->shape(), (Shape{3, 4}));
  EXPECT_EQ(view->element_count(), 12u);
  EXPECT_EQ(view->size_bytes(), 6u);
  const Layout apart = *Layout::Strided(Shape{3}, Shape{2}, 0, 1, 10, {});
  EXPECT_FALSE(TensorView::Make(Zeros(10), apart, DType::kF6E3M2, {4}));
  EXPECT_TRUE(TensorView::Make(Zeros(10), *Layout::Contiguous(3, 1, 0), DType::kF6E3M2, {4}));
}

TEST(TensorViewTest, CastsFloatingPointOnly) {
  for (int i = 0; i < kDTypeCount; ++i) {
    for (int j = 0; j < kDTypeCount; ++j) {
      const auto from = static_cast<DType>(i), to = static_cast<DType>(j);
      const auto view = Packed(Zeros(1000), from, {8})->Cast(to);
      ASSERT_EQ(view.has_value(), from == to || (IsCastable(from) && IsCastable(to)));
      if (!view) {
        EXPECT_EQ(view.error().code, ErrorCode::kInvalidArgument);
        continue;
      }
      EXPECT_EQ(view->dtype(), to);
      EXPECT_EQ(view->stored_dtype(), from);
      EXPECT_EQ(view->size_bytes(), BitWidth(to));
      EXPECT_EQ(view->stored_size_bytes(), BitWidth(from));
      EXPECT_EQ(view->IdentityRange().has_value(), from == to);
    }
  }
  const TensorView once = *Packed(Zeros(8), DType::kF64, {1})->Cast(DType::kF32);
  EXPECT_TRUE(once.Cast(DType::kF32));
  // A second cast takes the place of the first.
  EXPECT_TRUE(once.Cast(DType::kF64)->IdentityRange());
  EXPECT_EQ(once.Cast(DType::kF16)->Operations(), std::vector<std::string>{"cast f64 to f16"});
}

TEST(TensorViewTest, ElementOperationsSuitTheType) {
  for (int i = 0; i < kDTypeCount; ++i) {
    const auto dtype = static_cast<DType>(i);
    const uint32_t component = dtype == DType::kC64 ? 4 : BitWidth(dtype) < 16 ? 1 : BitWidth(dtype) / 8;
    for (const uint8_t swap : {0, 1, 2, 3, 4, 8, 16}) {
      const auto view = Packed(Zeros(100), dtype, {8}, {.swap_bytes = swap});
      EXPECT_EQ(view.has_value(), swap == 1 || swap == component)
          << SafetensorsName(dtype) << " " << int{swap};
      if (!view) {
        EXPECT_EQ(view.error().code, ErrorCode::kInvalidArgument);
      }
    }
    const bool complex = dtype == DType::kC64;
    EXPECT_EQ(Packed(Zeros(100), dtype, {8}, {.sign_flip = SignFlip::kAll}).has_value(),
              complex || IsCastable(dtype));
    EXPECT_EQ(Packed(Zeros(100), dtype, {8}, {.sign_flip = SignFlip::kReal}).has_value(), complex);
    EXPECT_EQ(Packed(Zeros(100), dtype, {8}, {.sign_flip = SignFlip::kImaginary}).has_value(), complex);
  }
}

TEST(TensorViewTest, NamesItsOperations) {
  DenseTensor tensor{.storage = std::string(100, 'x'), .dtype = DType::kF16, .cast = DType::kF32};
  tensor.shape = {3, 2};
  tensor.strides = {1, 3};
  tensor.ops = {.swap_bytes = 2, .sign_flip = SignFlip::kAll};
  const auto view = tensor.View(Zeros(100));
  ASSERT_TRUE(view);
  EXPECT_THAT(view->Operations(), ElementsAre("byteswap", "neg", "strided", "cast f16 to f32"));
  EXPECT_FALSE(view->IdentityRange());
  EXPECT_THAT(Packed(Zeros(8), DType::kC64, {1}, {.sign_flip = SignFlip::kImaginary})->Operations(),
              ElementsAre("conj"));
  EXPECT_THAT(Packed(Zeros(8), DType::kC64, {1}, {.sign_flip = SignFlip::kReal})->Operations(),
              ElementsAre("neg", "conj"));
}

TEST(TensorViewTest, Aliases) {
  const FilePtr storage = Zeros(100), other = Zeros(100);
  const TensorView view = *Packed(storage, DType::kF32, {2, 3}, {}, 8);
  EXPECT_TRUE(view.IsAliasOf(view));
  EXPECT_TRUE(view.IsAliasOf(*Packed(storage, DType::kF32, {6}, {}, 8)));
  EXPECT_FALSE(view.IsAliasOf(*Packed(other, DType::kF32, {2, 3}, {}, 8)));
  EXPECT_FALSE(view.IsAliasOf(*Packed(storage, DType::kF32, {2, 3}, {}, 12)));
  EXPECT_FALSE(view.IsAliasOf(*Packed(storage, DType::kI32, {2, 3}, {}, 8)));
  EXPECT_FALSE(view.IsAliasOf(*Packed(storage, DType::kF32, {2, 3}, {.sign_flip = SignFlip::kAll}, 8)));
  EXPECT_FALSE(view.IsAliasOf(*view.Cast(DType::kBF16)));
  EXPECT_TRUE(view.Cast(DType::kBF16)->IsAliasOf(*view.Cast(DType::kBF16)));
  const TensorView empty = *Packed(storage, DType::kF32, {0});
  EXPECT_FALSE(empty.IsAliasOf(empty));
}

}  // namespace
}  // namespace weightfs
