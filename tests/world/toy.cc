#include "toy.h"

#include <algorithm>
#include <mutex>

#include "base/rng.h"
#include "support/ranks.h"
#include "support/test_device.h"

namespace ds::toy {

std::string ConfigText(const Trial& run) {
  return fmt::format(
      R"({{"train_micro_batch_size_per_gpu": 1, "gradient_accumulation_steps": {}, {}
          "bf16": {{"enabled": {}}},
          "fp16": {{"enabled": {}, "initial_scale_power": 17, "loss_scale_window": 2}},
          "optimizer": {{"type": "{}", "params": {{"lr": 0.01, "weight_decay": 0.1}}}},
          "scheduler": {{"type": "WarmupCosineLR",
                         "params": {{"total_num_steps": 20, "warmup_num_steps": 2}}}},
          "zero_optimization": {{"stage": {}, "overlap_comm": {}, {}
                                 "stage3_prefetch_bucket_size": 1000,
                                 "stage3_max_live_parameters": 2500}}}})",
      run.accumulation, run.extra, run.dtype == DType::kBF16, run.dtype == DType::kF16, run.rule,
      run.stage, run.overlap, run.groups);
}

float GradAt(const Trial& run, int step, int micro, int rank, int param, int64_t i) {
  if (run.integers) {
    return static_cast<float>((i * 7 + step * 3 + param) % 11 - 5);
  }
  // A hash of where it belongs (splitmix64), in (-0.1, 0.1): thousands of normals would take longer
  // than the training.
  uint64_t x = (((step * 16 + micro) * 64 + rank) * 64 + param) * uint64_t{1 << 20} + i;
  x = (x + 0x9E3779B97F4A7C15) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return static_cast<float>(static_cast<int32_t>(x >> 32)) * (0.1f / 2147483648.0f);
}

Status RegisterAll(Engine& engine) {
  DS_TRY(engine.AddGroup(R"({"lr": 0.002, "weight_decay": 0})").status());
  for (size_t p = 0; p < Params().size(); ++p) {
    const Param& param = Params()[p];
    ParamSpec spec{.name = param.name,
                   .shape = param.shape,
                   .unit = param.unit,
                   .weight_decay = param.decay,
                   .trainable = !param.frozen,
                   .group = param.group};
    std::vector<float> init(spec.numel());
    for (size_t i = 0; i < init.size(); ++i) {
      init[i] = static_cast<float>(RandomNormal(1, p, i));
    }
    DS_ASSIGN([[maybe_unused]] const ParamId id, engine.store().Register(spec, init));
  }
  return {};
}

Status MicroBatch(const Trial& run, Engine& engine, int step, int micro,
                  std::vector<double>* sights) {
  zero::ShardedStore& store = engine.store();
  const device::Lane& lane = engine.lane();
  const int count = store.param_count();
  const auto scratch = [&](size_t bytes) {
    return device::Buffer::Create(engine.memory(), device::MemoryKind::kScratch,
                                  static_cast<int64_t>(bytes));
  };
  device::Buffer seen;
  if (sights != nullptr) {
    DS_ASSIGN(seen, scratch(2 * count * sizeof(double)));
  }
  double* next = seen.as<double>().data();
  const auto touch = [&](int p) -> Status {
    DS_ASSIGN(const void* weights, store.Acquire(p));
    if (weights == nullptr && store.spec(p).numel() > 0) {
      return Error(Code::kInternal, "no weights");
    }
    if (sights != nullptr) {
      kernels::BestOps(run.dtype).sum_of_squares(lane, store.spec(p).numel(), weights, next++);
    }
    return store.Release(p);
  };
  for (int p = 0; p < count; ++p) DS_TRY(touch(p));
  for (int p = count - 1; p >= 0; --p) {
    DS_TRY(touch(p));
    if (Params()[p].frozen) continue;
    const int64_t numel = store.spec(p).numel();
    std::vector<float> grad(numel);
    for (int64_t i = 0; i < numel; ++i) {
      grad[i] = GradAt(run, step, micro, engine.comm().rank(), p, i) *
                static_cast<float>(engine.loss_scale());
    }
    if (lane.at_once()) {
      DS_TRY(store.AddGrad(p, DType::kF32, grad.data()));
      continue;
    }
    const auto bytes = static_cast<int64_t>(grad.size() * sizeof(float));
    DS_ASSIGN(const device::Buffer there, scratch(grad.size() * sizeof(float)));
    lane.Upload(there.data(), grad.data(), bytes);
    DS_TRY(store.AddGrad(p, DType::kF32, there.data()));
  }
  if (sights == nullptr) return {};
  const size_t before = sights->size();
  sights->resize(before + 2 * count);
  return lane.Download(sights->data() + before, seen.data(), seen.bytes());
}

Status Train(const Trial& run, Engine& engine, Outcome& out) {
  for (int step = 0; step < run.steps; ++step) {
    for (int micro = 0; micro < run.accumulation; ++micro) {
      DS_TRY(MicroBatch(run, engine, step, micro, &out.sights));
      DS_ASSIGN(const StepInfo info, engine.Step());
      if ((info.applied || info.skipped) != (micro == run.accumulation - 1)) {
        return Error(Code::kInternal, "step {} micro {}: applied {}", step, micro, info.applied);
      }
      if (info.applied) out.norms.push_back(info.grad_norm);
      if (info.applied || info.skipped) out.scales.push_back(info.loss_scale);
    }
  }
  return {};
}

namespace {

using Take = FunctionRef<Status(const StatePiece&)>;

// One rank's run; `take` gets its part of the state.
Status TrainRank(const Trial& run, comm::Communicator& comm, TaskPool& pool, Outcome& out,
                 Take take) {
  DS_ASSIGN(const EngineConfig config, ParseConfig(ConfigText(run), comm.size()));
  std::unique_ptr<test::TestDevice> device;
  std::unique_ptr<comm::Communicator> on_device;
  if (run.device) {
    device = std::make_unique<test::TestDevice>(static_cast<uint64_t>(comm.rank()));
    on_device = test::OnDevice(comm, *device);
  }
  DS_ASSIGN(const auto engine,
            Engine::Create(config, run.device ? *on_device : comm, pool, device.get()));
  DS_TRY(RegisterAll(*engine));
  DS_TRY(engine->Seal());
  DS_TRY(Train(run, *engine, out));
  return engine->store().ForEachPiece(take);
}

Status Put(const StatePiece& piece, Outcome& out) {
  auto& whole = out.state[piece.name];
  whole.resize(piece.numel);
  std::copy(piece.data.begin(), piece.data.end(), whole.begin() + piece.begin);
  return {};
}

// One piece of rank `root` for all.
Status Spread(comm::Communicator& comm, int root, const StatePiece* mine,
              std::vector<float>* values, Outcome& out) {
  struct {
    char name[128] = "";
    int64_t numel = 0, begin = 0, count = 0;
  } head;
  if (mine != nullptr) {
    mine->name.copy(head.name, sizeof head.name - 1);
    head.numel = mine->numel;
    head.begin = mine->begin;
    head.count = static_cast<int64_t>(values->size());
  }
  DS_TRY(comm.Broadcast("piece", root, std::as_writable_bytes(std::span(&head, 1))));
  std::vector<float> data(head.count);
  if (mine != nullptr) data = *values;
  DS_TRY(comm.Broadcast("values", root, std::as_writable_bytes(std::span(data))));
  auto& whole = out.state[head.name];
  whole.resize(head.numel);
  std::copy(data.begin(), data.end(), whole.begin() + head.begin);
  return {};
}

}  // namespace

Status TrainWorld(const Trial& run, Outcome& out) {
  std::mutex mutex;  // guards out
  TaskPool pool(run.threads);
  return comm::RunThreads(run.world, {.timeout_seconds = 60},
                          [&](comm::Communicator& comm) -> Status {
                            Outcome mine;
                            DS_TRY(TrainRank(run, comm, pool, mine, [&](const StatePiece& piece) {
                              const std::lock_guard lock(mutex);
                              return Put(piece, out);
                            }));
                            const std::lock_guard lock(mutex);
                            if (comm.rank() == 0) {
                              out.norms = mine.norms;
                              out.scales = mine.scales;
                              out.sights = mine.sights;
                            }
                            return {};
                          });
}

Status TrainJob(const Trial& run, Outcome& out) {
  TaskPool pool(run.threads);
  return test::RunRanks(
      run.world, {.timeout_seconds = 60}, [&](comm::Communicator& comm) -> Status {
        std::vector<StatePiece> pieces;
        std::vector<std::vector<float>> data;
        DS_TRY(TrainRank(run, comm, pool, out, [&](const StatePiece& piece) -> Status {
          data.emplace_back(piece.data.begin(), piece.data.end());
          pieces.push_back(piece);
          return {};
        }));
        for (int rank = 0; rank < comm.size(); ++rank) {
          double count = comm.rank() == rank ? static_cast<double>(pieces.size()) : 0;
          DS_TRY(comm.AllReduce("pieces", {&count, 1}));
          for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
            const bool mine = comm.rank() == rank;
            DS_TRY(Spread(comm, rank, mine ? &pieces[i] : nullptr, mine ? &data[i] : nullptr, out));
          }
        }
        return {};
      });
}

}  // namespace ds::toy
