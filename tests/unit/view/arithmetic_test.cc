// Arithmetic on elements: the result of exact arithmetic in the type that torch computes in, rounded once.
#include "convert/view/kernels/arithmetic.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "tests/support/scalar_cast.h"

namespace weightfs {
namespace {

using testing::ScalarCastAll;

/// What an operation gives for one element, from the definition: up to f32 (f64 stays), operate, round down.
template <typename Operation>
std::string Expected(const std::string& a, const std::string& b, DType dtype, Operation operation) {
  const auto* a_bytes = reinterpret_cast<const std::byte*>(a.data());
  const auto* b_bytes = reinterpret_cast<const std::byte*>(b.data());
  std::string result(a.size(), '\0');
  auto* to = reinterpret_cast<std::byte*>(result.data());
  if (dtype == DType::kF64) {
    double x, y;
    std::memcpy(&x, a_bytes, 8), std::memcpy(&y, b_bytes, 8);
    x = operation(x, y);
    std::memcpy(to, &x, 8);
    return result;
  }
  float x, y;
  ScalarCastAll(a_bytes, reinterpret_cast<std::byte*>(&x), 1, dtype, DType::kF32);
  ScalarCastAll(b_bytes, reinterpret_cast<std::byte*>(&y), 1, dtype, DType::kF32);
  x = static_cast<float>(operation(x, y));
  ScalarCastAll(reinterpret_cast<const std::byte*>(&x), to, 1, DType::kF32, dtype);
  return result;
}

/// `count` elements of random bits that are no NaN, small and large ones, and their neighbours of halves.
std::string DrawElements(std::mt19937_64& random, DType dtype, size_t count) {
  std::string bytes;
  while (bytes.size() < count * BitWidth(dtype) / 8) {
    const double value = std::ldexp(static_cast<double>(static_cast<int64_t>(random() % 4097) - 2048),
                                    static_cast<int>(random() % 20) - 12);
    std::string element(BitWidth(dtype) / 8, '\0');
    ScalarCastAll(reinterpret_cast<const std::byte*>(&value), reinterpret_cast<std::byte*>(element.data()), 1,
                  DType::kF64, dtype);
    bytes += element;
  }
  return bytes;
}

TEST(ArithmeticTest, EveryOperationOfEveryTypeAndLength) {
  std::mt19937_64 random(11);
  for (const DType dtype : {DType::kF64, DType::kF32, DType::kF16, DType::kBF16})
    for (const size_t count :
         {size_t{0}, size_t{1}, size_t{7}, size_t{1023}, size_t{1024}, size_t{1025}, size_t{5000}}) {
      const size_t width = BitWidth(dtype) / 8;
      // From an odd address on: elements need no alignment.
      const std::string a = DrawElements(random, dtype, count), b = DrawElements(random, dtype, count);
      const auto run = [&](auto&& operation) {
        std::string buffer = "x" + a;
        operation(reinterpret_cast<std::byte*>(buffer.data() + 1));
        return buffer.substr(1);
      };
      const std::string sums = run([&](std::byte* elements) {
        AddElements(elements, reinterpret_cast<const std::byte*>(b.data()), count, dtype);
      });
      const std::string scaled =
          run([&](std::byte* elements) { ScaleElements(elements, count, dtype, 0.3); });
      const std::string added = run([&](std::byte* elements) { AddToElements(elements, count, dtype, -1); });
      const std::string divided =
          run([&](std::byte* elements) { DivideElements(elements, count, dtype, 3); });
      for (size_t i = 0; i < count; ++i) {
        const std::string x = a.substr(i * width, width), y = b.substr(i * width, width);
        ASSERT_EQ(sums.substr(i * width, width), Expected(x, y, dtype, [](auto p, auto q) { return p + q; }));
        ASSERT_EQ(scaled.substr(i * width, width),
                  Expected(x, y, dtype, [](auto p, auto) { return p * static_cast<decltype(p)>(0.3); }));
        ASSERT_EQ(added.substr(i * width, width), Expected(x, y, dtype, [](auto p, auto) { return p - 1; }));
        ASSERT_EQ(divided.substr(i * width, width),
                  Expected(x, y, dtype, [](auto p, auto) { return p / 3; }));
      }
    }
}

}  // namespace
}  // namespace weightfs
