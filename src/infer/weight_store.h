// Weights of one rank, whole and without gradients or optimizer state: what inference needs.
#pragma once

#include <algorithm>
#include <span>
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

  // In one piece nearly all of it lies in huge pages; of a buffer a parameter, only what fills
  // them: reading such weights takes a tenth longer.
  Status Reserve(int64_t params, int64_t elements) override {
    constexpr int64_t kMost = int64_t{1} << 50;  // of either
    if (params < 0 || elements < 0 || params > kMost || elements > kMost) {
      return InvalidArgument("{} parameters of {} elements, expected 0 to 2^50", params, elements);
    }
    const int64_t bytes = elements * width() + params * (kAlignment - 1);
    DS_ASSIGN(device::Buffer buffer,
              device::Buffer::Create(account_, device::MemoryKind::kWeights, bytes));
    room_ = {buffer.data(), static_cast<size_t>(bytes)};
    buffers_.push_back(std::move(buffer));
    return {};
  }

  Result<ParamId> Register(ParamSpec spec, ParamValues values) override {
    const int64_t numel = spec.numel();
    if (values.size() != numel) {
      return InvalidArgument("{}: {} values for {} elements", spec.name, values.size(), numel);
    }
    DS_ASSIGN(std::byte* const weights, Place(numel * width()));
    DS_TRY(Fill(values, weights));
    weights_.push_back(weights);
    return static_cast<ParamId>(weights_.size() - 1);
  }

  Result<const void*> Acquire(ParamId id) override {
    return static_cast<const void*>(weights_[static_cast<size_t>(id)]);
  }
  Status Release(ParamId) override { return {}; }

  Status AddGrad(ParamId, DType, const void*) override { return NoGradients(); }
  Result<GradView> BeginGrad(ParamId) override { return NoGradients(); }
  Status EndGrad(ParamId) override { return NoGradients(); }

 private:
  static constexpr int64_t kPiece = 1 << 20, kAlignment = 64;

  int64_t width() const { return static_cast<int64_t>(DTypeBytes(dtype_)); }

  // From the room, or a buffer of its own.
  Result<std::byte*> Place(int64_t bytes) {
    const auto taken = static_cast<size_t>((bytes + kAlignment - 1) / kAlignment * kAlignment);
    if (taken <= room_.size()) {
      std::byte* const at = room_.data();
      room_ = room_.subspan(taken);
      return at;
    }
    DS_ASSIGN(device::Buffer buffer,
              device::Buffer::Create(account_, device::MemoryKind::kWeights, bytes));
    buffers_.push_back(std::move(buffer));
    return buffers_.back().data();
  }

  Status Fill(const ParamValues& values, std::byte* to) {
    if (dtype_ == DType::kF32) {
      return values.Write(0, {reinterpret_cast<float*>(to), static_cast<size_t>(values.size())});
    }
    std::vector<float> piece(static_cast<size_t>(std::min(kPiece, values.size())));
    for (int64_t at = 0; at < values.size(); at += kPiece) {
      const int64_t n = std::min(kPiece, values.size() - at);
      DS_TRY(values.Write(at, std::span(piece).first(static_cast<size_t>(n))));
      kernels::BestOps(dtype_).from_float(pool_, n, piece.data(), to + at * width());
    }
    return {};
  }

  static Status NoGradients() {
    return Error(Code::kUnsupported, "these weights are for inference: they take no gradients");
  }

  const DType dtype_;
  TaskPool& pool_;
  device::MemoryAccount& account_;
  std::vector<device::Buffer> buffers_;
  std::span<std::byte> room_;  // what is left of one that was reserved
  std::vector<std::byte*> weights_;
};

}  // namespace ds::infer
