// A rank that fails, leaves, registers something else, does something else or stalls: every peer
// gets an error that names rank and operation, in time, and nobody hangs.
#include <gtest/gtest.h>

#include <chrono>
#include <mutex>
#include <thread>

#include "engine/engine.h"

namespace ds {
namespace {

using comm::Communicator;
using Body = std::function<Status(Communicator&, Engine&)>;

struct Ranks {
  Status first;                // what RunThreads says
  std::vector<Status> status;  // of each rank
};

Ranks RunEngines(int world, int stage, double timeout, const Body& body) {
  Ranks ranks;
  ranks.status.resize(world);
  TaskPool pool(1);
  const std::string text = fmt::format(R"({{"zero_optimization": {{"stage": {}}}}})", stage);
  ranks.first =
      comm::RunThreads(world, {.timeout_seconds = timeout}, [&](Communicator& comm) -> Status {
        return ranks.status[comm.rank()] = [&]() -> Status {
          DS_ASSIGN(const EngineConfig config, ParseConfig(text, world));
          DS_ASSIGN(const auto engine, Engine::Create(config, comm, pool));
          return body(comm, *engine);
        }();
      });
  return ranks;
}

Status RegisterTwo(Engine& engine) {
  DS_TRY(engine.store().Register({"first", {100}, "first"}, {}).status());
  return engine.store().Register({"second", {50}, "second"}, {}).status();
}

Status Step(Engine& engine) {
  const std::vector<float> grad(100, 1.0f);
  for (const int p : {1, 0}) {
    DS_TRY(engine.store().Acquire(p).status());
    DS_TRY(engine.store().Release(p));
    DS_TRY(engine.store().AddGrad(p, DType::kF32, grad.data()));
  }
  return engine.Step().status();
}

bool Contains(const Status& status, const std::string& text) {
  return status.message().find(text) != std::string::npos;
}

class RankFault : public testing::TestWithParam<int> {};  // the stage

TEST_P(RankFault, AFailureReachesAllPeers) {
  for (int round = 0; round < 100; ++round) {
    const Ranks ranks = RunEngines(3, GetParam(), 30, [&](Communicator& comm, Engine& engine) {
      Status status = RegisterTwo(engine);
      for (int step = 0; status.ok() && step < 5; ++step) {
        if (comm.rank() == 1 && step == round % 4) return Error(Code::kCallback, "my disk is full");
        status = Step(engine);
      }
      return status;
    });
    EXPECT_EQ(ranks.first.message(), "rank 1: my disk is full");
    for (const int peer : {0, 2}) {
      EXPECT_EQ(ranks.status[peer].code(), Code::kRankLost) << ranks.status[peer].message();
      EXPECT_TRUE(Contains(ranks.status[peer], "rank 1 failed: my disk is full"))
          << ranks.status[peer].message();
      EXPECT_TRUE(Contains(ranks.status[peer], fmt::format("rank {} in ", peer)))
          << ranks.status[peer].message();
    }
  }
}

TEST_P(RankFault, ALeaverReachesAllPeers) {
  for (int round = 0; round < 100; ++round) {
    const Ranks ranks = RunEngines(4, GetParam(), 30, [&](Communicator& comm, Engine& engine) {
      Status status = RegisterTwo(engine);
      for (int step = 0; status.ok() && step < 5; ++step) {
        if (comm.rank() == 2 && step == round % 4) return Status();
        status = Step(engine);
      }
      return status;
    });
    EXPECT_FALSE(ranks.first.ok());
    for (const int peer : {0, 1, 3}) {
      EXPECT_EQ(ranks.status[peer].code(), Code::kRankLost) << ranks.status[peer].message();
      EXPECT_TRUE(Contains(ranks.status[peer], "rank 2 left")) << ranks.status[peer].message();
    }
  }
}

TEST_P(RankFault, AStallEndsInATimeoutThatNamesIt) {
  for (int round = 0; round < 5; ++round) {
    const Ranks ranks = RunEngines(3, GetParam(), 0.1, [&](Communicator& comm, Engine& engine) {
      Status status = RegisterTwo(engine);
      for (int step = 0; status.ok() && step < 5; ++step) {
        if (comm.rank() == 0 && step == 2) {
          std::this_thread::sleep_for(std::chrono::milliseconds(400));
        }
        status = Step(engine);
      }
      return status;
    });
    EXPECT_EQ(ranks.status[1].code(), Code::kTimeout) << ranks.status[1].message();
    EXPECT_TRUE(Contains(ranks.status[1], "timed out after 0.1 s")) << ranks.status[1].message();
    EXPECT_TRUE(Contains(ranks.status[1], "rank 0 (last in ")) << ranks.status[1].message();
    EXPECT_FALSE(ranks.status[0].ok());
    EXPECT_FALSE(ranks.status[2].ok());
  }
}

TEST_P(RankFault, ADifferentRegistrationIsNamed) {
  const auto differ = [&](const std::function<Status(int rank, Engine&)>& second) {
    return RunEngines(3, GetParam(), 30, [&](Communicator& comm, Engine& engine) -> Status {
      DS_TRY(engine.store().Register({"first", {100}, "first"}, {}).status());
      DS_TRY(second(comm.rank(), engine));
      return engine.Seal();
    });
  };
  const Ranks shape = differ([](int rank, Engine& engine) {
    return engine.store().Register({"w", {rank == 2 ? 7 : 9, 2}, "w"}, {}).status();
  });
  const Ranks missing = differ([](int rank, Engine& engine) {
    if (rank == 1) return Status();
    return engine.store().Register({"w", {9, 2}, "w"}, {}).status();
  });
  const Ranks values = differ([](int rank, Engine& engine) {
    const std::vector<float> init = {1.0f, 2.0f + static_cast<float>(rank)};
    return engine.store().Register({"w", {2}, "w"}, init).status();
  });
  for (int rank = 0; rank < 3; ++rank) {
    EXPECT_EQ(shape.status[rank].code(), Code::kRankMismatch);
    EXPECT_EQ(shape.status[rank].message(),
              "parameter 1: rank 0 registered w [9, 2] in unit w, "
              "rank 2 registered w [7, 2] in unit w");
    EXPECT_EQ(missing.status[rank].message(),
              "parameter 1: rank 0 registered w [9, 2] in unit w, rank 1 registered nothing more");
    EXPECT_EQ(values.status[rank].message(),
              "parameter 1 (w [2] in unit w): ranks 0 and 1 gave different initial values");
  }
}

TEST(RankFault, DifferentAcquiresAreNamed) {
  const Ranks ranks = RunEngines(2, 3, 30, [&](Communicator& comm, Engine& engine) -> Status {
    DS_TRY(RegisterTwo(engine));
    return engine.store().Acquire(comm.rank()).status();
  });
  for (int rank = 0; rank < 2; ++rank) {
    EXPECT_EQ(ranks.status[rank].code(), Code::kRankMismatch) << ranks.status[rank].message();
    EXPECT_TRUE(Contains(ranks.status[rank], "rank 0 is in all_gather(first) with"));
    EXPECT_TRUE(Contains(ranks.status[rank], "rank 1 in all_gather(second) with"));
  }
}

TEST(RankFault, TheErrorOfAnEngineStays) {
  const Ranks ranks = RunEngines(2, 3, 30, [&](Communicator& comm, Engine& engine) -> Status {
    DS_TRY(RegisterTwo(engine));
    DS_TRY(Step(engine));
    if (comm.rank() == 1) return Error(Code::kCallback, "gone");
    const Status first = Step(engine);
    EXPECT_EQ(first.code(), Code::kRankLost);
    EXPECT_EQ(engine.store().Acquire(0).status().message(), first.message());
    EXPECT_EQ(engine.Step().status().message(), first.message());
    return first;
  });
  EXPECT_EQ(ranks.first.message(), "rank 1: gone");
}

TEST(RankFault, AWorldSizeOutsideItsRangeIsRefused) {
  const auto nothing = [](Communicator&) { return Status(); };
  EXPECT_EQ(comm::RunThreads(0, {}, nothing).message(), "world size is 0, not in 1..1024");
  EXPECT_EQ(comm::RunThreads(2, {.timeout_seconds = -1}, nothing).code(), Code::kInvalidArgument);
}

INSTANTIATE_TEST_SUITE_P(Stage, RankFault, testing::Values(0, 1, 2, 3));

}  // namespace
}  // namespace ds
