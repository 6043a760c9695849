// A GPT-2 over a LocalParamStore with everything it stands on, for tests.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <vector>

#include "base/rng.h"
#include "base/task_pool.h"
#include "device/memory.h"
#include "kernels/gemm.h"
#include "kernels/ops.h"
#include "model/decoder.h"
#include "support/local_param_store.h"

namespace ds::test {

struct Batch {
  int64_t batch, tokens;
  std::vector<int32_t> ids, targets;
  model::TokenBatch view() const { return {batch, tokens, ids.data(), targets.data()}; }
};

inline Batch RandomBatch(int64_t batch, int64_t tokens, int64_t vocab, uint64_t seed) {
  Batch b{batch, tokens, {}, {}};
  for (int64_t i = 0; i < batch * tokens; ++i) {
    const auto at = static_cast<uint64_t>(i);
    const auto n = static_cast<uint64_t>(vocab);
    b.ids.push_back(static_cast<int32_t>(RandomBelow(seed, 1, at, n)));
    b.targets.push_back(static_cast<int32_t>(RandomBelow(seed, 2, at, n)));
  }
  return b;
}

struct RigOptions {
  model::DecoderConfig config = {.vocab = 11, .context = 8, .layers = 2, .heads = 2, .width = 8};
  DType dtype = DType::kF32;
  int threads = 1;
  bool recompute = false;
  bool reference = true;  // RefOps; else BestOps
  uint64_t seed = 1;
  float spread = 8;  // fresh weights times this, so that no gradient is tiny
};

class ModelRig {
 public:
  using Options = RigOptions;

  explicit ModelRig(const Options& options)
      : pool(options.threads), gemm(kernels::CreateSimdGemm()), store(options.dtype) {
    const model::DecoderOptions gpt{
        .recompute = options.recompute,
        .ops = options.reference ? &kernels::RefOps(options.dtype) : nullptr};
    auto created = model::Decoder::Create(options.config, gpt, pool, *gemm, account);
    EXPECT_TRUE(created.ok()) << created.status().message();
    model = std::move(created).Take();
    const Status status =
        model->RegisterParams(store, [&](const model::Param& param) -> ParamValues {
          std::vector<float> values(static_cast<size_t>(param.spec.numel()));
          model::FillRandom(pool, options.seed, param, 0, values);
          for (float& v : values) v *= options.spread;
          if (param.init.kind != model::InitRule::Kind::kNormal) {  // not exactly 0 and 1
            for (size_t i = 0; i < values.size(); ++i) {
              values[i] = values[i] / options.spread +
                          0.1f * static_cast<float>(RandomNormal(options.seed, 77, i));
            }
          }
          return values;
        });
    EXPECT_TRUE(status.ok()) << status.message();
  }

  // Loss of a batch, gradients into the store (fresh ones).
  double Step(const Batch& batch, float scale = 1.0f) {
    store.EndMicroBatch(/*clear=*/true);
    auto loss = model->ForwardBackward(batch.view(), scale);
    EXPECT_TRUE(loss.ok()) << loss.status().message();
    return loss.ok() ? *loss : 0.0;
  }
  double Loss(const Batch& batch) {
    auto loss = model->ForwardLoss(batch.view());
    EXPECT_TRUE(loss.ok()) << loss.status().message();
    return loss.ok() ? *loss : 0.0;
  }

  TaskPool pool;
  std::unique_ptr<kernels::Gemm> gemm;
  device::MemoryAccount account;
  LocalParamStore store;
  std::unique_ptr<model::Decoder> model;  // last: it refers to the others
};

// Every gradient bit of the two stores.
inline void ExpectSameGrads(const LocalParamStore& a, const LocalParamStore& b) {
  ASSERT_EQ(a.size(), b.size());
  for (ParamId id = 0; id < a.size(); ++id) {
    EXPECT_EQ(a.grad_bytes(id), b.grad_bytes(id)) << a.spec(id).name;
  }
}

}  // namespace ds::test
