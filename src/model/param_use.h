// Parameters as the layers of a model use them: what each is, how it starts, and its weights while
// they are acquired.
#pragma once

#include <span>
#include <string>
#include <utility>
#include <vector>

#include "device/lane.h"
#include "kernels/gemm.h"
#include "kernels/ops.h"
#include "param/param.h"

namespace ds::model {

// How a fresh parameter is filled.
struct InitRule {
  enum class Kind { kZeros, kOnes, kNormal, kUniform };
  Kind kind = Kind::kZeros;
  float spread = 0;  // the standard deviation of kNormal, the largest value of kUniform; mean 0
};

// How the weights of a product lie in memory and in the file.
enum class WeightLayout {
  kInOut,  // [in, out], GPT-2's Conv1D
  kOutIn,  // [out, in], the others' Linear
};

struct LowRank;

struct Param {
  ParamSpec spec;
  InitRule init;
  ParamId id = -1;                   // set at registration
  const void* data = nullptr;        // the full weights, while acquired
  const LowRank* adapter = nullptr;  // what is trained beside these weights
};

// An adapter: scale b a, [out, in], is added to the weights it belongs to.
struct LowRank {
  const Param *a = nullptr, *b = nullptr;  // [rank, in] [out, rank]
  float scale = 1;
  WeightLayout layout = WeightLayout::kOutIn;  // of the weights
};

using ParamList = std::span<Param* const>;

// What the arithmetic runs on. All outlive the model.
struct Compute {
  ParamStore& store;
  const device::Lane lane;
  kernels::Gemm& gemm;
  const kernels::Ops& ops;  // the row of store.dtype()
  const kernels::Ops& wide = kernels::BestOps(DType::kF32);

  // `elements` of the dtype further on.
  void* at(void* base, int64_t elements) const {
    return static_cast<std::byte*>(base) + elements * static_cast<int64_t>(DTypeBytes(ops.dtype));
  }
};

// Of a frozen parameter there is no gradient: its view has no data, and nothing is ended.
inline Result<GradView> BeginGrad(ParamStore& store, const Param& param) {
  if (!param.spec.trainable) return GradView{};
  return store.BeginGrad(param.id);
}
inline Status EndGrad(ParamStore& store, const Param& param) {
  return param.spec.trainable ? store.EndGrad(param.id) : Status();
}

// Holds a unit's parameters acquired, all or none; given back by Release, or on leaving a scope
// with an error.
class Acquired {
 public:
  Acquired(ParamStore& store, ParamList params) : store_(store), params_(params) {}
  Acquired(const Acquired&) = delete;
  Acquired& operator=(const Acquired&) = delete;
  ~Acquired() { (void)Release(); }

  Status Acquire();
  Status Release();  // the first failure, when all were tried

 private:
  ParamStore& store_;
  const ParamList params_;
  size_t held_ = 0;
};

}  // namespace ds::model
