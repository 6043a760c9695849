#include "kernels/simd/simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/simd/update.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/simd/vec-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ds::kernels::simd::HWY_NAMESPACE {
namespace {

HWY_INLINE VF All(double value) { return hn::Set(F32(), static_cast<float>(value)); }

// A vector of a state array: read and written where it lies, whole or its first n elements.
struct Whole {
  HWY_INLINE VF Get() const { return LoadV(at); }
  HWY_INLINE void Set(VF v) const { StoreV(v, at); }
  float* at;
};
struct Part {
  HWY_INLINE VF Get() const { return LoadPart(at, n); }
  HWY_INLINE void Set(VF v) const { StorePart(v, at, n); }
  float* at;
  int64_t n;
};

// p = step.Run(g, p, states...) over n elements.
template <typename T, typename Step, typename... States>
HWY_INLINE void UpdateRange(int64_t n, const Step& step, const T* grad, float* master, T* weights,
                            States*... states) {
  const bool apart = static_cast<void*>(weights) != static_cast<void*>(master);
  ForVectors(
      n,
      [&](int64_t i) HWY_ATTR {
        const VF p = step.Run(LoadV(grad + i), LoadV(master + i), Whole{states + i}...);
        StoreV(p, master + i);
        if (apart) StoreV(p, weights + i);
      },
      [&](int64_t i, int64_t count) HWY_ATTR {
        const VF p = step.Run(LoadPart(grad + i, count), LoadPart(master + i, count),
                              Part{states + i, count}...);
        StorePart(p, master + i, count);
        if (apart) StorePart(p, weights + i, count);
      });
}

// The same over tiles; the vectors of a Step are made anew on each thread, from `Scalars`.
template <typename T, typename Step, typename Scalars, typename... States>
HWY_INLINE void Update(TaskPool& pool, int64_t n, const Scalars& scalars, const void* grad,
                       float* master, void* weights, States*... states) {
  ForTiles(pool, n, [&](int64_t i, int64_t count) HWY_ATTR {
    UpdateRange(count, Step(scalars), static_cast<const T*>(grad) + i, master + i,
                static_cast<T*>(weights) + i, (states + i)...);
  });
}

// kernels/ops.h, LionScalars.
struct LionStep {
  explicit LionStep(const LionScalars& s)
      : scale(All(s.grad_scale)),
        beta1(All(s.beta1)),
        beta2(All(s.beta2)),
        rest1(All(1.0 - s.beta1)),
        rest2(All(1.0 - s.beta2)),
        lr(All(s.lr)),
        keep(All(1.0 - static_cast<double>(s.lr) * s.weight_decay)) {}

  template <typename Cell>
  HWY_INLINE VF Run(VF g, VF p, Cell m) const {
    g = g * scale;
    const VF before = m.Get();
    const VF c = hn::MulAdd(beta1, before, rest1 * g);
    m.Set(hn::MulAdd(beta2, before, rest2 * g));
    return hn::MulSub(p, keep, hn::CopySign(lr, c));
  }

  VF scale, beta1, beta2, rest1, rest2, lr, keep;
};

template <typename T>
void Lion(TaskPool& pool, int64_t n, const LionScalars& scalars, const void* grad, float* master,
          float* m, void* weights) {
  Update<T, LionStep>(pool, n, scalars, grad, master, weights, m);
}

// kernels/ops.h, AdagradScalars.
struct AdagradStep {
  explicit AdagradStep(const AdagradScalars& s)
      : scale(All(s.grad_scale)), lr(All(s.lr)), eps(All(s.eps)), decay(All(s.weight_decay)) {}

  template <typename Cell>
  HWY_INLINE VF Run(VF g, VF p, Cell sum) const {
    g = hn::MulAdd(decay, p, g * scale);
    const VF squares = hn::MulAdd(g, g, sum.Get());
    sum.Set(squares);
    return hn::NegMulAdd(lr, g / (hn::Sqrt(squares) + eps), p);
  }

  VF scale, lr, eps, decay;
};

template <typename T>
void Adagrad(TaskPool& pool, int64_t n, const AdagradScalars& scalars, const void* grad,
             float* master, float* sum, void* weights) {
  Update<T, AdagradStep>(pool, n, scalars, grad, master, weights, sum);
}

// kernels/ops.h, SgdScalars.
struct SgdStep {
  explicit SgdStep(const SgdScalars& s)
      : scale(All(s.grad_scale)),
        lr(All(s.lr)),
        decay(All(s.weight_decay)),
        momentum(All(s.momentum)),
        rest(All(1.0 - s.dampening)),
        nesterov(s.nesterov),
        first(s.first) {}

  HWY_INLINE VF Run(VF g, VF p) const {
    return hn::NegMulAdd(lr, hn::MulAdd(decay, p, g * scale), p);
  }
  template <typename Cell>
  HWY_INLINE VF Run(VF g, VF p, Cell buffer) const {
    g = hn::MulAdd(decay, p, g * scale);
    const VF moved = first ? g : hn::MulAdd(momentum, buffer.Get(), rest * g);
    buffer.Set(moved);
    return hn::NegMulAdd(lr, nesterov ? hn::MulAdd(momentum, moved, g) : moved, p);
  }

  VF scale, lr, decay, momentum, rest;
  bool nesterov, first;
};

template <typename T>
void Sgd(TaskPool& pool, int64_t n, const SgdScalars& scalars, const void* grad, float* master,
         float* buffer, void* weights) {
  if (scalars.momentum == 0) {
    Update<T, SgdStep>(pool, n, scalars, grad, master, weights);
  } else {
    Update<T, SgdStep>(pool, n, scalars, grad, master, weights, buffer);
  }
}

// A sum of squares in double; the square of an fp32 is exact there.
struct Squares {
  using F64 = hn::ScalableTag<double>;
  // Written out: an implicit constructor would not be compiled for the target.
  Squares() : low(hn::Zero(F64())), high(hn::Zero(F64())) {}
  HWY_INLINE void Add(VF v) {
    const auto a = hn::PromoteTo(F64(), hn::LowerHalf(v));
    const auto b = hn::PromoteTo(F64(), hn::UpperHalf(hn::Half<F32>(), v));
    low = hn::MulAdd(a, a, low);
    high = hn::MulAdd(b, b, high);
  }
  HWY_INLINE double Sum() const { return hn::GetLane(hn::SumOfLanes(F64(), low + high)); }

  hn::Vec<F64> low, high;
};

// kernels/ops.h, LambScalars. Both passes call Direction, so both see the same bits.
struct LambStep {
  explicit LambStep(const LambScalars& s)
      : scale(All(s.grad_scale)),
        beta1(All(s.beta1)),
        beta2(All(s.beta2)),
        rest1(All(1.0 - s.beta1)),
        rest2(All(1.0 - s.beta2)),
        eps(All(s.eps)),
        decay(All(s.weight_decay)),
        inside(s.eps_inside_sqrt) {}

  HWY_INLINE VF Direction(VF p, VF m, VF v) const {
    const VF denominator = inside ? hn::Sqrt(v + eps) : hn::Sqrt(v) + eps;
    return hn::MulAdd(decay, p, m / denominator);
  }
  template <typename Cell>
  HWY_INLINE VF Moments(VF g, VF p, Cell m, Cell v) const {
    g = g * scale;
    const VF mean = hn::MulAdd(beta1, m.Get(), rest1 * g);
    const VF square = hn::MulAdd(beta2, v.Get(), rest2 * g * g);
    m.Set(mean);
    v.Set(square);
    return Direction(p, mean, square);
  }

  VF scale, beta1, beta2, rest1, rest2, eps, decay;
  bool inside;
};

template <typename T>
HWY_INLINE LambSums LambTile(int64_t n, const LambStep& step, const T* grad, const float* master,
                             float* m, float* v) {
  Squares weights, directions;
  ForVectors(
      n,
      [&](int64_t i) HWY_ATTR {
        const VF p = LoadV(master + i);
        weights.Add(p);
        directions.Add(step.Moments(LoadV(grad + i), p, Whole{m + i}, Whole{v + i}));
      },
      [&](int64_t i, int64_t count) HWY_ATTR {
        const VF p = LoadPart(master + i, count);
        weights.Add(p);
        VF u = step.Moments(LoadPart(grad + i, count), p, Part{m + i, count}, Part{v + i, count});
        // Beyond the end everything is 0, and 0 / 0 where eps is.
        u = hn::IfThenElseZero(hn::FirstN(F32(), count), u);
        directions.Add(u);
      });
  return {weights.Sum(), directions.Sum()};
}

template <typename T>
void LambMoments(TaskPool& pool, int64_t n, const LambScalars& scalars, const void* grad,
                 const float* master, float* m, float* v, LambSums* result) {
  constexpr int64_t kParts = 256;  // their sums lie on the stack
  LambSums sums[kParts];
  const int64_t step = std::max<int64_t>(1, CeilDiv(CeilDiv(n, kTile), kParts)) * kTile;
  const int64_t parts = CeilDiv(n, step);
  pool.Run(parts, [&](int64_t part, int) HWY_ATTR {
    const int64_t end = std::min(n, (part + 1) * step);
    LambSums sum;
    for (int64_t i = part * step; i < end; i += kTile) {
      const LambSums tile = LambTile(std::min(kTile, end - i), LambStep(scalars),
                                     static_cast<const T*>(grad) + i, master + i, m + i, v + i);
      sum.weights += tile.weights;
      sum.direction += tile.direction;
    }
    sums[part] = sum;
  });
  LambSums sum;
  for (int64_t part = 0; part < parts; ++part) {
    sum.weights += sums[part].weights;
    sum.direction += sums[part].direction;
  }
  *result = sum;
}

// out = op(in...) over tiles; the master and, where it is another array, the weights.
template <typename T, typename Op, typename... In>
HWY_INLINE void StepTiles(TaskPool& pool, int64_t n, float* master, void* weights, const Op& op,
                          const In*... in) {
  ForTiles(pool, n, [&](int64_t i, int64_t count) HWY_ATTR {
    Map(count, master + i, op, master + i, (in + i)...);
    if (weights == static_cast<void*>(master)) return;
    Map(
        count, static_cast<T*>(weights) + i, [](VF p) HWY_ATTR { return p; }, master + i);
  });
}

template <typename T>
void LambApply(TaskPool& pool, int64_t n, const LambScalars& scalars, float step, float* master,
               const float* m, const float* v, void* weights) {
  StepTiles<T>(
      pool, n, master, weights,
      [&](VF p, VF mean, VF square) HWY_ATTR {
        return hn::NegMulAdd(All(step), LambStep(scalars).Direction(p, mean, square), p);
      },
      m, v);
}

template <typename T>
void MuonDirection(TaskPool& pool, int64_t n, const MuonScalars& s, const void* grad,
                   float* momentum, float* direction) {
  const auto moved = [&](VF g, VF m) HWY_ATTR {
    return hn::MulAdd(All(1.0 - s.beta), g * All(s.grad_scale) - m, m);
  };
  const auto ahead = [&](VF g, VF m) HWY_ATTR {  // Nesterov
    return hn::NegMulAdd(m - g * All(s.grad_scale), All(1.0 - s.beta), m);
  };
  ForTiles(pool, n, [&](int64_t i, int64_t count) HWY_ATTR {
    const T* g = static_cast<const T*>(grad) + i;
    Map(count, momentum + i, moved, g, momentum + i);
    if (s.nesterov) {
      Map(count, direction + i, ahead, g, momentum + i);
    } else {
      std::copy_n(momentum + i, count, direction + i);
    }
  });
}

template <typename T>
void DecayAndStep(TaskPool& pool, int64_t n, float lr, float weight_decay, float step,
                  const float* direction, float* master, void* weights) {
  const double keep = 1.0 - static_cast<double>(lr) * weight_decay;
  StepTiles<T>(
      pool, n, master, weights,
      [&](VF p, VF u) HWY_ATTR { return hn::NegMulAdd(All(step), u, p * All(keep)); }, direction);
}

void Combine(TaskPool& pool, int64_t n, float a, const float* x, float b, const float* y,
             float* out) {
  ForTiles(pool, n, [&](int64_t i, int64_t count) HWY_ATTR {
    Map(
        count, out + i, [&](VF u, VF v) HWY_ATTR { return hn::MulAdd(All(a), u, All(b) * v); },
        x + i, y + i);
  });
}

template <typename T>
void FillRow(Ops& ops) {
  ops.lion = Lion<T>;
  ops.adagrad = Adagrad<T>;
  ops.sgd = Sgd<T>;
  ops.lamb_moments = LambMoments<T>;
  ops.lamb_apply = LambApply<T>;
  ops.muon_direction = MuonDirection<T>;
  ops.decay_and_step = DecayAndStep<T>;
  ops.combine = Combine;
}

}  // namespace

void UpdateRows(Rows& rows) {
  FillRow<float>(rows.f32);
  FillRow<BF16>(rows.bf16);
  FillRow<F16>(rows.f16);
}

}  // namespace ds::kernels::simd::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ds::kernels::simd {

void FillUpdate(Level level, Rows& rows) {
  ChooseAt<FillFn>(level, FillNothing, DS_SIMD_TARGETS(simd, UpdateRows))(rows);
}

}  // namespace ds::kernels::simd
#endif
