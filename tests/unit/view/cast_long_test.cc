// Over 10^8 floats through the kernels and through the scalar oracle.
#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <vector>

#include "convert/view/kernels/cast.h"
#include "tests/support/scalar_cast.h"

namespace weightfs {
namespace {

/// Every sign, every exponent and every pattern of the upper 18 fraction bits, the low five drawn at random:
/// 2^27 values, among them all ties and neighbours of ties of both halves.
template <typename To>
void ExpectAllAgree(DType to) {
  constexpr size_t kBatch = 1 << 16;
  const CastKernel kernel = FindCastKernel(DType::kF32, to);
  std::vector<uint32_t> values(kBatch);
  std::vector<To> got(kBatch);
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE(::testing::Message() << "seed " << seed);
  std::mt19937_64 random(seed);
  for (uint64_t begin = 0; begin < uint64_t{1} << 27; begin += kBatch) {
    for (size_t i = 0; i < kBatch; i += 8) {
      uint64_t low = random();
      for (size_t j = 0; j < 8; ++j, low >>= 5)
        values[i + j] = static_cast<uint32_t>((begin + i + j) << 5 | (low & 31));
    }
    kernel(reinterpret_cast<const std::byte*>(values.data()), reinterpret_cast<std::byte*>(got.data()),
           kBatch);
    for (size_t i = 0; i < kBatch; ++i)
      ASSERT_EQ(got[i], testing::ScalarCast(values[i], DType::kF32, to)) << std::hex << values[i];
  }
}

TEST(CastLongTest, FloatsToF16) { ExpectAllAgree<uint16_t>(DType::kF16); }
TEST(CastLongTest, FloatsToBF16) { ExpectAllAgree<uint16_t>(DType::kBF16); }

}  // namespace
}  // namespace weightfs
