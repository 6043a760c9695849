// The products of this machine, SIMD and oneDNN where it loads, against the plain reference, and
// the same bits from Matmul whatever runs it.
#include "kernels/gemm.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/time.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "kernels/ref/ref.h"
#include "kernels/simd/simd.h"
#include "support/sanitizer.h"

namespace ds::kernels {
namespace {

// An array of either dtype.
struct Array {
  Array(DType type, int64_t n, uint32_t seed) : dtype(type), bytes(n * DTypeBytes(type)) {
    std::mt19937 engine(seed);
    std::normal_distribution<float> normal;
    for (int64_t i = 0; i < n; ++i) Set(i, normal(engine));
  }
  double At(int64_t i) const {
    return WithType(dtype, [&](auto type) {
      return static_cast<float>(reinterpret_cast<const decltype(type)*>(bytes.data())[i]);
    });
  }
  void Set(int64_t i, float value) {
    WithType(dtype, [&](auto type) {
      using T = decltype(type);
      reinterpret_cast<T*>(bytes.data())[i] = T(value);
    });
  }
  DType dtype;
  std::vector<std::byte> bytes;
};

struct Types {
  DType in, out;
};
constexpr Types kTypes[] = {{DType::kF32, DType::kF32},
                            {DType::kBF16, DType::kBF16},
                            {DType::kBF16, DType::kF32},
                            {DType::kF16, DType::kF16}};

// The whole product with rows `gap` elements longer than they need be.
GemmShape Shape(int64_t m, int64_t n, int64_t k, int variant, const Types& types, int64_t gap = 0) {
  GemmShape s{.m = m, .n = n, .k = k, .ldc = n + gap};
  s.trans_a = (variant & 1) != 0;
  s.trans_b = (variant & 2) != 0;
  s.accumulate = (variant & 4) != 0;
  s.lda = (s.trans_a ? m : k) + gap;
  s.ldb = (s.trans_b ? k : n) + gap;
  s.in = types.in;
  s.out = types.out;
  return s;
}

std::string Name(const GemmShape& s) {
  return fmt::format("{} x {} x {} trans {} {} accumulate {} in {} out {}", s.m, s.n, s.k,
                     s.trans_a, s.trans_b, s.accumulate, DTypeName(s.in), DTypeName(s.out));
}

// Operands and result of a product.
struct Problem {
  explicit Problem(const GemmShape& s)
      : shape(s),
        a(s.in, s.lda * (s.trans_a ? s.k : s.m), 1),
        b(s.in, s.ldb * (s.trans_b ? s.n : s.k), 2),
        c(s.out, s.ldc * s.m, 3) {}

  void Tile(Gemm& gemm) { gemm.Tile(shape, a.bytes.data(), b.bytes.data(), c.bytes.data()); }
  void Whole(Gemm& gemm, TaskPool& pool) {
    Matmul(gemm, pool, shape, a.bytes.data(), b.bytes.data(), c.bytes.data());
  }

  GemmShape shape;
  Array a, b, c;
};

void ExpectLikeTheReference(const Problem& start, const Problem& got) {
  Problem want = start;
  const GemmShape& s = start.shape;
  ref::GemmTile(s, want.a.bytes.data(), want.b.bytes.data(), want.c.bytes.data());
  const double rel = s.out == DType::kF32 ? 1e-6 : 1.0 / 128;
  // k roundings, each of a sum that is about sqrt(k) large: k is what they add up to by chance.
  const double abs = 2e-6 + 1.5e-7 * static_cast<double>(s.k);
  for (int64_t i = 0; i < s.m * s.ldc; ++i) {
    const double w = want.c.At(i), g = got.c.At(i);
    if (i % s.ldc >= s.n) {
      ASSERT_EQ(g, w) << Name(s) << ": wrote behind the row at " << i;
    } else {
      ASSERT_LE(std::abs(g - w), rel * std::abs(w) + abs) << Name(s) << " at " << i;
    }
  }
}

class GemmTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (std::string(GetParam()) == "simd") {
      gemm_ = CreateSimdGemm();
      return;
    }
    auto loaded = LoadOneDnnGemm();
    if (!loaded.ok()) GTEST_SKIP() << loaded.status().message();
    gemm_ = std::move(loaded).Take();
  }
  std::unique_ptr<Gemm> gemm_;
};
INSTANTIATE_TEST_SUITE_P(BackEnds, GemmTest, testing::Values("simd", "onednn"),
                         [](const auto& info) { return std::string(info.param); });

// Each part is the product of its run of the inner dimension; the bits are the same on any pool.
TEST_P(GemmTest, PartsAreProductsOfRuns) {
  constexpr int64_t kM = 70, kN = 50, kParts = 2;
  TaskPool one(1), three(3);
  for (const int64_t k : {0, 5, 16, 17, 300}) {
    for (const Types& types : kTypes) {
      for (int variant = 0; variant < 4; ++variant) {
        const Problem whole(Shape(kM, kN, k, variant, types, 5));
        const auto parts = [&](TaskPool& pool) {
          std::vector<float> c(kParts * kM * kN, NAN);
          MatmulInParts(*gemm_, pool, whole.shape, kParts, whole.a.bytes.data(),
                        whole.b.bytes.data(), c.data());
          return c;
        };
        const std::vector<float> got = parts(one);
        ASSERT_EQ(got, parts(three)) << Name(whole.shape);
        const int64_t run = simd::RoundUp(simd::CeilDiv(k, kParts), 16);
        for (int64_t part = 0; part < kParts; ++part) {
          GemmShape of = whole.shape;
          const int64_t from = std::min(part * run, k);
          of.k = std::min(run, k - from);
          of.ldc = kN;
          of.out = DType::kF32;
          const int64_t bytes = DTypeBytes(of.in);
          std::vector<float> want(kM * kN);
          ref::GemmTile(of, whole.a.bytes.data() + (of.trans_a ? from * of.lda : from) * bytes,
                        whole.b.bytes.data() + (of.trans_b ? from : from * of.ldb) * bytes,
                        want.data());
          for (int64_t i = 0; i < kM * kN; ++i) {
            ASSERT_NEAR(got[part * kM * kN + i], want[i], 1e-5 + 1e-6 * std::abs(want[i]))
                << Name(of) << " part " << part << " at " << i;
          }
        }
      }
    }
  }
}

TEST_P(GemmTest, TilesAreLikeTheReference) {
  constexpr int64_t kSizes[][3] = {{0, 5, 3},     {5, 0, 3},     {3, 4, 0},     {1, 1, 1},
                                   {7, 1, 5},     {1, 33, 17},   {6, 32, 256},  {13, 31, 257},
                                   {97, 65, 7},   {100, 3, 300}, {64, 256, 64}, {200, 129, 130},
                                   {16, 209, 300}};
  for (const auto& size : kSizes) {
    for (const Types& types : kTypes) {
      for (int variant = 0; variant < 8; ++variant) {
        for (int64_t gap : {0, 5}) {
          const Problem start(Shape(size[0], size[1], size[2], variant, types, gap));
          Problem got = start;
          got.Tile(*gemm_);
          ExpectLikeTheReference(start, got);
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

TEST_P(GemmTest, MatmulGivesTheSameBitsOnAnyPool) {
  TaskPool one(1), two(2), three(3);
  constexpr int64_t kSizes[][3] = {
      {0, 5, 3},    {1, 700, 40}, {500, 3, 40},   {300, 900, 65}, {513, 385, 130}, {40, 60, 2000},
      {1, 1, 1},    {1, 67, 999}, {2, 1301, 150}, {3, 33, 257},   {4, 600, 131},   {4, 5, 0},
      {5, 601, 70}, {6, 33, 300}, {7, 77, 999},   {8, 602, 131},  {270, 40, 512},  {257, 33, 1024}};
  for (const auto& size : kSizes) {
    for (const Types& types : kTypes) {
      for (int variant = 0; variant < 8; ++variant) {
        const bool large = size[0] * size[1] * size[2] > 1 << 22;
        if (test::kUnderAsan && large && variant % 7 != 0) continue;
        // Back ends have other ways with dense rows, and with those half a page apart.
        const int64_t gap = size[2] % 512 == 0 ? 0 : 3;
        const Problem start(Shape(size[0], size[1], size[2], variant, types, gap));
        Problem first = start;
        first.Whole(*gemm_, one);
        ExpectLikeTheReference(start, first);
        if (HasFatalFailure()) return;
        for (TaskPool* pool : {&two, &three}) {
          Problem again = start;
          again.Whole(*gemm_, *pool);
          ASSERT_EQ(again.c.bytes, first.c.bytes) << Name(start.shape);
        }
      }
    }
  }
}

TEST_P(GemmTest, CallersAtTheSameTimeDoNotDisturbEachOther) {
  TaskPool pool(2), one(1);
  for (const Types& types : kTypes) {
    const Problem start(Shape(257, 390, 140, 5, types));
    Problem want = start;
    want.Whole(*gemm_, one);
    std::vector<std::thread> threads;
    std::vector<int> wrong(2, 0);
    for (int t = 0; t < 2; ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < 20; ++i) {
          Problem got = start;
          got.Whole(*gemm_, pool);
          wrong[t] += got.c.bytes != want.c.bytes;
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(wrong[0] + wrong[1], 0) << Name(start.shape);
  }
}

std::atomic<int64_t> alarms = 0;

// A signal's frame must not land in what a product works on: generated code may have moved the
// stack pointer into its work space.
TEST_P(GemmTest, SignalsMayComeAtAnyTime) {
  struct sigaction count = {}, before = {};
  count.sa_handler = [](int) { ++alarms; };
  count.sa_flags = SA_RESTART;
  sigaction(SIGALRM, &count, &before);
  alarms = 0;
  TaskPool one(1);
  std::vector<std::pair<Problem, Problem>> problems;  // before, after
  for (int variant = 0; variant < 8; ++variant) {
    for (const auto& [m, n, k] :
         {std::array{160, 256, 24}, std::array{256, 24, 160}, std::array{24, 96, 160}}) {
      const Problem start(Shape(m, n, k, variant, kTypes[0]));
      Problem want = start;
      want.Whole(*gemm_, one);
      problems.emplace_back(start, std::move(want));
    }
  }
  const itimerval often = {{0, 50}, {0, 50}}, never = {};
  setitimer(ITIMER_REAL, &often, nullptr);
  int wrong = 0;
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(500);
  while (std::chrono::steady_clock::now() < end) {
    for (const auto& [start, want] : problems) {
      Problem got = start;
      got.Whole(*gemm_, one);
      wrong += got.c.bytes != want.c.bytes;
    }
  }
  setitimer(ITIMER_REAL, &never, nullptr);
  sigaction(SIGALRM, &before, nullptr);
  EXPECT_EQ(wrong, 0);
  EXPECT_GT(alarms, 0);
}

}  // namespace
}  // namespace ds::kernels
