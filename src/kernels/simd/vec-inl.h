// fp32 vectors over arrays of fp32, BF16 or F16, for every target: loads, stores, exp, sums of
// columns. Not a header of declarations: each target compiles it anew.
#if defined(DS_KERNELS_SIMD_VEC_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DS_KERNELS_SIMD_VEC_INL_H_
#undef DS_KERNELS_SIMD_VEC_INL_H_
#else
#define DS_KERNELS_SIMD_VEC_INL_H_
#endif

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "hwy/highway.h"
#include "kernels/simd/simd.h"
#include "tensor/dtype.h"

HWY_BEFORE_NAMESPACE();
namespace ds::kernels::simd::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

using F32 = hn::ScalableTag<float>;
using U32 = hn::RebindToUnsigned<F32>;
using I32 = hn::RebindToSigned<F32>;
using U16 = hn::Rebind<uint16_t, F32>;
using VF = hn::Vec<F32>;
constexpr int64_t kLanes = hn::MaxLanes(F32());

HWY_INLINE VF LoadV(const float* p) { return hn::LoadU(F32(), p); }
HWY_INLINE VF LoadV(const BF16* p) {
  const auto bits = hn::LoadU(U16(), &p->bits);
  return hn::BitCast(F32(), hn::ShiftLeft<16>(hn::PromoteTo(U32(), bits)));
}

HWY_INLINE void StoreV(VF v, float* p) { hn::StoreU(v, F32(), p); }
// As BF16(float) of tensor/dtype.h, bit for bit, in the low half of each lane: Highway's own
// conversion truncates, and that of AVX-512 flushes subnormals.
HWY_INLINE hn::Vec<U32> Bf16Bits(VF v) {
  const auto word = hn::BitCast(U32(), v);
  const auto high = hn::ShiftRight<16>(word);
  const auto tie = hn::And(high, hn::Set(U32(), 1));
  const auto rounded = hn::ShiftRight<16>(word + hn::Set(U32(), 0x7FFF) + tie);
  const auto nan = hn::Or(high, hn::Set(U32(), 0x40));
  return hn::IfThenElse(hn::RebindMask(U32(), hn::IsNaN(v)), nan, rounded);
}
HWY_INLINE void StoreV(VF v, BF16* p) {
  hn::StoreU(hn::TruncateTo(U16(), Bf16Bits(v)), U16(), &p->bits);
}

// As F16 of tensor/dtype.h, bit for bit, in the low half of each lane; whole numbers only, so that
// no setting of the processor (subnormals as zero) changes it.
HWY_INLINE VF WidenF16(hn::Vec<U32> bits) {
  const U32 d;
  const auto half = hn::And(bits, hn::Set(d, 0x7FFF));
  const auto sign = hn::ShiftLeft<16>(hn::Xor(bits, half));
  const auto shifted = hn::ShiftLeft<13>(half);
  const auto tiny =
      hn::BitCast(d, hn::ConvertTo(F32(), hn::BitCast(I32(), half)) * hn::Set(F32(), 0x1p-24f));
  auto rest = shifted + hn::Set(d, 0x38000000);
  rest = hn::IfThenElse(half < hn::Set(d, 0x400), tiny, rest);
  rest = hn::IfThenElse(half > hn::Set(d, 0x7BFF), hn::Or(shifted, hn::Set(d, 0x7F800000)), rest);
  rest = hn::IfThenElse(half > hn::Set(d, 0x7C00), hn::Or(rest, hn::Set(d, 0x400000)), rest);
  return hn::BitCast(F32(), hn::Or(sign, rest));
}
HWY_INLINE hn::Vec<U32> F16Bits(VF v) {
  const U32 d;
  const auto word = hn::BitCast(d, v);
  const auto rest = hn::And(word, hn::Set(d, 0x7FFFFFFF));
  const auto sign = hn::ShiftRight<16>(hn::Xor(word, rest));
  const auto tie = hn::And(hn::ShiftRight<13>(rest), hn::Set(d, 1));
  auto half = hn::ShiftRight<13>(rest + tie - hn::Set(d, 0x38000000 - 0xFFF));
  const auto tiny = hn::BitCast(d, hn::BitCast(F32(), rest) + hn::Set(F32(), 0.5f));
  half = hn::IfThenElse(rest < hn::Set(d, 0x38800000), tiny - hn::Set(d, 0x3F000000), half);
  half = hn::IfThenElse(rest > hn::Set(d, 0x477FEFFF), hn::Set(d, 0x7C00), half);
  const auto nan = hn::Or(hn::And(hn::ShiftRight<13>(rest), hn::Set(d, 0x1FF)), hn::Set(d, 0x7E00));
  return hn::Or(sign, hn::IfThenElse(rest > hn::Set(d, 0x7F800000), nan, half));
}
HWY_INLINE VF LoadV(const F16* p) {
  return WidenF16(hn::PromoteTo(U32(), hn::LoadU(U16(), &p->bits)));
}
HWY_INLINE void StoreV(VF v, F16* p) {
  hn::StoreU(hn::TruncateTo(U16(), F16Bits(v)), U16(), &p->bits);
}

// v as an array of T would give it back.
template <typename T>
HWY_INLINE VF Rounded(VF v) {
  if constexpr (std::is_same_v<T, BF16>) {
    return hn::BitCast(F32(), hn::ShiftLeft<16>(Bf16Bits(v)));
  } else if constexpr (std::is_same_v<T, F16>) {
    return WidenF16(F16Bits(v));
  } else {
    return v;
  }
}

// The first n < kLanes elements, through a padded copy: the same operations as a whole vector.
template <typename T>
HWY_INLINE VF LoadPart(const T* p, int64_t n) {
  T whole[kLanes] = {};
  std::memcpy(static_cast<void*>(whole), p, n * sizeof(T));
  return LoadV(whole);
}
template <typename T>
HWY_INLINE void StorePart(VF v, T* p, int64_t n) {
  T whole[kLanes];
  StoreV(v, whole);
  std::memcpy(static_cast<void*>(p), whole, n * sizeof(T));
}

// out[i] = op(in[i]...) on vectors; `out` may be one of the inputs.
template <typename Out, typename Op, typename... In>
HWY_INLINE void Map(int64_t n, Out* out, const Op& op, const In*... in) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) StoreV(op(LoadV(in + i)...), out + i);
  if (i < n) StorePart(op(LoadPart(in + i, n - i)...), out + i, n - i);
}

// Calls body(begin, count) for each tile of n elements.
template <typename Body>
void ForTiles(TaskPool& pool, int64_t n, const Body& body) {
  const int64_t step = TileLength(n);
  pool.Run(CeilDiv(n, step),
           [&](int64_t tile, int) { body(tile * step, std::min(step, n - tile * step)); });
}

// Calls whole(i) for each whole vector and part(i, count) for what is left.
template <typename Whole, typename Part>
HWY_INLINE void ForVectors(int64_t n, const Whole& whole, const Part& part) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) whole(i);
  if (i < n) part(i, n - i);
}

HWY_INLINE float Sum(VF v) { return hn::GetLane(hn::SumOfLanes(F32(), v)); }

// e^x to 2e-7 relative, NaN kept; subnormal results are rounded, too small ones give 0, too large
// ones infinity. The polynomial is that of expf in Moshier's Cephes library.
HWY_INLINE VF Exp(VF x) {
  const F32 d;
  // NaN comes through: the second operand is what x86 gives for it.
  x = hn::Max(hn::Set(d, -104.0f), hn::Min(hn::Set(d, 89.0f), x));
  const VF n = hn::Round(x * hn::Set(d, 1.44269504f));
  VF r = hn::NegMulAdd(n, hn::Set(d, 0.693359375f), x);
  r = hn::NegMulAdd(n, hn::Set(d, -2.12194440e-4f), r);
  VF p = hn::MulAdd(hn::Set(d, 1.9875691500e-4f), r, hn::Set(d, 1.3981999507e-3f));
  p = hn::MulAdd(p, r, hn::Set(d, 8.3334519073e-3f));
  p = hn::MulAdd(p, r, hn::Set(d, 4.1665795894e-2f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.6666665459e-1f));
  p = hn::MulAdd(p, r, hn::Set(d, 5.0000001201e-1f));
  p = hn::MulAdd(p, r * r, r) + hn::Set(d, 1.0f);
  // 2^n in two factors: either alone is in range from the smallest subnormal to infinity.
  const I32 di;
  const auto whole = hn::ConvertTo(di, n);
  const auto half = hn::ShiftRight<1>(whole);
  const auto bias = hn::Set(di, 127);
  const VF first = hn::BitCast(d, hn::ShiftLeft<23>(half + bias));
  const VF second = hn::BitCast(d, hn::ShiftLeft<23>(whole - half + bias));
  return p * first * second;
}

constexpr float kLog2E = 1.44269504f;

// 2^x for x up to 126, to 1.5e-7 relative, NaN kept, for less than what Exp costs: what is below
// -126 counts as -126, so that no power of two is out of range. The polynomial interpolates
// (2^r - 1) / r at the Chebyshev points of [-1/2, 1/2]; it is off by 1e-8.
HWY_INLINE VF Exp2(VF x) {
  const F32 d;
  x = hn::Max(hn::Set(d, -126.0f), x);
  // The sum has no bits for a fraction: the lowest are those of round(x) + 127.
  const VF shift = hn::Set(d, 0x1.8p23f + 127), shifted = x + shift;
  const VF r = x - (shifted - shift);
  VF p = hn::MulAdd(hn::Set(d, 1.545316336e-4f), r, hn::Set(d, 1.339086331e-3f));
  p = hn::MulAdd(p, r, hn::Set(d, 9.618083015e-3f));
  p = hn::MulAdd(p, r, hn::Set(d, 5.550356954e-2f));
  p = hn::MulAdd(p, r, hn::Set(d, 2.402265072e-1f));
  p = hn::MulAdd(p, r, hn::Set(d, 6.931471825e-1f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f));
  return p * hn::BitCast(d, hn::ShiftLeft<23>(hn::BitCast(I32(), shifted)));
}

// sums[c] = over i in [0, count) of row(i)[c], for `width` <= kColumns columns, padded with zeros.
// Rows go in order, in chunks: the error grows with the chunk and the number of chunks, not with
// their product.
template <typename Row>
HWY_INLINE void SumColumns(int64_t count, int64_t width, const Row& row, float* sums) {
  constexpr int64_t kChunk = 64;
  alignas(64) float chunk[kColumns];
  const F32 d;
  for (int64_t c = 0; c < kColumns; c += kLanes) hn::Store(hn::Zero(d), d, sums + c);
  for (int64_t i = 0; i < count; i += kChunk) {
    std::memset(chunk, 0, sizeof(chunk));
    for (int64_t k = i; k < std::min(count, i + kChunk); ++k) {
      const auto* x = row(k);
      ForVectors(
          width,
          [&](int64_t c)
              HWY_ATTR { hn::Store(hn::Load(d, chunk + c) + LoadV(x + c), d, chunk + c); },
          [&](int64_t c, int64_t n)
              HWY_ATTR { hn::Store(hn::Load(d, chunk + c) + LoadPart(x + c, n), d, chunk + c); });
    }
    for (int64_t c = 0; c < width; c += kLanes) {
      hn::Store(hn::Load(d, sums + c) + hn::Load(d, chunk + c), d, sums + c);
    }
  }
}

// out[c] = sums[c], or out[c] + sums[c].
template <typename T>
HWY_INLINE void StoreSums(int64_t width, bool accumulate, const float* sums, T* out) {
  if (accumulate) {
    Map(
        width, out, [](VF a, VF b) HWY_ATTR { return a + b; }, out, sums);
  } else {
    Map(
        width, out, [](VF a) HWY_ATTR { return a; }, sums);
  }
}

// y[i] (+)= sum over p of x[p * n + i], in order.
template <typename T>
void SumParts(TaskPool& pool, int64_t parts, int64_t n, bool accumulate, const float* x, T* y) {
  ForTiles(pool, n, [&](int64_t at, int64_t count) HWY_ATTR {
    const auto sum = [&](auto load) HWY_ATTR {
      VF total = hn::Zero(F32());
      for (int64_t p = 0; p < parts; ++p) total = total + load(x + p * n + at);
      return accumulate ? load(y + at) + total : total;
    };
    ForVectors(
        count,
        [&](int64_t i) HWY_ATTR {
          StoreV(sum([i](const auto* from) HWY_ATTR { return LoadV(from + i); }), y + at + i);
        },
        [&](int64_t i, int64_t left) HWY_ATTR {
          StorePart(sum([=](const auto* from) HWY_ATTR { return LoadPart(from + i, left); }),
                    y + at + i, left);
        });
  });
}

}  // namespace
}  // namespace ds::kernels::simd::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
