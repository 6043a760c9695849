// The library's side of libdeepspeed_onednn.so.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "base/library.h"
#include "kernels/gemm.h"
#include "kernels/onednn_module.h"
#include "kernels/simd/level.h"
#include "kernels/simd/simd.h"
#include "kernels/simd/transpose.h"

namespace ds::kernels {
namespace {

constexpr char kModule[] = "libdeepspeed_onednn.so";

struct ShapeHash {
  size_t operator()(const GemmShape& s) const {
    uint64_t hash = 1469598103934665603ull;
    const auto mix = [&](uint64_t value) { hash = (hash ^ value) * 1099511628211ull; };
    mix(s.m), mix(s.n), mix(s.k), mix(s.lda), mix(s.ldb), mix(s.ldc);
    mix(s.trans_a | s.trans_b << 1 | s.accumulate << 2 | static_cast<int>(s.in) << 3 |
        static_cast<int>(s.out) << 6);
    return hash ^ hash >> 29;
  }
};
using Primitives = std::unordered_map<GemmShape, void*, ShapeHash>;

// Rows a multiple of half a page apart: read across, they meet in a few sets of the cache.
bool MeetInFewSets(int64_t stride, DType dtype) {
  return stride * static_cast<int64_t>(DTypeBytes(dtype)) % 2048 == 0;
}

// Whether the product inside the library is faster than oneDNN's. Without AVX-512 oneDNN reads both
// operands where they lie. One whose rows run along n or m it reads across its rows, which is slow
// where they meet in few sets (35 to 45 GFLOP/s where 90 can be had, Zen 3), and slower than
// packing it when the sum is long.
bool IsForSimd(const GemmShape& s) {
  constexpr int64_t kLeastRows = 4, kLongSum = 512, kWide = 128;
  static const bool reads_in_place = simd::BestLevel() < simd::Level::kAvx512;
  if (!reads_in_place || s.in != DType::kF32 || s.m < kLeastRows) return false;
  if (!s.trans_b && MeetInFewSets(s.ldb, s.in)) return true;
  return s.trans_a && (MeetInFewSets(s.lda, s.in) || (s.k >= kLongSum && s.n >= kWide));
}

// Whether a transposed B is turned here, slice by slice, for the product that reads B where it
// lies. oneDNN's own way with one takes about as long from 384 rows on, a tenth longer at 256, and
// with 16 to 128 rows 1.2 to 2 times as long, 4 times where the rows of B meet in few sets (AVX-512
// of a Zen 4). With fewer rows turning does not pay.
bool IsTurned(const GemmShape& s) {
  constexpr int64_t kLeastRows = 16;
  return simd::BestLevel() >= simd::Level::kAvx512 && s.in == DType::kF32 && s.out == DType::kF32 &&
         s.trans_b && !s.trans_a && s.m >= kLeastRows;
}

// A slice of B: it fits the second-level cache beside the rows of A and C that go with it. In whole
// lines of the cache: the product is a tenth slower on one that begins between two.
constexpr int64_t kTurnedColumns = 192, kTurnedElements = 256 * kTurnedColumns;
struct alignas(64) CacheLine {
  float values[16];
};

// Whether oneDNN is slow to transpose a slice of B, and has a product that packs all of it well: of
// dense matrices.
bool PacksSlowly(const GemmShape& s) {
  constexpr int64_t kLeastRows = 256;
  if (simd::BestLevel() < simd::Level::kAvx512 || !s.trans_b || s.trans_a) return false;
  const bool dense = s.lda == s.k && s.ldb == s.k && s.ldc == s.n;
  return dense && s.m >= kLeastRows && MeetInFewSets(s.ldb, s.in);
}

// Primitives live as long as the process: they hold compiled code, and few shapes occur. A thread
// finds its own without a lock.
class OneDnnGemm final : public Gemm {
 public:
  explicit OneDnnGemm(const ds_onednn_module& module) : module_(module) {}
  const char* name() const override { return "onednn"; }
  std::string description() const override { return module_.describe(); }
  Cut BestCut(const GemmShape& s) const override {
    if (IsForSimd(s)) return Fallback().BestCut(s);
    const bool wide = s.in == DType::kF32 && s.out == DType::kF32;
    if (wide && !s.trans_b) return Cut::kRowsFirst;
    const bool whole = IsTurned(s) ? s.n <= kTurnedColumns : PacksSlowly(s);
    return whole ? Cut::kRows : Cut::kColumnsFirst;
  }

  void Tile(const GemmShape& shape, const void* a, const void* b, void* c) override {
    if (shape.m == 0 || shape.n == 0) return;  // oneDNN 2.6 divides by them
    if (IsTurned(shape) && shape.k > 0) {
      return TurnedTile(shape, static_cast<const float*>(a), static_cast<const float*>(b),
                        static_cast<float*>(c));
    }
    AsItLies(shape, a, b, c);
  }

 private:
  void AsItLies(const GemmShape& shape, const void* a, const void* b, void* c) {
    void* primitive = shape.k > 0 && !IsForSimd(shape) ? Find(shape) : nullptr;
    if (primitive == nullptr || module_.run(primitive, a, b, c) != 0) {
      Fallback().Tile(shape, a, b, c);
    }
  }

  void TurnedTile(const GemmShape& s, const float* a, const float* b, float* c) {
    thread_local const auto lines = std::make_unique<CacheLine[]>(kTurnedElements / 16);
    float* const slice = lines[0].values;
    GemmShape of = s;
    of.trans_b = false;
    for (int64_t column = 0; column < s.n; column += kTurnedColumns) {
      of.n = std::min(kTurnedColumns, s.n - column);
      of.ldb = simd::RoundUp(of.n, 16);
      const int64_t depth = kTurnedElements / of.ldb / 16 * 16;
      for (int64_t k = 0; k < s.k; k += depth) {
        of.k = std::min(depth, s.k - k);
        of.accumulate = s.accumulate || k > 0;
        simd::Transpose()(of.n, of.k, b + column * s.ldb + k, s.ldb, slice, of.ldb);
        AsItLies(of, a + k, slice, c + column);
      }
    }
  }

  void* Find(const GemmShape& shape) {
    thread_local Primitives mine;
    if (const auto it = mine.find(shape); it != mine.end()) return it->second;
    static std::mutex mutex;
    static Primitives& all = *new Primitives;  // not freed: threads may outlive what is static
    const std::lock_guard lock(mutex);
    const auto [it, made] = all.try_emplace(shape, nullptr);
    if (made) it->second = Create(shape);
    return mine[shape] = it->second;
  }

  void* Create(const GemmShape& s) const {
    if (s.in == DType::kF16 || s.out == DType::kF16) return nullptr;  // not on a CPU
    const ds_onednn_shape shape = {s.m,
                                   s.n,
                                   s.k,
                                   s.lda,
                                   s.ldb,
                                   s.ldc,
                                   s.trans_a,
                                   s.trans_b,
                                   s.accumulate,
                                   static_cast<int32_t>(s.in),
                                   static_cast<int32_t>(s.out)};
    const char* why = nullptr;
    return module_.create(&shape, &why);
  }

  // For what oneDNN does not take, an empty sum or a shape it refuses on this machine, and for what
  // it is slow at.
  static Gemm& Fallback() {
    static const std::unique_ptr<Gemm> simd = CreateSimdGemm();
    return *simd;
  }

  const ds_onednn_module& module_;
};

Result<const ds_onednn_module*> Load() {
  DS_ASSIGN(void* handle, LoadModule(kModule));
  DS_ASSIGN(void* entry, FindSymbol(handle, kModule, DS_ONEDNN_ENTRY));
  const ds_onednn_module* module = reinterpret_cast<ds_onednn_entry_fn>(entry)();
  if (module->version != DS_ONEDNN_MODULE_VERSION) {
    return Error(Code::kUnsupported, "{} has interface version {}, expected {}", kModule,
                 module->version, DS_ONEDNN_MODULE_VERSION);
  }
  return module;
}

}  // namespace

Result<std::unique_ptr<Gemm>> LoadOneDnnGemm() {
  static Result<const ds_onednn_module*> loaded = Load();
  if (!loaded.ok()) return loaded.status();
  return std::unique_ptr<Gemm>(std::make_unique<OneDnnGemm>(**loaded));
}

}  // namespace ds::kernels
