// Compiled once per instruction set: foreach_target.h includes this file again for each, and the best one
// that the processor has is taken at run time. Every target must give the same bits, which the tests check.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "convert/view/kernels/cast.cc"
#include <hwy/foreach_target.h>  // IWYU pragma: keep
// Must come after foreach_target.h.
#include <hwy/highway.h>

#include <cstring>

#include "convert/view/kernels/cast.h"

HWY_BEFORE_NAMESPACE();
namespace weightfs {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

// Hardware half-precision conversion (F16C) rounds to nearest even and keeps the leading payload bits of a
// NaN, quieted. Highway's own emulation elsewhere truncates and has no NaN, so other targets use the integer
// forms below.
#undef WEIGHTFS_HALF_IN_HARDWARE
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2
#define WEIGHTFS_HALF_IN_HARDWARE 1
#else
#define WEIGHTFS_HALF_IN_HARDWARE 0
#endif

// The bytes of one vector; unlike a load of wider lanes this asks for no alignment at all.
template <class D>
HWY_INLINE hn::Vec<D> LoadBytes(D d, const uint8_t* from) {
#if HWY_TARGET == HWY_SCALAR
  hn::TFromD<D> lane;
  std::memcpy(&lane, from, sizeof lane);
  return hn::Set(d, lane);
#else
  return hn::BitCast(d, hn::LoadU(hn::Repartition<uint8_t, D>(), from));
#endif
}
template <class D>
HWY_INLINE void StoreBytes([[maybe_unused]] D d, hn::Vec<D> value, uint8_t* to) {
#if HWY_TARGET == HWY_SCALAR
  const hn::TFromD<D> lane = hn::GetLane(value);
  std::memcpy(to, &lane, sizeof lane);
#else
  const hn::Repartition<uint8_t, D> bytes;
  hn::StoreU(hn::BitCast(bytes, value), bytes, to);
#endif
}

// f16 bits (zero-extended) to f32.
template <class DF>
HWY_INLINE hn::Vec<DF> FloatFromHalfBits(DF df, hn::Vec<hn::RebindToUnsigned<DF>> half) {
  const hn::RebindToUnsigned<DF> du;
  const auto magnitude = hn::ShiftLeft<13>(hn::And(half, hn::Set(du, 0x7fffu)));
  const auto sign = hn::ShiftLeft<16>(hn::And(half, hn::Set(du, 0x8000u)));
  const auto exponent_mask = hn::Set(du, 0x0f800000u);
  const auto exponent = hn::And(magnitude, exponent_mask);
  const auto rebias = hn::Set(du, (127u - 15u) << 23);
  const auto normal = hn::Add(magnitude, rebias);
  // Infinity and NaN: the exponent becomes all ones; a NaN turns quiet.
  const auto special = hn::Add(normal, rebias);
  const auto is_special = hn::Eq(exponent, exponent_mask);
  const auto quiet =
      hn::IfThenElse(hn::Eq(magnitude, exponent_mask), special, hn::Or(special, hn::Set(du, 0x00400000u)));
  // Subnormal: give it an exponent, then subtract what the implicit bit added. Exact.
  const auto with_bit = hn::BitCast(df, hn::Add(normal, hn::Set(du, 1u << 23)));
  const auto subnormal = hn::BitCast(du, hn::Sub(with_bit, hn::BitCast(df, hn::Set(du, 113u << 23))));
  const auto finite = hn::IfThenElse(hn::Eq(exponent, hn::Zero(du)), subnormal, normal);
  return hn::BitCast(df, hn::Or(hn::IfThenElse(is_special, quiet, finite), sign));
}

// f32 to f16 bits, zero-extended.
template <class DF>
HWY_INLINE hn::Vec<hn::RebindToUnsigned<DF>> HalfBitsFromFloat(DF df, hn::Vec<DF> value) {
  const hn::RebindToUnsigned<DF> du;
  const hn::RebindToSigned<DF> di;
  const auto bits = hn::BitCast(du, value);
  const auto sign = hn::And(bits, hn::Set(du, 0x80000000u));
  const auto magnitude = hn::Xor(bits, sign);
  const auto signed_magnitude =
      hn::BitCast(di, magnitude);  // Never negative, and signed comparison is everywhere.
  const auto odd = hn::And(hn::ShiftRight<13>(magnitude), hn::Set(du, 1u));
  const auto rebias = hn::Set(du, 0u - ((127u - 15u) << 23));
  const auto normal =
      hn::ShiftRight<13>(hn::Add(hn::Add(magnitude, rebias), hn::Add(odd, hn::Set(du, 0x0fffu))));
  // Below 2^-14: adding 0.5, whose last place is half's smallest subnormal, rounds to nearest even.
  const auto half_one = hn::Set(df, 0.5f);
  const auto subnormal =
      hn::Sub(hn::BitCast(du, hn::Add(hn::BitCast(df, magnitude), half_one)), hn::BitCast(du, half_one));
  const auto is_subnormal = hn::RebindMask(du, hn::Lt(signed_magnitude, hn::Set(di, 0x38800000)));
  const auto is_infinite = hn::RebindMask(du, hn::Gt(signed_magnitude, hn::Set(di, 0x477fefff)));
  const auto is_nan = hn::RebindMask(du, hn::Gt(signed_magnitude, hn::Set(di, 0x7f800000)));
  const auto payload = hn::And(hn::ShiftRight<13>(magnitude), hn::Set(du, 0x03ffu));
  const auto nan = hn::Or(payload, hn::Set(du, 0x7e00u));
  auto result = hn::IfThenElse(is_subnormal, subnormal, normal);
  result = hn::IfThenElse(is_infinite, hn::Set(du, 0x7c00u), result);
  result = hn::IfThenElse(is_nan, nan, result);
  return hn::Or(result, hn::ShiftRight<16>(sign));
}

// f32 to bf16 bits, zero-extended: round to nearest even on the integer, a NaN truncated and quieted.
template <class DF>
HWY_INLINE hn::Vec<hn::RebindToUnsigned<DF>> Bfloat16BitsFromFloat(DF df, hn::Vec<DF> value) {
  const hn::RebindToUnsigned<DF> du;
  (void)df;
  const auto bits = hn::BitCast(du, value);
  const auto high = hn::ShiftRight<16>(bits);
  const auto odd = hn::And(high, hn::Set(du, 1u));
  const auto rounded = hn::ShiftRight<16>(hn::Add(bits, hn::Add(odd, hn::Set(du, 0x7fffu))));
  const auto nan = hn::Or(high, hn::Set(du, 0x0040u));
  return hn::IfThenElse(hn::RebindMask(du, hn::IsNaN(value)), nan, rounded);
}

// f64 to f32. Highway's emulation saturates where IEEE 754 overflows to infinity.
template <class DF>
HWY_INLINE hn::Vec<DF> FloatFromDouble(DF df, hn::Vec<hn::Rebind<double, DF>> value) {
#if HWY_TARGET == HWY_EMU128 || HWY_TARGET == HWY_SCALAR
  const hn::Rebind<double, DF> dd;
  HWY_ALIGN double in[hn::MaxLanes(hn::Rebind<double, DF>())];
  HWY_ALIGN float out[hn::MaxLanes(DF())];
  hn::Store(value, dd, in);
  for (size_t i = 0; i < hn::Lanes(df); ++i) out[i] = static_cast<float>(in[i]);
  return hn::Load(df, out);
#else
  return hn::DemoteTo(df, value);
#endif
}

// Loads Lanes(df) elements of type `kFrom` as f32. All but f64 are exact.
template <DType kFrom, class DF>
HWY_INLINE hn::Vec<DF> LoadAsFloat(DF df, const uint8_t* from) {
  const hn::RebindToUnsigned<DF> du;
  const hn::Rebind<uint16_t, DF> du16;
  if constexpr (kFrom == DType::kF64) {
    return FloatFromDouble(df, LoadBytes(hn::Rebind<double, DF>(), from));
  } else if constexpr (kFrom == DType::kF32) {
    (void)du16;
    return LoadBytes(df, from);
  } else if constexpr (kFrom == DType::kBF16) {
    return hn::BitCast(df, hn::ShiftLeft<16>(hn::PromoteTo(du, LoadBytes(du16, from))));
  } else {
#if WEIGHTFS_HALF_IN_HARDWARE
    return hn::PromoteTo(df, LoadBytes(hn::Rebind<hwy::float16_t, DF>(), from));
#else
    return FloatFromHalfBits(df, hn::PromoteTo(du, LoadBytes(du16, from)));
#endif
  }
}

// Stores the f32 lanes of `value` as type `kTo`.
template <DType kTo, class DF>
HWY_INLINE void StoreFloat(DF df, hn::Vec<DF> value, uint8_t* to) {
  const hn::Rebind<uint16_t, DF> du16;
  if constexpr (kTo == DType::kF64) {
    const hn::Rebind<double, DF> dd;
    StoreBytes(dd, hn::PromoteTo(dd, value), to);
  } else if constexpr (kTo == DType::kF32) {
    StoreBytes(df, value, to);
  } else if constexpr (kTo == DType::kBF16) {
    StoreBytes(du16, hn::TruncateTo(du16, Bfloat16BitsFromFloat(df, value)), to);
  } else {
#if WEIGHTFS_HALF_IN_HARDWARE
    const hn::Rebind<hwy::float16_t, DF> dh;
    StoreBytes(dh, hn::DemoteTo(dh, value), to);
#else
    StoreBytes(du16, hn::TruncateTo(du16, HalfBitsFromFloat(df, value)), to);
#endif
  }
}

constexpr size_t WidthBytes(DType dtype) { return dtype == DType::kF64 ? 8 : dtype == DType::kF32 ? 4 : 2; }

// A vector of f64 has half the lanes of a vector of f32.
template <bool kHasDouble>
struct FloatTag {
  using type = hn::ScalableTag<float>;
};
#if HWY_TARGET != HWY_SCALAR
template <>
struct FloatTag<true> {
  using type = hn::Rebind<float, hn::ScalableTag<double>>;
};
#endif

template <DType kFrom, DType kTo>
void Convert(const std::byte* source, std::byte* destination, size_t count) {
  const typename FloatTag<kFrom == DType::kF64 || kTo == DType::kF64>::type df;
  const size_t lanes = hn::Lanes(df);
  constexpr size_t from_bytes = WidthBytes(kFrom), to_bytes = WidthBytes(kTo);
  const auto* from = reinterpret_cast<const uint8_t*>(source);
  auto* to = reinterpret_cast<uint8_t*>(destination);
  size_t i = 0;
  for (; i + 2 * lanes <= count; i += 2 * lanes) {
    const auto first = LoadAsFloat<kFrom>(df, from + i * from_bytes);
    const auto second = LoadAsFloat<kFrom>(df, from + (i + lanes) * from_bytes);
    StoreFloat<kTo>(df, first, to + i * to_bytes);
    StoreFloat<kTo>(df, second, to + (i + lanes) * to_bytes);
  }
  // The tail goes through a buffer: no byte outside either array is touched, and the arithmetic is the same.
  while (i < count) {
    const size_t part = count - i < lanes ? count - i : lanes;
    HWY_ALIGN uint8_t in[hn::MaxLanes(df) * 8] = {};
    HWY_ALIGN uint8_t out[sizeof in];
    std::memcpy(in, from + i * from_bytes, part * from_bytes);
    StoreFloat<kTo>(df, LoadAsFloat<kFrom>(df, in), out);
    std::memcpy(to + i * to_bytes, out, part * to_bytes);
    i += part;
  }
}

template <DType kType>
void Copy(const std::byte* source, std::byte* destination, size_t count) {
  if (count != 0) std::memcpy(destination, source, count * WidthBytes(kType));
}

template <DType kFrom>
CastKernel KernelFrom(DType to) {
  switch (to) {
    case DType::kF64:
      if constexpr (kFrom == DType::kF64)
        return &Copy<kFrom>;
      else
        return &Convert<kFrom, DType::kF64>;
    case DType::kF32:
      if constexpr (kFrom == DType::kF32)
        return &Copy<kFrom>;
      else
        return &Convert<kFrom, DType::kF32>;
    case DType::kF16:
      if constexpr (kFrom == DType::kF16)
        return &Copy<kFrom>;
      else
        return &Convert<kFrom, DType::kF16>;
    case DType::kBF16:
      if constexpr (kFrom == DType::kBF16)
        return &Copy<kFrom>;
      else
        return &Convert<kFrom, DType::kBF16>;
    default:
      return nullptr;
  }
}

CastKernel Kernel(DType from, DType to) {
  switch (from) {
    case DType::kF64:
      return KernelFrom<DType::kF64>(to);
    case DType::kF32:
      return KernelFrom<DType::kF32>(to);
    case DType::kF16:
      return KernelFrom<DType::kF16>(to);
    case DType::kBF16:
      return KernelFrom<DType::kBF16>(to);
    default:
      return nullptr;
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace weightfs
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace weightfs {

HWY_EXPORT(Kernel);

CastKernel FindCastKernel(DType from, DType to) { return HWY_DYNAMIC_DISPATCH(Kernel)(from, to); }

}  // namespace weightfs
#endif
