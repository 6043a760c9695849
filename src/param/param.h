// What a parameter is, and what a layer may do with one. No policy lives here: who shards, gathers
// and reduces implements ParamStore (zero); who computes calls it (model).
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
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

// The fp32 values that a parameter starts with. They are made a range at a time, so that who keeps
// a slice of an array never holds more of it than a piece of that slice.
class ParamValues {
 public:
  // Writes the elements [begin, begin + out.size()) of the array. A pure function: any range at any
  // time gives what it gives to every other rank.
  using Fill = std::function<Status(int64_t begin, std::span<float> out)>;

  ParamValues() = default;  // zeros
  // `fill` makes `size` values, and may be called until the store is sealed. `digest` tells them
  // from others as far as that costs little: the ranks compare it.
  ParamValues(int64_t size, Fill fill, uint64_t digest)
      : size_(size), digest_(digest), fill_(std::move(fill)) {}
  // A copy of values in memory; of none, zeros.
  ParamValues(std::span<const float> values);    // NOLINT(google-explicit-constructor): are values
  ParamValues(const std::vector<float>& values)  // NOLINT(google-explicit-constructor): as above
      : ParamValues(std::span<const float>(values)) {}

  bool zeros() const { return fill_ == nullptr; }
  int64_t size() const { return size_; }
  uint64_t digest() const { return digest_; }
  Status Write(int64_t begin, std::span<float> out) const;

 private:
  int64_t size_ = 0;
  uint64_t digest_ = 0;
  Fill fill_;
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
  // So many parameters, of so many elements in all, are registered next: a store that keeps them
  // whole makes room in one piece.
  virtual Status Reserve(int64_t /*params*/, int64_t /*elements*/) { return {}; }
  // What has to be alike on every rank beside the parameters: a setting a line. Before the first
  // use, as registration.
  virtual void DeclareSettings(std::string_view /*lines*/) {}
  // `values` are numel, and the same on every rank.
  virtual Result<ParamId> Register(ParamSpec spec, ParamValues values) = 0;

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
// whoever persists state asks for it this way (checkpoint). Neither knows the other. A parameter
// that is not trained has no state: it is as it was loaded.
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
