// Weights of one rank, whole and without gradients or optimizer state: what inference needs.
#pragma once

#include <algorithm>
#include <deque>
#include <utility>
#include <vector>

#include "base/task_pool.h"
#include "device/memory.h"
#include "kernels/ops.h"
#include "param/param.h"

namespace ds::infer {

class WeightStore final : public ParamStore {
 public:
  // `pool` and `account` outlive the store.
  WeightStore(DType dtype, TaskPool& pool, device::MemoryAccount& account)
      : dtype_(dtype), pool_(pool), account_(account) {}

  DType dtype() const override { return dtype_; }

  Result<ParamId> Register(ParamSpec spec, ParamValues values) override {
    const int64_t numel = spec.numel();
    if (values.size() != numel) {
      return InvalidArgument("{}: {} values for {} elements", spec.name, values.size(), numel);
    }
    const auto bytes = numel * static_cast<int64_t>(DTypeBytes(dtype_));
    DS_ASSIGN(device::Buffer buffer,
              device::Buffer::Create(account_, device::MemoryKind::kWeights, bytes));
    DS_TRY(Fill(values, buffer));
    weights_.push_back(std::move(buffer));
    return static_cast<ParamId>(weights_.size() - 1);
  }

  Result<const void*> Acquire(ParamId id) override {
    return static_cast<const void*>(weights_[static_cast<size_t>(id)].data());
  }
  Status Release(ParamId) override { return {}; }

  Status AddGrad(ParamId, DType, const void*) override { return NoGradients(); }
  Result<GradView> BeginGrad(ParamId) override { return NoGradients(); }
  Status EndGrad(ParamId) override { return NoGradients(); }

 private:
  static constexpr int64_t kPiece = 1 << 20;

  Status Fill(const ParamValues& values, device::Buffer& buffer) {
    if (dtype_ == DType::kF32) {
      return values.Write(
          0, {reinterpret_cast<float*>(buffer.data()), static_cast<size_t>(values.size())});
    }
    const auto width = static_cast<int64_t>(DTypeBytes(dtype_));
    std::vector<float> piece(static_cast<size_t>(std::min(kPiece, values.size())));
    for (int64_t at = 0; at < values.size(); at += kPiece) {
      const int64_t n = std::min(kPiece, values.size() - at);
      DS_TRY(values.Write(at, std::span(piece).first(static_cast<size_t>(n))));
      kernels::BestOps(dtype_).from_float(pool_, n, piece.data(), buffer.data() + at * width);
    }
    return {};
  }

  static Status NoGradients() {
    return Error(Code::kUnsupported, "these weights are for inference: they take no gradients");
  }

  const DType dtype_;
  TaskPool& pool_;
  device::MemoryAccount& account_;
  std::deque<device::Buffer> weights_;
};

}  // namespace ds::infer
