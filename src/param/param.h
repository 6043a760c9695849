// What a parameter is, and what a layer may do with one. No policy lives here: who shards, gathers
// and reduces implements ParamStore (zero); who computes calls it (model).
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "tensor/dtype.h"

namespace ds {

using ParamId = int32_t;

// Said once, at registration, alike on every rank.
struct ParamSpec {
  std::string name;            // unique in its engine: "h.0.attn.c_attn.weight"
  std::vector<int64_t> shape;  // row-major; {} is a scalar
  std::string unit;            // parameters of one unit travel together; "" lets the engine group
  bool weight_decay = true;    // false: this parameter is not decayed
  bool trainable = true;       // false: frozen, it has weights and no gradient
  bool auxiliary = false;      // true: the optimizer's other rule serves it (Muon: its AdamW)
  int group = 0;               // whose hyper-parameters hold for it
  std::string expert_group = {};  // "": dense; else the experts that it belongs to

  int64_t numel() const {
    int64_t n = 1;
    for (const int64_t extent : shape) n *= extent;
    return n;
  }
};

// The gradient buffer of one parameter, written in place by who computes it.
struct GradView {
  void* data = nullptr;     // numel elements of the store's dtype
  bool accumulate = false;  // true: add to what is there; false: overwrite all of it
};

class ParamStore {
 public:
  virtual ~ParamStore() = default;

  virtual DType dtype() const = 0;  // of weights and gradients
  // False: the initial values are not looked at, and none need to be made.
  virtual bool takes_values() const { return true; }
  // `init` (fp32, numel elements) is copied, and must be the same on every rank.
  virtual Result<ParamId> Register(ParamSpec spec, std::span<const float> init) = 0;

  // The full weights, valid until the matching Release. Calls nest. Collective when weights are
  // sharded: every rank acquires in the same order.
  virtual Result<const void*> Acquire(ParamId id) = 0;
  virtual Status Release(ParamId id) = 0;

  // Two ways to hand over this micro-batch's gradient, once each a parameter:
  // by value, added to what earlier micro-batches gave ...
  virtual Status AddGrad(ParamId id, DType dtype, const void* grad) = 0;
  // ... or in place: BeginGrad, write or add as the view says, EndGrad. (BeginGrad again before
  // EndGrad gives the same buffer with accumulate = true: two uses of a tied parameter.)
  virtual Result<GradView> BeginGrad(ParamId id) = 0;
  virtual Status EndGrad(ParamId id) = 0;
};

// A piece of training state as its owner keeps it. Whoever owns state offers it this way (zero);
// whoever persists state asks for it this way (checkpoint). Neither knows the other.
struct StatePiece {
  std::string name;       // "h.0/master", "h.0/m", "h.0/v"
  int64_t numel = 0;      // of the whole array, without padding
  int64_t begin = 0;      // first element of this rank's slice
  std::span<float> data;  // [begin, begin + data.size()), without padding
};

class StateSource {
 public:
  virtual ~StateSource() = default;
  virtual Status ForEachPiece(const std::function<Status(const StatePiece&)>& visit) = 0;
};

}  // namespace ds
