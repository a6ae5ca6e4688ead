#include "convert/base/bytes.h"

#include <gtest/gtest.h>

#include <array>
#include <limits>

namespace weightfs {
namespace {

constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();

TEST(BytesTest, SizesInBinaryUnits) {
  EXPECT_EQ(1_KiB, 1024u);
  EXPECT_EQ(3_MiB, 3u * 1024 * 1024);
  EXPECT_EQ(2_GiB, uint64_t{1} << 31);
}

TEST(BytesTest, Ranges) {
  EXPECT_EQ((ByteRange{3, 10}.size()), 7u);
  EXPECT_TRUE((ByteRange{3, 3}.empty()));
  EXPECT_EQ((ByteRange{1, 2}), (ByteRange{1, 2}));
}

TEST(BytesTest, CheckedAdd) {
  EXPECT_EQ(CheckedAdd(2, 3), 5u);
  EXPECT_EQ(CheckedAdd(kMax, 0), kMax);
  EXPECT_EQ(CheckedAdd(kMax - 5, 5), kMax);
  EXPECT_EQ(CheckedAdd(kMax - 5, 6), std::nullopt);
  EXPECT_EQ(CheckedAdd(kMax, kMax), std::nullopt);
}

TEST(BytesTest, CheckedMultiply) {
  EXPECT_EQ(CheckedMultiply(6, 7), 42u);
  EXPECT_EQ(CheckedMultiply(kMax, 1), kMax);
  EXPECT_EQ(CheckedMultiply(kMax, 0), 0u);
  EXPECT_EQ(CheckedMultiply(uint64_t{1} << 32, uint64_t{1} << 32), std::nullopt);
  EXPECT_EQ(CheckedMultiply(kMax / 3, 3), kMax / 3 * 3);
  EXPECT_EQ(CheckedMultiply(kMax / 3 + 1, 3), std::nullopt);
}

TEST(BytesTest, CheckedProduct) {
  EXPECT_EQ(CheckedProduct({}), 1u);
  EXPECT_EQ(CheckedProduct(std::array<uint64_t, 3>{2, 3, 4}), 24u);
  EXPECT_EQ(CheckedProduct(std::array<uint64_t, 3>{kMax, kMax, 0}), 0u);
  EXPECT_EQ(CheckedProduct(std::array<uint64_t, 2>{kMax, 2}), std::nullopt);
  EXPECT_EQ(CheckedProduct(std::array<uint64_t, 3>{uint64_t{1} << 31, uint64_t{1} << 31, 4}), std::nullopt);
}

TEST(BytesTest, CheckedRange) {
  EXPECT_EQ(CheckedRange(0, 10, 10), (ByteRange{0, 10}));
  EXPECT_EQ(CheckedRange(10, 0, 10), (ByteRange{10, 10}));
  EXPECT_EQ(CheckedRange(1, 10, 10), std::nullopt);
  EXPECT_EQ(CheckedRange(11, 0, 10), std::nullopt);
  EXPECT_EQ(CheckedRange(kMax, kMax, kMax), std::nullopt);
  EXPECT_EQ(CheckedRange(kMax, 1, 10), std::nullopt);
}

TEST(BytesTest, Alignment) {
  EXPECT_EQ(AlignDown(4097, 4096), 4096u);
  EXPECT_EQ(AlignDown(4096, 4096), 4096u);
  EXPECT_EQ(AlignUp(4097, 4096), 8192u);
  EXPECT_EQ(AlignUp(4096, 4096), 4096u);
  EXPECT_EQ(AlignUp(0, 4096), 0u);
  EXPECT_EQ(AlignUp(1, 1), 1u);
}

TEST(BytesTest, LittleEndianFromAnyAddress) {
  const unsigned char bytes[] = {0xff, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x88};
  EXPECT_EQ(LoadLittleEndian<uint32_t>(bytes + 1), 0x04030201u);
  EXPECT_EQ(LoadLittleEndian<uint64_t>(bytes + 1), 0x8807060504030201u);
  EXPECT_EQ(LoadLittleEndian<int8_t>(bytes), -1);
  EXPECT_EQ(LoadLittleEndian<uint16_t>(bytes + 7), 0x8807u);
}

}  // namespace
}  // namespace weightfs
