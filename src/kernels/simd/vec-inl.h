// fp32 vectors over arrays of fp32 or BF16, for every target: loads, stores, exp, sums of columns.
// Not a header of declarations: each target compiles it anew.
#if defined(DS_KERNELS_SIMD_VEC_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DS_KERNELS_SIMD_VEC_INL_H_
#undef DS_KERNELS_SIMD_VEC_INL_H_
#else
#define DS_KERNELS_SIMD_VEC_INL_H_
#endif

#include <algorithm>
#include <cstdint>
#include <cstring>

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

// v as an array of T would give it back.
template <typename T>
HWY_INLINE VF Rounded(VF v) {
  if (sizeof(T) == sizeof(float)) return v;
  return hn::BitCast(F32(), hn::ShiftLeft<16>(Bf16Bits(v)));
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

// 2^x to 1.5e-7 relative, NaN kept, at two thirds of what Exp costs: x beyond 126 counts as 126, so
// that no power of two is out of range. The polynomial interpolates (2^r - 1) / r at the Chebyshev
// points of [-1/2, 1/2]; it is off by 1e-8.
HWY_INLINE VF Exp2(VF x) {
  const F32 d;
  x = hn::Max(hn::Set(d, -126.0f), hn::Min(hn::Set(d, 126.0f), x));
  const VF n = hn::Round(x), r = x - n;
  VF p = hn::MulAdd(hn::Set(d, 1.545316336e-4f), r, hn::Set(d, 1.339086331e-3f));
  p = hn::MulAdd(p, r, hn::Set(d, 9.618083015e-3f));
  p = hn::MulAdd(p, r, hn::Set(d, 5.550356954e-2f));
  p = hn::MulAdd(p, r, hn::Set(d, 2.402265072e-1f));
  p = hn::MulAdd(p, r, hn::Set(d, 6.931471825e-1f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f));
  const I32 di;
  return p * hn::BitCast(d, hn::ShiftLeft<23>(hn::ConvertTo(di, n) + hn::Set(di, 127)));
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

}  // namespace
}  // namespace ds::kernels::simd::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
