// Tiled attention at every level against the plain reference: values, gradients, the same bits on
// any number of threads, and scratch linear in the sequence.
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "kernels/simd/simd.h"
#include "support/ops_rows.h"
#include "support/sanitizer.h"

namespace ds::kernels {
namespace {

using simd::Level;

// What a token sees: all before it, a window, or documents of this many tokens that follow one
// another.
enum class Sees { kAll, kWindow, kDocuments };
struct Shape {
  int64_t batch, tokens, heads, dim;
  int64_t kv_heads = 0;  // 0: heads
  Sees sees = Sees::kAll;
  int64_t span = 0;
};
constexpr Shape kShapes[] = {{0, 4, 2, 8},
                             {2, 0, 2, 8},
                             {1, 1, 1, 1},
                             {3, 1, 2, 5},
                             {2, 7, 3, 8},
                             {1, 64, 1, 4},
                             {2, 65, 1, 17},
                             {1, 100, 2, 64},
                             {1, 130, 1, 128},
                             {1, 300, 2, 3},
                             {1, 520, 1, 16},
                             {2, 70, 4, 8, 2},
                             {1, 66, 3, 16, 1},
                             {2, 40, 4, 8, 4, Sees::kWindow, 7},
                             {1, 340, 2, 8, 1, Sees::kWindow, 60},
                             {2, 90, 2, 8, 1, Sees::kDocuments, 13},
                             {1, 330, 2, 4, 2, Sees::kDocuments, 290},
                             // Few key heads, of more than one block of keys: two passes.
                             {1, 600, 2, 4, 1, Sees::kDocuments, 290},
                             {1, 513, 1, 8, 1, Sees::kDocuments, 257}};

template <typename T>
std::vector<T> Random(int64_t n, uint32_t seed, float scale) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal(0.0f, scale);
  std::vector<T> x(n);
  for (T& value : x) value = T(normal(engine));
  return x;
}

template <typename T>
std::string Bytes(const std::vector<T>& x) {
  return std::string(reinterpret_cast<const char*>(x.data()), x.size() * sizeof(T));
}

template <typename T>
struct Arrays {
  Arrays(const Shape& s, float spread)
      : shape(s),
        rows(s.batch * s.tokens),
        kernel{s.batch, s.tokens, s.heads, s.kv_heads > 0 ? s.kv_heads : s.heads, s.dim},
        qkv(Random<T>(rows * kernel.row(), 1, spread)),
        dout(Random<T>(rows * s.heads * s.dim, 2, 1.0f)),
        out(dout.size()),
        dqkv(qkv.size(), T(-7.0f)),
        lse(rows * s.heads) {
    for (int64_t row = 0; s.sees != Sees::kAll && row < rows; ++row) {
      const int64_t t = row % s.tokens;
      first.push_back(static_cast<int32_t>(
          s.sees == Sees::kWindow ? std::max<int64_t>(0, t - s.span + 1) : t / s.span * s.span));
    }
  }

  void Forward(const Ops& ops, TaskPool& pool, Gemm& gemm) {
    auto scratch = Scratch(ops, pool);
    ops.attention_forward(pool, gemm, kernel, first_key(), qkv.data(), out.data(), lse.data(),
                          Aligned(scratch));
  }
  void Backward(const Ops& ops, TaskPool& pool, Gemm& gemm) {
    auto scratch = Scratch(ops, pool);
    ops.attention_backward(pool, gemm, kernel, first_key(), qkv.data(), out.data(), lse.data(),
                           dout.data(), dqkv.data(), Aligned(scratch));
  }

  Shape shape;
  int64_t rows;
  AttentionShape kernel;
  std::vector<int32_t> first;
  std::vector<T> qkv, dout, out, dqkv;
  std::vector<float> lse;

 private:
  const int32_t* first_key() const { return first.empty() ? nullptr : first.data(); }
  // Filled with NaN: nothing may be read that was not written.
  std::vector<float> Scratch(const Ops& ops, TaskPool& pool) const {
    const int64_t bytes = ops.attention_scratch_bytes(pool, shape.tokens, shape.dim);
    return std::vector<float>(bytes / 4 + 32, std::nanf(""));
  }
  static void* Aligned(std::vector<float>& x) {
    return reinterpret_cast<void*>((reinterpret_cast<uintptr_t>(x.data()) + 63) / 64 * 64);
  }
};

template <typename T>
void ExpectNear(const std::vector<T>& got, const std::vector<T>& want, double rel, double abs,
                const char* what) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    const double g = static_cast<float>(got[i]), w = static_cast<float>(want[i]);
    ASSERT_LE(std::abs(g - w), rel * std::abs(w) + abs)
        << what << "[" << i << "]: " << g << ", reference " << w;
  }
}

template <typename T>
class AttentionTest : public testing::Test {
 protected:
  const Ops& ref_ = RefOps(DTypeOf<T>());
  const std::unique_ptr<Gemm> gemm_ = CreateSimdGemm();
  TaskPool one_{1}, three_{3};
};
using Types = testing::Types<float, BF16, F16>;
TYPED_TEST_SUITE(AttentionTest, Types);

TYPED_TEST(AttentionTest, LikeTheReference) {
  using T = TypeParam;
  // BF16: probabilities and their gradients are rounded to 2^-9 before they are summed.
  const double rel = sizeof(T) == 2 ? 1.0 / 64 : 1e-5, abs = sizeof(T) == 2 ? 0.06 : 1e-5;
  // Scores grow with the square of the spread, and with them what fp32 loses of a probability;
  // gradients of q and k multiply that by k and q.
  for (const Shape& shape : kShapes) {
    for (float spread : {4.0f, 1.0f}) {
      const bool large = shape.tokens * shape.tokens * shape.dim > 1 << 20;
      if (test::kUnderAsan && (spread == 1.0f || large)) continue;
      Arrays<T> want(shape, spread);
      want.Forward(this->ref_, this->one_, *this->gemm_);
      auto want_back = want;
      want_back.Backward(this->ref_, this->one_, *this->gemm_);
      for (Level level : {Level::kAvx512, Level::kAvx2, Level::kSse4}) {
        if (level > simd::BestLevel()) continue;
        SCOPED_TRACE(fmt::format("{} B {} T {} H {} D {} K {} span {} spread {}",
                                 simd::LevelName(level), shape.batch, shape.tokens, shape.heads,
                                 shape.dim, want.kernel.kv_heads, shape.span, spread));
        const Ops ops = At<T>(level);
        Arrays<T> got(shape, spread), again(shape, spread);
        got.Forward(ops, this->one_, *this->gemm_);
        again.Forward(ops, this->three_, *this->gemm_);
        ASSERT_EQ(Bytes(got.out), Bytes(again.out));
        ASSERT_EQ(Bytes(got.lse), Bytes(again.lse));
        ExpectNear(got.out, want.out, rel, abs * spread * spread, "out");
        ExpectNear(got.lse, want.lse, 1e-6, 1e-5 * spread * spread, "lse");
        if (this->HasFatalFailure()) return;
        // From the reference's own forward pass, so that backward is judged alone.
        Arrays<T> back = want, back_again = want;
        back.Backward(ops, this->one_, *this->gemm_);
        back_again.Backward(ops, this->three_, *this->gemm_);
        ASSERT_EQ(Bytes(back.dqkv), Bytes(back_again.dqkv));
        ExpectNear(back.dqkv, want_back.dqkv, rel, abs * spread * spread * spread, "dqkv");
        if (this->HasFatalFailure()) return;
      }
    }
  }
}

TYPED_TEST(AttentionTest, WithDropoutLikeTheReference) {
  using T = TypeParam;
  const double rel = sizeof(T) == 2 ? 1.0 / 64 : 1e-5, abs = sizeof(T) == 2 ? 0.06 : 1e-5;
  for (const Shape& shape : {Shape{2, 65, 2, 17},
                             {1, 300, 2, 3},
                             {2, 70, 4, 8, 2},
                             {2, 40, 4, 8, 4, Sees::kWindow, 7},
                             {1, 330, 2, 4, 2, Sees::kDocuments, 290},
                             {1, 300, 3, 8, 1}}) {
    Arrays<T> want(shape, 1.0f);
    want.kernel.dropout = Dropout(0.25, 5, 6, 7 * shape.heads * shape.tokens);
    Arrays<T> whole(shape, 1.0f);
    want.Forward(this->ref_, this->one_, *this->gemm_);
    whole.Forward(this->ref_, this->one_, *this->gemm_);
    EXPECT_NE(Bytes(want.out), Bytes(whole.out));
    EXPECT_EQ(Bytes(want.lse), Bytes(whole.lse));
    auto want_back = want;
    want_back.Backward(this->ref_, this->one_, *this->gemm_);
    for (Level level : {Level::kAvx512, Level::kAvx2, Level::kSse4}) {
      if (level > simd::BestLevel()) continue;
      SCOPED_TRACE(fmt::format("{} T {} H {}", simd::LevelName(level), shape.tokens, shape.heads));
      const Ops ops = At<T>(level);
      Arrays<T> got = want, again = want;
      got.Forward(ops, this->one_, *this->gemm_);
      again.Forward(ops, this->three_, *this->gemm_);
      ASSERT_EQ(Bytes(got.out), Bytes(again.out));
      ExpectNear(got.out, want.out, rel, abs, "out");
      Arrays<T> back = want, back_again = want;
      back.Backward(ops, this->one_, *this->gemm_);
      back_again.Backward(ops, this->three_, *this->gemm_);
      ASSERT_EQ(Bytes(back.dqkv), Bytes(back_again.dqkv));
      ExpectNear(back.dqkv, want_back.dqkv, rel, abs, "dqkv");
      if (this->HasFatalFailure()) return;
    }
  }
}

// The last token of a sequence, by its own query and a cache of the keys and values of all, as the
// reference has it in the whole sequence.
TYPED_TEST(AttentionTest, CachedLikeTheLastRowOfTheReference) {
  using T = TypeParam;
  const double rel = sizeof(T) == 2 ? 1.0 / 64 : 1e-5, abs = sizeof(T) == 2 ? 0.06 : 1e-5;
  for (const Shape& shape : {Shape{1, 1, 1, 1},
                             {1, 2, 2, 5},
                             {1, 7, 3, 8},
                             {1, 65, 1, 17},
                             {1, 70, 2, 64},
                             {1, 30, 1, 128},
                             {1, 70, 4, 80, 2},
                             {1, 66, 6, 16, 2},
                             {1, 90, 4, 48, 2, Sees::kWindow, 7},
                             {1, 150, 2, 20, 1, Sees::kWindow, 61}}) {
    Arrays<T> want(shape, 1.0f);
    want.Forward(this->ref_, this->one_, *this->gemm_);
    const int64_t width = shape.heads * shape.dim, key_width = want.kernel.kv_heads * shape.dim;
    std::vector<T> keys, values;
    for (int64_t t = 0; t < shape.tokens; ++t) {
      const auto key = want.qkv.begin() + t * want.kernel.row() + width;
      keys.insert(keys.end(), key, key + key_width);
      values.insert(values.end(), key + key_width, key + 2 * key_width);
    }
    const std::vector<T> row(want.out.end() - width, want.out.end());
    const int64_t first = want.first.empty() ? 0 : want.first.back();
    const auto cached = [&](const Ops& ops, TaskPool& pool) {
      std::vector<T> out(width, T(-7.0f));
      std::vector<float> scores(shape.heads * shape.tokens, std::nanf(""));
      ops.attention_cached(pool, want.kernel, first, shape.tokens,
                           want.qkv.data() + (shape.tokens - 1) * want.kernel.row(), keys.data(),
                           values.data(), scores.data(), out.data());
      return out;
    };
    ExpectNear(cached(this->ref_, this->one_), row, 1e-6, 1e-6, "of the reference");
    for (Level level : {Level::kAvx512, Level::kAvx2, Level::kSse4}) {
      if (level > simd::BestLevel()) continue;
      SCOPED_TRACE(fmt::format("{} T {} H {} D {}", simd::LevelName(level), shape.tokens,
                               shape.heads, shape.dim));
      const std::vector<T> got = cached(At<T>(level), this->one_);
      ASSERT_EQ(Bytes(got), Bytes(cached(At<T>(level), this->three_)));
      ExpectNear(got, row, rel, abs, "out");
      if (this->HasFatalFailure()) return;
    }
  }
}

TYPED_TEST(AttentionTest, SurvivesScoresThatOverflowAnExponential) {
  using T = TypeParam;
  for (const float spread : {100.0f, 1e5f}) {
    if (spread > 1e4f && std::is_same_v<T, F16>) continue;  // it has no such numbers
    Arrays<T> x({1, 300, 1, 4}, spread);
    for (Level level : {Level::kAvx512, Level::kAvx2, Level::kSse4}) {
      if (level > simd::BestLevel()) continue;
      const Ops ops = At<T>(level);
      x.Forward(ops, this->three_, *this->gemm_);
      x.Backward(ops, this->three_, *this->gemm_);
      for (T value : x.out) ASSERT_TRUE(std::isfinite(static_cast<float>(value)));
      for (T value : x.dqkv) ASSERT_TRUE(std::isfinite(static_cast<float>(value)));
    }
  }
}

// The largest score has weight 1 to the bit, also where the distance of scores is far more than
// what rounding a product of them loses.
TYPED_TEST(AttentionTest, TheLargestOfScoresFarApartHasAllTheWeight) {
  using T = TypeParam;
  std::mt19937 engine(3);
  for (Level level : {Level::kAvx512, Level::kAvx2, Level::kSse4}) {
    if (level > simd::BestLevel()) continue;
    const Ops ops = At<T>(level);
    for (int i = 0; i < 500; ++i) {
      const float most = std::is_same_v<T, F16> ? 15.0f : 60.0f;
      const float size = std::exp2(std::uniform_real_distribution<float>(5.0f, most)(engine));
      // Two tokens with one head of one element: queries, then keys of either sign, then values.
      Arrays<T> x({1, 2, 1, 1}, 1.0f);
      const T q = T(size), k = T(size), v[2] = {T(3.0f), T(5.0f)};
      x.qkv = {q, k, v[0], q, T(-size), v[1]};
      x.Forward(ops, this->one_, *this->gemm_);
      ASSERT_EQ(Bytes(x.out), Bytes(std::vector<T>{v[0], v[0]})) << size;
      const std::vector<T> keys = {k, T(-size)}, values = {v[0], v[1]};
      std::vector<float> scores(2);
      T out;
      ops.attention_cached(this->one_, x.kernel, 0, 2, &q, keys.data(), values.data(),
                           scores.data(), &out);
      ASSERT_EQ(static_cast<float>(out), 3.0f) << size;
    }
  }
}

TYPED_TEST(AttentionTest, ScratchIsLinearInTheSequence) {
  const Ops& ops = BestOps(DTypeOf<TypeParam>());
  const auto bytes = [&](int64_t tokens) {
    return ops.attention_scratch_bytes(this->one_, tokens, 64);
  };
  EXPECT_LE(bytes(100000), 100 * bytes(1000));
  EXPECT_EQ(ops.attention_scratch_bytes(this->three_, 1000, 64), 3 * bytes(1000));
}

}  // namespace
}  // namespace ds::kernels
