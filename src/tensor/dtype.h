// Element types, and the 16-bit float whose arithmetic is done in fp32.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace ds {

// Values equal ds_dtype (ds_tensor.h).
enum class DType : int32_t { kF32 = 1, kBF16 = 2 };

constexpr size_t DTypeBytes(DType dtype) { return dtype == DType::kF32 ? 4 : 2; }
constexpr const char* DTypeName(DType dtype) { return dtype == DType::kF32 ? "f32" : "bf16"; }

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

}  // namespace ds
