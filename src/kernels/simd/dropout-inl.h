// The factors of kernels/dropout.h on vectors, for every target: Philox over lanes that are groups.
// Not a header of declarations: each target compiles it anew.
#if defined(DS_KERNELS_SIMD_DROPOUT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DS_KERNELS_SIMD_DROPOUT_INL_H_
#undef DS_KERNELS_SIMD_DROPOUT_INL_H_
#else
#define DS_KERNELS_SIMD_DROPOUT_INL_H_
#endif

#include "kernels/dropout.h"
#include "kernels/simd/vec-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ds::kernels::simd::HWY_NAMESPACE {
namespace {

using U64 = hn::Repartition<uint64_t, U32>;
using VU = hn::Vec<U32>;

// The upper and the lower half of each product.
struct Wide {
  VU high, low;
};
HWY_INLINE Wide MulWide(VU a, uint32_t by) {
  const U32 d;
  const VU m = hn::Set(d, by);
  const auto even = hn::MulEven(a, m);
  const auto odd = hn::MulEven(hn::BitCast(d, hn::ShiftRight<32>(hn::BitCast(U64(), a))), m);
  return {hn::OddEven(hn::BitCast(d, odd), hn::BitCast(d, hn::ShiftRight<32>(even))), a * m};
}

// Of the 128 columns of the piece that begins at `group`, a multiple of 16.
HWY_INLINE void KeepFactors(const Dropout& dropout, uint64_t group, float* HWY_RESTRICT factors) {
  const U32 d;
  const VF factor = hn::Set(F32(), dropout.factor);
  // Signed, for the compare: all values are below 65536.
  const auto last_dropped = hn::Set(I32(), static_cast<int32_t>(dropout.threshold) - 1);
  const auto keep = [&](VU values, float* to) HWY_ATTR {
    const auto kept = hn::RebindMask(F32(), hn::BitCast(I32(), values) > last_dropped);
    hn::StoreU(hn::IfThenElseZero(kept, factor), F32(), to);
  };
  for (int64_t lane = 0; lane < Dropout::kGroups; lane += kLanes) {
    VU counter[4] = {hn::Iota(d, static_cast<uint32_t>(group) + static_cast<uint32_t>(lane)),
                     hn::Set(d, static_cast<uint32_t>(group >> 32)),
                     hn::Set(d, static_cast<uint32_t>(dropout.site)),
                     hn::Set(d, static_cast<uint32_t>(dropout.site >> 32))};
    auto key0 = static_cast<uint32_t>(dropout.seed);
    auto key1 = static_cast<uint32_t>(dropout.seed >> 32);
    for (int round = 0; round < 10; ++round) {
      const Wide a = MulWide(counter[0], 0xD2511F53), b = MulWide(counter[2], 0xCD9E8D57);
      counter[0] = hn::Xor(hn::Xor(b.high, counter[1]), hn::Set(d, key0));
      counter[1] = b.low;
      counter[2] = hn::Xor(hn::Xor(a.high, counter[3]), hn::Set(d, key1));
      counter[3] = a.low;
      key0 += 0x9E3779B9;
      key1 += 0xBB67AE85;
    }
    float* to = factors + lane;
    for (const VU& word : counter) {
      keep(hn::And(word, hn::Set(d, 0xFFFF)), to);
      keep(hn::ShiftRight<16>(word), to + Dropout::kGroups);
      to += 2 * Dropout::kGroups;
    }
  }
}

}  // namespace
}  // namespace ds::kernels::simd::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
