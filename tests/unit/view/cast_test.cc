// The cast kernels against the scalar oracle, on every instruction set that this machine has.
#include "convert/view/kernels/cast.h"

#include <gtest/gtest.h>
#include <hwy/targets.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

#include "tests/support/scalar_cast.h"

namespace weightfs {
namespace {

using testing::FloatFormat;
using testing::FormatOf;

constexpr DType kTypes[] = {DType::kF64, DType::kF32, DType::kF16, DType::kBF16};

size_t Bytes(DType dtype) { return BitWidth(dtype) / 8; }

std::string PairName(DType from, DType to) {
  return std::string(SafetensorsName(from)) + " to " + std::string(SafetensorsName(to));
}

/// Packs `values` as elements of `dtype`.
std::vector<std::byte> Pack(const std::vector<uint64_t>& values, DType dtype) {
  std::vector<std::byte> bytes(values.size() * Bytes(dtype));
  for (size_t i = 0; i < values.size(); ++i) std::memcpy(&bytes[i * Bytes(dtype)], &values[i], Bytes(dtype));
  return bytes;
}

/// Values at and around every rounding boundary of `to`: all exponents, with fractions whose dropped bits lie
/// next to zero, one half and one, whatever the position of the last place.
std::vector<uint64_t> BoundaryValues(DType from) {
  const FloatFormat format = FormatOf(from);
  std::vector<uint64_t> values;
  std::mt19937_64 random(20);
  for (uint64_t sign = 0; sign < 2; ++sign) {
    for (uint64_t exponent = 0; exponent <= format.exponent_mask(); ++exponent) {
      const uint64_t high = (sign << format.exponent_bits | exponent) << format.fraction_bits;
      for (int place = 0; place <= format.fraction_bits; ++place) {
        const uint64_t half = place == 0 ? 0 : uint64_t{1} << (place - 1);
        for (const uint64_t above : {uint64_t{0}, uint64_t{1}, random(), ~uint64_t{0}}) {
          const uint64_t kept = above << place;
          for (const int64_t delta : {-2, -1, 0, 1, 2})
            values.push_back(high | ((kept + half + static_cast<uint64_t>(delta)) & format.fraction_mask()));
        }
      }
    }
  }
  return values;
}

/// Runs every test once per instruction set.
class CastTest : public ::testing::TestWithParam<int64_t> {
 protected:
  void SetUp() override { Use(GetParam()); }
  void TearDown() override { Use(0); }

  static void Use(int64_t target) {
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().DeInit();  // Forgets the choice: the next dispatch chooses anew.
  }

  static void ExpectOracle(const std::vector<uint64_t>& values, DType from, DType to) {
    const std::vector<std::byte> source = Pack(values, from);
    std::vector<std::byte> got(values.size() * Bytes(to));
    FindCastKernel(from, to)(source.data(), got.data(), values.size());
    size_t wrong = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      uint64_t bits = 0;
      std::memcpy(&bits, &got[i * Bytes(to)], Bytes(to));
      const uint64_t expected = testing::ScalarCast(values[i], from, to);
      if (bits == expected || ++wrong > 5) continue;
      ADD_FAILURE() << PairName(from, to) << ": 0x" << std::hex << values[i] << " gave 0x" << bits
                    << "; expected 0x" << expected;
    }
    EXPECT_EQ(wrong, 0u) << PairName(from, to);
  }
};

TEST_P(CastTest, AllValuesOfBothHalves) {
  std::vector<uint64_t> values(65536);
  for (size_t i = 0; i < values.size(); ++i) values[i] = i;
  for (const DType from : {DType::kF16, DType::kBF16})
    for (const DType to : kTypes) ExpectOracle(values, from, to);
}

TEST_P(CastTest, EveryRoundingBoundary) {
  for (const DType from : {DType::kF32, DType::kF64}) {
    const std::vector<uint64_t> values = BoundaryValues(from);
    for (const DType to : kTypes) ExpectOracle(values, from, to);
  }
}

TEST_P(CastTest, DoublesNearTheSmallTypes) {
  // A random double is almost always out of range of f16: take exponents that are not.
  std::mt19937_64 random(21);
  std::vector<uint64_t> values(1 << 18);
  for (uint64_t& value : values) {
    const uint64_t exponent = 1023 - 30 + random() % 60;
    value = (random() & 0x800fffffffffffffu) | exponent << 52;
    if (random() % 2 == 0) value &= ~((uint64_t{1} << (random() % 50)) - 1);
  }
  for (const DType to : kTypes) ExpectOracle(values, DType::kF64, to);
}

TEST_P(CastTest, EveryLengthAndMisalignment) {
  constexpr size_t kLengthMax = 100, kShiftMax = 8, kCanary = 64;
  std::mt19937_64 random(22);
  std::vector<uint64_t> values(kLengthMax);
  for (uint64_t& value : values) value = random();
  for (const DType from : kTypes) {
    const std::vector<std::byte> packed = Pack(values, from);
    for (const DType to : kTypes) {
      const CastKernel kernel = FindCastKernel(from, to);
      std::vector<std::byte> expected(kLengthMax * Bytes(to));
      testing::ScalarCastAll(packed.data(), expected.data(), kLengthMax, from, to);
      alignas(64) std::byte source[kShiftMax + kLengthMax * 8];
      alignas(64) std::byte destination[2 * kCanary + kShiftMax + kLengthMax * 8];
      for (size_t source_shift = 0; source_shift < kShiftMax; ++source_shift) {
        std::memcpy(source + source_shift, packed.data(), packed.size());
        for (size_t shift = 0; shift < kShiftMax; ++shift) {
          for (size_t length = 0; length <= kLengthMax; ++length) {
            std::fill(std::begin(destination), std::end(destination), std::byte{0xa5});
            std::byte* const begin = destination + kCanary + shift;
            std::byte* const end = begin + length * Bytes(to);
            kernel(source + source_shift, begin, length);
            const auto untouched = [](std::byte b) { return b == std::byte{0xa5}; };
            ASSERT_TRUE(std::equal(begin, end, expected.begin()) &&
                        std::all_of(destination, begin, untouched) &&
                        std::all_of(end, std::end(destination), untouched))
                << PairName(from, to) << ", " << length << " elements, source shifted by " << source_shift
                << ", destination by " << shift;
          }
        }
      }
    }
  }
}

/// Two pages between two that may not be touched.
class GuardedPages {
 public:
  GuardedPages()
      : map_(static_cast<std::byte*>(
            mmap(nullptr, 4 * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))) {
    EXPECT_EQ(mprotect(map_ + kPage, 2 * kPage, PROT_READ | PROT_WRITE), 0);
  }
  ~GuardedPages() { munmap(map_, 4 * kPage); }
  std::byte* begin() const { return map_ + kPage; }
  std::byte* end() const { return map_ + 3 * kPage; }

 private:
  static constexpr size_t kPage = 4096;
  std::byte* map_;
};

TEST_P(CastTest, TouchesNothingOutsideTheArrays) {
  const GuardedPages source, destination;
  for (const DType from : kTypes) {
    for (const DType to : kTypes) {
      const CastKernel kernel = FindCastKernel(from, to);
      for (size_t length = 0; length <= 100; ++length) {
        kernel(source.begin(), destination.begin(), length);
        kernel(source.end() - length * Bytes(from), destination.end() - length * Bytes(to), length);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, CastTest, ::testing::ValuesIn(hwy::SupportedAndGeneratedTargets()),
                         [](const auto& target) { return std::string(hwy::TargetName(target.param)); });

TEST(FindCastKernelTest, HasNoneForOtherTypes) {
  for (int i = 0; i < kDTypeCount; ++i) {
    for (int j = 0; j < kDTypeCount; ++j) {
      const auto from = static_cast<DType>(i), to = static_cast<DType>(j);
      EXPECT_EQ(FindCastKernel(from, to) != nullptr, IsCastable(from) && IsCastable(to))
          << PairName(from, to);
    }
  }
}

TEST(ScalarCastTest, KnowsSomeValuesByHand) {
  const auto cast = testing::ScalarCast;
  EXPECT_EQ(cast(0x3c00, DType::kF16, DType::kF32), 0x3f800000u);
  EXPECT_EQ(cast(0x0001, DType::kF16, DType::kF32), 0x33800000u);  // 2^-24
  EXPECT_EQ(cast(0x477fefff, DType::kF32, DType::kF16), 0x7bffu);  // just under 65520
  EXPECT_EQ(cast(0x477ff000, DType::kF32, DType::kF16), 0x7c00u);  // 65520
  EXPECT_EQ(cast(0x33000000, DType::kF32, DType::kF16), 0x0000u);  // 2^-25, a tie
  EXPECT_EQ(cast(0x33000001, DType::kF32, DType::kF16), 0x0001u);
  EXPECT_EQ(cast(0x387fe000, DType::kF32, DType::kF16), 0x0400u);   // a tie below the smallest normal number
  EXPECT_EQ(cast(0x3f808000, DType::kF32, DType::kBF16), 0x3f80u);  // a tie, to even
  EXPECT_EQ(cast(0x3f818000, DType::kF32, DType::kBF16), 0x3f82u);
  EXPECT_EQ(cast(0x7f7fffff, DType::kF32, DType::kBF16), 0x7f80u);  // overflow
  EXPECT_EQ(cast(0x7f800001, DType::kF32, DType::kBF16), 0x7fc0u);  // a signalling NaN turns quiet
  EXPECT_EQ(cast(0xff81, DType::kBF16, DType::kF32), 0xff810000u);  // but not by a shift
  EXPECT_EQ(cast(0xfd01, DType::kF16, DType::kF32), 0xffe02000u);
  EXPECT_EQ(cast(0x3ff0020000000100, DType::kF64, DType::kF16), 0x3c00u);  // rounded twice
  EXPECT_EQ(cast(0x7fefffffffffffff, DType::kF64, DType::kF32), 0x7f800000u);
}

}  // namespace
}  // namespace weightfs
