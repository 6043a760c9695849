// Element types, and the 16-bit floats whose arithmetic is done in fp32.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace ds {

// Values equal ds_dtype (ds_tensor.h).
enum class DType : int32_t { kF32 = 1, kBF16 = 2, kF16 = 3 };

constexpr size_t DTypeBytes(DType dtype) { return dtype == DType::kF32 ? 4 : 2; }
constexpr const char* DTypeName(DType dtype) {
  return dtype == DType::kF32 ? "f32" : dtype == DType::kBF16 ? "bf16" : "f16";
}

// bfloat16: the upper half of an fp32. Rounds to nearest, ties to even; NaN stays NaN.
struct BF16 {
  uint16_t bits = 0;

  BF16() = default;
  explicit constexpr BF16(float value) {
    const uint32_t word = std::bit_cast<uint32_t>(value);
    if ((word & 0x7FFFFFFFu) > 0x7F800000u) {
      bits = static_cast<uint16_t>(word >> 16 | 0x40);
    } else {
      bits = static_cast<uint16_t>((word + 0x7FFF + (word >> 16 & 1)) >> 16);
    }
  }
  explicit constexpr operator float() const { return std::bit_cast<float>(uint32_t{bits} << 16); }
};
static_assert(sizeof(BF16) == 2);
static_assert(BF16(1.0f).bits == 0x3F80 && static_cast<float>(BF16(1.0f)) == 1.0f);

// IEEE 754 binary16: 5 bits of exponent, 10 of mantissa. Rounds to nearest, ties to even, from
// 65520 on to infinity; NaN stays NaN.
struct F16 {
  uint16_t bits = 0;

  F16() = default;
  explicit constexpr F16(float value) {
    const uint32_t word = std::bit_cast<uint32_t>(value), rest = word & 0x7FFFFFFFu;
    uint32_t half = 0;
    if (rest > 0x7F800000u) {
      half = 0x7E00 | (rest >> 13 & 0x1FF);
    } else if (rest >= 0x477FF000u) {
      half = 0x7C00;
    } else if (rest < 0x38800000u) {  // beside 0.5 the last bit of an fp32 is the least half
      half = std::bit_cast<uint32_t>(std::bit_cast<float>(rest) + 0.5f) - 0x3F000000u;
    } else {
      half = (rest - 0x38000000u + 0xFFF + (rest >> 13 & 1)) >> 13;
    }
    bits = static_cast<uint16_t>((word >> 16 & 0x8000) | half);
  }
  explicit constexpr operator float() const {
    const uint32_t sign = uint32_t{bits} << 16 & 0x80000000u, half = bits & 0x7FFFu;
    uint32_t rest = (half << 13) + 0x38000000u;
    if (half > 0x7C00) {
      rest = 0x7FC00000u | half << 13;
    } else if (half == 0x7C00) {
      rest = 0x7F800000u;
    } else if (half < 0x400) {
      rest = std::bit_cast<uint32_t>(static_cast<float>(half) * 0x1p-24f);
    }
    return std::bit_cast<float>(sign | rest);
  }
};
static_assert(sizeof(F16) == 2);
static_assert(F16(1.0f).bits == 0x3C00 && static_cast<float>(F16(1.0f)) == 1.0f);

template <typename T>
constexpr DType DTypeOf();
template <>
constexpr DType DTypeOf<float>() {
  return DType::kF32;
}
template <>
constexpr DType DTypeOf<BF16>() {
  return DType::kBF16;
}
template <>
constexpr DType DTypeOf<F16>() {
  return DType::kF16;
}

// Calls body(T()) with the type of the elements.
template <typename Body>
constexpr decltype(auto) WithType(DType dtype, const Body& body) {
  if (dtype == DType::kF32) return body(float());
  if (dtype == DType::kBF16) return body(BF16());
  return body(F16());
}

}  // namespace ds
