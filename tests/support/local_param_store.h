// A ParamStore of one rank in plain memory, for tests of who uses one. It watches its user: weights
// are readable only while acquired (else NaN), and the calls are written down.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "param/param.h"

namespace ds::test {

class LocalParamStore final : public ParamStore {
 public:
  explicit LocalParamStore(DType dtype) : dtype_(dtype) {}

  DType dtype() const override { return dtype_; }

  Result<ParamId> Register(ParamSpec spec, ParamValues values) override {
    if (spec.numel() != values.size()) {
      return InvalidArgument("{}: {} values for {} elements", spec.name, values.size(),
                             spec.numel());
    }
    Entry entry;
    entry.spec = std::move(spec);
    entry.weights.resize(static_cast<size_t>(values.size()));
    DS_TRY(values.Write(0, entry.weights));
    if (dtype_ == DType::kBF16) {
      for (float& w : entry.weights) w = static_cast<float>(BF16(w));
    }
    const size_t bytes = entry.weights.size() * DTypeBytes(dtype_);
    entry.window.assign(bytes, std::byte{0xFF});  // NaN in either dtype
    entry.grad.assign(bytes, std::byte{0xFF});
    entries_.push_back(std::move(entry));
    return static_cast<ParamId>(entries_.size() - 1);
  }

  Result<const void*> Acquire(ParamId id) override {
    Entry& entry = entries_[static_cast<size_t>(id)];
    if (entry.held++ == 0) {
      Store(entry.weights, entry.window.data());
      calls.push_back("acquire " + entry.spec.name);
    }
    most_held = std::max(most_held, ++held_);
    return static_cast<const void*>(entry.window.data());
  }

  Status Release(ParamId id) override {
    Entry& entry = entries_[static_cast<size_t>(id)];
    if (entry.held == 0) return InvalidState("{}: released too often", entry.spec.name);
    if (--entry.held == 0) std::fill(entry.window.begin(), entry.window.end(), std::byte{0xFF});
    --held_;
    return {};
  }

  Status AddGrad(ParamId, DType, const void*) override {
    return Error(Code::kUnsupported, "the models hand over in place");
  }

  Result<GradView> BeginGrad(ParamId id) override {
    Entry& entry = entries_[static_cast<size_t>(id)];
    if (entry.ended) return InvalidState("{}: gradient given twice", entry.spec.name);
    const GradView view{entry.grad.data(), entry.begun || entry.has_grad};
    entry.begun = true;
    return view;
  }

  Status EndGrad(ParamId id) override {
    Entry& entry = entries_[static_cast<size_t>(id)];
    if (!entry.begun) return InvalidState("{}: EndGrad without BeginGrad", entry.spec.name);
    entry.ended = entry.has_grad = true;
    calls.push_back("grad " + entry.spec.name);
    return {};
  }

  // The next micro-batch adds to the gradients of this one; `clear`: it starts anew.
  void EndMicroBatch(bool clear) {
    for (Entry& entry : entries_) {
      entry.begun = entry.ended = false;
      if (clear) {
        entry.has_grad = false;
        std::fill(entry.grad.begin(), entry.grad.end(), std::byte{0xFF});
      }
    }
    calls.clear();
  }

  int size() const { return static_cast<int>(entries_.size()); }
  const ParamSpec& spec(ParamId id) const { return entries_[static_cast<size_t>(id)].spec; }
  std::vector<float>& weights(ParamId id) { return entries_[static_cast<size_t>(id)].weights; }
  bool ended(ParamId id) const { return entries_[static_cast<size_t>(id)].ended; }
  const std::vector<std::byte>& grad_bytes(ParamId id) const {
    return entries_[static_cast<size_t>(id)].grad;
  }
  std::vector<float> grad(ParamId id) const {
    const Entry& entry = entries_[static_cast<size_t>(id)];
    std::vector<float> out(entry.weights.size());
    if (dtype_ == DType::kF32) {
      std::memcpy(out.data(), entry.grad.data(), entry.grad.size());
    } else {
      const auto* from = reinterpret_cast<const BF16*>(entry.grad.data());
      std::transform(from, from + out.size(), out.begin(), [](BF16 x) { return float{x}; });
    }
    return out;
  }
  int held() const { return held_; }

  std::vector<std::string> calls;  // of this micro-batch
  int most_held = 0;               // parameters at once

 private:
  struct Entry {
    ParamSpec spec;
    std::vector<float> weights;
    std::vector<std::byte> window, grad;
    int held = 0;
    bool begun = false, ended = false, has_grad = false;
  };

  void Store(const std::vector<float>& from, std::byte* to) const {
    if (dtype_ == DType::kF32) {
      std::memcpy(to, from.data(), from.size() * sizeof(float));
    } else {
      auto* out = reinterpret_cast<BF16*>(to);
      for (size_t i = 0; i < from.size(); ++i) out[i] = BF16(from[i]);
    }
  }

  const DType dtype_;
  std::vector<Entry> entries_;
  int held_ = 0;
};

}  // namespace ds::test
