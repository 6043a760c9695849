// Worlds in which one rank does something wrong at a chosen moment, and what its peers must then
// say. Used by the fault tests (20 rounds of each) and the soak tests (100).
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "engine/engine.h"
#include "support/ranks.h"

namespace ds::test {

enum class Fault { kError, kReturn, kThrow, kStall };
enum class Phase { kRegister, kSeal, kAcquire, kReduce, kStep };

inline constexpr Fault kFaults[] = {Fault::kError, Fault::kReturn, Fault::kThrow, Fault::kStall};
inline constexpr Phase kPhases[] = {Phase::kRegister, Phase::kSeal, Phase::kAcquire, Phase::kReduce,
                                    Phase::kStep};

struct FaultCase {
  Fault fault;
  Phase phase;
  int stage;
  bool overlap;
  int step = 0;  // of kAcquire and later
};

inline std::string Name(const FaultCase& c) {
  const char* faults[] = {"error", "return", "throw", "stall"};
  const char* phases[] = {"register", "seal", "acquire", "reduce", "step"};
  return fmt::format("{} in {}, stage {}, overlap {}, step {}", faults[static_cast<int>(c.fault)],
                     phases[static_cast<int>(c.phase)], c.stage, c.overlap, c.step);
}

inline std::string FaultConfig(int stage, bool overlap) {
  return fmt::format(
      R"({{"zero_optimization": {{"stage": {}, "overlap_comm": {},
          "stage3_prefetch_bucket_size": 400, "stage3_max_live_parameters": 800}}}})",
      stage, overlap);
}

inline constexpr int kFaultWorld = 3, kFaultyRank = 1, kFaultUnits = 4;

// One rank's program. `here(phase, step)` is called at each moment on every rank; what it returns
// but ok ends the rank with that status.
template <typename Here>
Status FaultProgram(Engine& engine, const Here& here) {
  zero::ShardedStore& store = engine.store();
  for (int u = 0; u < kFaultUnits; ++u) {
    if (u == 2) DS_TRY(here(Phase::kRegister, 0));
    const std::string name = fmt::format("u{}", u);
    DS_TRY(store.Register({name, {100 + u}, name}, {}).status());
  }
  DS_TRY(here(Phase::kSeal, 0));
  DS_TRY(engine.Seal());
  const std::vector<float> grad(100 + kFaultUnits, 1.0f);
  for (int step = 0; step < 4; ++step) {
    for (int u = 0; u < kFaultUnits; ++u) {
      if (u == 1) DS_TRY(here(Phase::kAcquire, step));
      DS_TRY(store.Acquire(u).status());
      DS_TRY(store.Release(u));
    }
    for (int u = kFaultUnits - 1; u >= 0; --u) {
      DS_TRY(store.Acquire(u).status());
      DS_TRY(store.Release(u));
      if (u == 1) DS_TRY(here(Phase::kReduce, step));
      DS_TRY(store.AddGrad(u, DType::kF32, grad.data()));
    }
    DS_TRY(here(Phase::kStep, step));
    DS_TRY(engine.Step().status());
  }
  return {};
}

struct FaultOutcome {
  Status reported;             // what RunThreads says
  std::vector<Status> status;  // of each rank
};

// The program returns early with a status that is an error only inside it.
inline const char* const kReturnsEarly = "returns early";

inline FaultOutcome RunFault(const FaultCase& c, double timeout) {
  FaultOutcome out;
  out.status.resize(kFaultWorld);
  TaskPool pool(1);
  std::atomic<int> ended = 0;
  const auto here = [&](int rank, Phase phase, int step) -> Status {
    if (rank != kFaultyRank || phase != c.phase || step != c.step) return {};
    switch (c.fault) {
      case Fault::kError:
        return Error(Code::kCallback, "my disk is full");
      case Fault::kReturn:
        return Error(Code::kInternal, "{}", kReturnsEarly);
      case Fault::kThrow:
        throw std::runtime_error("my disk is full");
      case Fault::kStall:  // until the peers have given up
        if (comm::FindLaunch())
          std::this_thread::sleep_for(std::chrono::duration<double>(2 * timeout));
        while (!comm::FindLaunch() && ended < kFaultWorld - 1)
          std::this_thread::sleep_for(std::chrono::milliseconds(1));
        return {};
    }
    return {};
  };
  const auto body = [&](comm::Communicator& comm) -> Status {
    DS_ASSIGN(const EngineConfig config, ParseConfig(FaultConfig(c.stage, c.overlap), comm.size()));
    DS_ASSIGN(const auto engine, Engine::Create(config, comm, pool));
    Status status = FaultProgram(
        *engine, [&](Phase phase, int step) { return here(comm.rank(), phase, step); });
    if (!status.ok() && status.message() != kReturnsEarly && comm.rank() != kFaultyRank) {
      // The engine keeps its error, whatever it is asked.
      EXPECT_EQ(engine->Step().status().message(), status.message());
      EXPECT_EQ(engine->store().Acquire(0).status().message(), status.message());
    }
    return status;
  };
  out.reported =
      RunRanks(kFaultWorld, {.timeout_seconds = timeout}, [&](comm::Communicator& comm) -> Status {
        Status& mine = out.status[comm.rank()];
        mine = body(comm);
        ++ended;
        return mine.message() == kReturnsEarly ? Status() : mine;
      });
  return out;
}

// Every peer ends in an error that names the faulty rank, and the operation it was itself in.
inline void ExpectNamed(const FaultCase& c, const FaultOutcome& out) {
  const auto contains = [](const Status& status, const std::string& text) {
    return status.message().find(text) != std::string::npos;
  };
  const std::string label = Name(c);
  for (int rank = 0; rank < kFaultWorld; ++rank) {
    const Status& status = out.status[rank];
    if (const auto launch = comm::FindLaunch(); launch && launch->rank != rank) continue;
    if (rank == kFaultyRank && c.fault == Fault::kThrow) continue;
    EXPECT_FALSE(status.ok()) << label << ", rank " << rank;
    if (rank == kFaultyRank) continue;
    const char* reason = c.fault == Fault::kReturn  ? "rank 1 left the group"
                         : c.fault == Fault::kStall ? "waits for rank 1 ("
                                                    : "rank 1 failed: my disk is full";
    EXPECT_EQ(status.code(), c.fault == Fault::kStall ? Code::kTimeout : Code::kRankLost)
        << label << ": " << status.message();
    EXPECT_TRUE(contains(status, reason)) << label << ": " << status.message();
    bool operation = false;
    for (const char* op : {"all_gather(", "reduce_scatter(", "all_reduce(", "duplicate("}) {
      operation = operation || contains(status, fmt::format("rank {} in {}", rank, op)) ||
                  contains(status, fmt::format("rank {} is in {}", rank, op));
    }
    EXPECT_TRUE(operation) << label << ": " << status.message();
  }
  if (comm::FindLaunch()) return;
  if (c.fault == Fault::kError || c.fault == Fault::kThrow) {
    EXPECT_EQ(out.reported.message(), "rank 1: my disk is full") << label;
  } else {
    EXPECT_FALSE(out.reported.ok()) << label;
  }
}

// `rounds` worlds with each fault of one phase, stage and overlap. Those that stall run at once:
// they do little but wait.
inline void RunFaults(Phase phase, int stage, bool overlap, int rounds, double stall_seconds) {
  const auto at = [&](Fault fault, int round) {
    return FaultCase{fault, phase, stage, overlap, phase < Phase::kAcquire ? 0 : round % 4};
  };
  for (const Fault fault : {Fault::kError, Fault::kReturn, Fault::kThrow}) {
    for (int round = 0; round < rounds; ++round) {
      const FaultCase c = at(fault, round);
      ExpectNamed(c, RunFault(c, 60));
    }
  }
  std::vector<FaultOutcome> outcomes(rounds);
  std::vector<std::thread> worlds;
  for (int round = 0; round < rounds; ++round) {
    const auto run = [&, round] {
      outcomes[round] = RunFault(at(Fault::kStall, round), stall_seconds);
    };
    if (comm::FindLaunch()) {
      if (round == 0 || rounds > 20) run();
    } else {
      worlds.emplace_back(run);
    }
  }
  for (std::thread& world : worlds) world.join();
  for (int round = 0; round < rounds; ++round) {
    if (!outcomes[round].status.empty()) ExpectNamed(at(Fault::kStall, round), outcomes[round]);
  }
}

}  // namespace ds::test
