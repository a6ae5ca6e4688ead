#include "convert/target/npy/npy_file.h"

#include <gtest/gtest.h>

#include <cstring>

#include "tests/unit/target/target_test_util.h"

namespace weightfs {
namespace {

using testing::Tensor;

template <size_t kSize>
std::string Bytes(const char (&literal)[kSize]) {
  return std::string(literal, kSize - 1);
}

std::string Padded(std::string header, size_t size) {
  header.resize(size - 1, ' ');
  return header + '\n';
}

// From numpy 2.4.6: numpy.save of arrays of these types and shapes.
TEST(NpyHeaderTest, IsThatOfNumpy) {
  const auto header = [](DType dtype, Shape shape) {
    return NpyHeader(Tensor("t", dtype, std::move(shape)).view);
  };
  EXPECT_EQ(
      header(DType::kF32, {}),
      Padded(Bytes("\223NUMPY\001\000v\000{'descr': '<f4', 'fortran_order': False, 'shape': (), }"), 128));
  EXPECT_EQ(
      header(DType::kBool, {3}),
      Padded(Bytes("\223NUMPY\001\000v\000{'descr': '|b1', 'fortran_order': False, 'shape': (3,), }"), 128));
  EXPECT_EQ(
      header(DType::kF16, {2, 0, 3}),
      Padded(Bytes("\223NUMPY\001\000v\000{'descr': '<f2', 'fortran_order': False, 'shape': (2, 0, 3), }"),
             128));
  EXPECT_EQ(
      header(DType::kC64, {12345, 6}),
      Padded(Bytes("\223NUMPY\001\000v\000{'descr': '<c8', 'fortran_order': False, 'shape': (12345, 6), }"),
             128));
  EXPECT_EQ(
      header(DType::kI64, Shape(26, 1)),
      Padded(
          Bytes(
              "\223NUMPY\001\000\266\000{'descr': '<i8', 'fortran_order': False, 'shape': (1, 1, 1, 1, 1, 1, "
              "1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1), }"),
          192));
}

// Sizes as numpy 2.4.6 gives them for ones of every rank: it pads by 64 where no padding is needed.
TEST(NpyHeaderTest, SizesAreThoseOfNumpyAtEveryRank) {
  for (uint32_t rank = 0; rank <= 64; ++rank) {
    const size_t expected = rank < 15 ? 128 : rank < 36 ? 192 : rank < 58 ? 256 : 320;
    EXPECT_EQ(NpyHeader(Tensor("t", DType::kU8, Shape(rank, 1)).view).size(), expected) << rank;
  }
}

TEST(NpyHeaderTest, AShapeBeyondVersionOneTakesVersionTwo) {
  const std::string header = NpyHeader(Tensor("t", DType::kU8, Shape(30'000, 1)).view);
  EXPECT_EQ(header.substr(6, 2), Bytes("\002\000"));
  uint32_t length = 0;
  std::memcpy(&length, header.data() + 8, 4);
  EXPECT_EQ(header.size(), 12 + length);
  EXPECT_EQ(header.size() % 64, 0);
  EXPECT_EQ(header.back(), '\n');
}

TEST(NpyDescrTest, TypesThatNumpyLacksAreRawBits) {
  EXPECT_EQ(NpyDescr(DType::kBF16), "<u2");
  EXPECT_EQ(NpyDescr(DType::kF8E8M0), "|u1");
  EXPECT_EQ(NpyDescr(DType::kU64), "<u8");
  const std::string header = NpyHeader(Tensor("t", DType::kF4, {4, 6}).view);
  EXPECT_NE(header.find("'descr': '|u1', 'fortran_order': False, 'shape': (12,), }"), header.npos) << header;
}

TEST(NpyFileTest, HoldsHeaderAndData) {
  const ServedTensor tensor = Tensor("t", DType::kU8, {5});
  const auto file = MakeNpyFile(tensor.view, std::make_shared<BlockCache>(1 << 20));
  ASSERT_TRUE(file.has_value()) << file.error().message;
  ASSERT_EQ((*file)->size_bytes(), 133);
  ReadScratch scratch;
  const auto bytes = (*file)->Read({0, 133}, scratch);
  ASSERT_TRUE(bytes.has_value()) << bytes.error().message;
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(bytes->data()), bytes->size()),
            NpyHeader(tensor.view) + std::string("\0\1\2\3\4", 5));
}

TEST(NpyFileNameTest, EncodesWhatAFileNameCannotHold) {
  EXPECT_EQ(NpyFileName("model.layers.0.weight", 0), "model.layers.0.weight.npy");
  EXPECT_EQ(NpyFileName("a/b%c", 0), "a%2Fb%25c.npy");
  EXPECT_EQ(NpyFileName(".hidden.x", 0), "%2Ehidden.x.npy");
  EXPECT_EQ(NpyFileName(Bytes("\000"), 0), "%00.npy");
  EXPECT_EQ(NpyFileName("", 0), ".npy");
  EXPECT_EQ(NpyFileName("caf\xC3\xA9", 0), "caf\xC3\xA9.npy");
}

TEST(NpyFileNameTest, LongNamesAreNumbered) {
  EXPECT_EQ(NpyFileName(std::string(250, 'x'), 7), std::string(250, 'x') + ".npy");
  EXPECT_EQ(NpyFileName(std::string(251, 'x'), 7), "%tensor-00007.npy");
  EXPECT_EQ(NpyFileName(std::string(84, '/'), 123456), "%tensor-123456.npy");
}

}  // namespace
}  // namespace weightfs
