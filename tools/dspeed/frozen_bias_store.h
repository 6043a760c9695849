// A store under which biases stay as they begin: parameters named *.bias are registered as frozen,
// and what a layer computes as their gradient goes nowhere. So a model with biases trains as one
// without, and is saved with zeros where its format wants some.
#pragma once

#include <utility>
#include <vector>

#include "device/memory.h"
#include "param/param.h"

namespace ds::tool {

class FrozenBiasStore final : public ParamStore {
 public:
  // Both outlive this. Ids are those of `inner`.
  FrozenBiasStore(ParamStore& inner, device::MemoryAccount& account)
      : inner_(inner), account_(account) {}

  DType dtype() const override { return inner_.dtype(); }
  Result<ParamId> Register(ParamSpec spec, ParamValues values) override {
    const bool freezes = spec.name.ends_with(".bias");
    const int64_t bytes = spec.numel() * static_cast<int64_t>(DTypeBytes(inner_.dtype()));
    if (freezes) spec.trainable = false;
    DS_ASSIGN(const ParamId id, inner_.Register(std::move(spec), std::move(values)));
    frozen_.resize(static_cast<size_t>(id) + 1);
    frozen_[static_cast<size_t>(id)] = freezes;
    if (freezes && nowhere_.bytes() < bytes) {
      nowhere_ = {};
      DS_ASSIGN(nowhere_, device::Buffer::Create(account_, device::MemoryKind::kScratch, bytes));
    }
    return id;
  }
  Result<const void*> Acquire(ParamId id) override { return inner_.Acquire(id); }
  Status Release(ParamId id) override { return inner_.Release(id); }
  Status AddGrad(ParamId id, DType dtype, const void* grad) override {
    return IsFrozen(id) ? Status() : inner_.AddGrad(id, dtype, grad);
  }
  Result<GradView> BeginGrad(ParamId id) override {
    if (IsFrozen(id)) return GradView{nowhere_.data(), /*accumulate=*/false};
    return inner_.BeginGrad(id);
  }
  Status EndGrad(ParamId id) override { return IsFrozen(id) ? Status() : inner_.EndGrad(id); }

 private:
  bool IsFrozen(ParamId id) const {
    return id >= 0 && static_cast<size_t>(id) < frozen_.size() && frozen_[static_cast<size_t>(id)];
  }

  ParamStore& inner_;
  device::MemoryAccount& account_;
  std::vector<bool> frozen_;  // by id
  device::Buffer nowhere_;    // of the longest frozen parameter
};

}  // namespace ds::tool
