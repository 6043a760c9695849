#include <time.h>
#include "ratio.h"
#include "rig.h"
using namespace ds;
using namespace ds::bench;
template <typename B>
double Cpu(B&& b) {
  auto now = [] {
    timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
  };
  double s = now();
  b();
  return now() - s;
}
int main() {
  auto best = BestGemm();
  TaskPool pool(1);
  struct S {
    int64_t m, n, k;
    bool ta, tb;
    int64_t lda, ldb, ldc;
    bool f32out, tile;
  };
  for (DType dt : {DType::kF32, DType::kBF16}) {
    Array a(pool, dt, 4 << 20), b(pool, dt, 4 << 20), c(pool, DType::kF32, 4 << 20);
    for (S s :
         {S{1024, 1024, 1024, 0, 0, 0, 0, 0, 0, 0},   S{2048, 2048, 2048, 0, 0, 0, 0, 0, 0, 0},
          S{2048, 1152, 384, 0, 0, 0, 0, 0, 0, 0},    {2048, 384, 384, 0, 0, 0, 0, 0, 0, 0},
          {2048, 1536, 384, 0, 0, 0, 0, 0, 0, 0},     {2048, 384, 1536, 0, 0, 0, 0, 0, 0, 0},
          {2048, 384, 1152, 0, 1, 0, 0, 0, 0, 0},     {2048, 384, 384, 0, 1, 0, 0, 0, 0, 0},
          {2048, 1536, 384, 0, 1, 0, 0, 0, 0, 0},     {2048, 384, 1536, 0, 1, 0, 0, 0, 0, 0},
          {384, 1152, 2048, 1, 0, 0, 0, 0, 0, 0},     {384, 384, 2048, 1, 0, 0, 0, 0, 0, 0},
          {384, 1536, 2048, 1, 0, 0, 0, 0, 0, 0},     {1536, 384, 2048, 1, 0, 0, 0, 0, 0, 0},
          {2048, 256, 384, 0, 1, 0, 0, 0, 0, 0},      {256, 384, 2048, 1, 0, 0, 0, 0, 0, 0},
          {64, 64, 64, 0, 1, 1152, 1152, 256, 1, 1},  {64, 128, 64, 0, 1, 1152, 1152, 256, 1, 1},
          {64, 256, 64, 0, 1, 1152, 1152, 256, 1, 1}, {128, 256, 64, 0, 1, 1152, 1152, 256, 1, 1},
          {64, 64, 128, 0, 0, 256, 1152, 64, 1, 1},   {64, 64, 256, 0, 0, 256, 1152, 64, 1, 1},
          {128, 64, 256, 0, 0, 256, 1152, 64, 1, 1},  {128, 64, 64, 1, 0, 256, 1152, 64, 1, 1},
          {256, 64, 64, 1, 0, 256, 1152, 64, 1, 1},   {256, 64, 128, 1, 0, 256, 1152, 64, 1, 1}}) {
      kernels::GemmShape g{.m = s.m,
                           .n = s.n,
                           .k = s.k,
                           .lda = s.lda ? s.lda : (s.ta ? s.m : s.k),
                           .ldb = s.ldb ? s.ldb : (s.tb ? s.k : s.n),
                           .ldc = s.ldc ? s.ldc : s.n,
                           .trans_a = s.ta,
                           .trans_b = s.tb,
                           .in = dt,
                           .out = s.f32out ? DType::kF32 : dt};
      if (s.tile && s.ta) g.accumulate = true;
      auto run = [&] {
        if (s.tile)
          best->Tile(g, a.data(), b.data(), c.data());
        else
          Matmul(*best, pool, g, a.data(), b.data(), c.data());
      };
      run();
      double fl = 2.0 * s.m * s.n * s.k;
      int reps = std::max(1.0, 1.5e9 / fl);
      std::vector<double> r;
      for (int i = 0; i < 7; ++i)
        r.push_back(fl * reps / Cpu([&] {
                      for (int j = 0; j < reps; ++j) run();
                    }) /
                    1e9);
      std::printf("%s %5ld %5ld %5ld %d%d %.0f\n", DTypeName(dt), s.m, s.n, s.k, s.ta, s.tb,
                  Median(r));
    }
  }
}
