// Ranks that register or configure something else, and what all of them must then say, in the same
// words. Used by the fault tests and the soak tests.
//
// Where ranks send each other messages, one may hear from a peer what is wrong before it has the
// bytes of a slower one: it then adds where it was.
#pragma once

#include <cstdlib>
#include <functional>
#include <string_view>

#include "support/fault_rig.h"

namespace ds::test {

struct Registration {
  std::vector<std::pair<ParamSpec, std::vector<float>>> params;
  std::string config;
};

inline Registration Usual(int stage, bool overlap) {
  return {
      .params = {{{"a", {4}, "a"}, {1, 2, 3, 4}}, {{"b", {2, 3}, "b"}, {}}, {{"c", {5}, ""}, {}}},
      .config = FaultConfig(stage, overlap)};
}

struct Mismatch {
  const char* name;
  std::function<void(Registration&)> change;  // on one rank
  std::string message;                        // {}: the number of that rank
};

inline const std::vector<Mismatch>& Mismatches() {
  static const std::vector<Mismatch> list = {
      {"name", [](auto& r) { r.params[1].first.name = "x"; },
       "parameter 1: rank 0 registered b [2, 3] in unit b, rank {} registered x [2, 3] in unit b"},
      {"shape",
       [](auto& r) {
         r.params[1].first.shape = {3, 2};
       },
       "parameter 1: rank 0 registered b [2, 3] in unit b, rank {} registered b [3, 2] in unit b"},
      {"order", [](auto& r) { std::swap(r.params[1], r.params[2]); },
       "parameter 1: rank 0 registered b [2, 3] in unit b, rank {} registered c [5]"},
      {"init", [](auto& r) { r.params[0].second[3] = 5; },
       "parameter 0 (a [4] in unit a): ranks 0 and {} gave different initial values"},
      {"unit", [](auto& r) { r.params[1].first.unit = "other"; },
       "parameter 1: rank 0 registered b [2, 3] in unit b, "
       "rank {} registered b [2, 3] in unit other"},
      {"decay", [](auto& r) { r.params[2].first.weight_decay = false; },
       "parameter 2: rank 0 registered c [5], rank {} registered c [5] without decay"},
      {"fewer", [](auto& r) { r.params.pop_back(); },
       "parameter 2: rank 0 registered c [5], rank {} registered nothing more"},
      {"more",
       [](auto& r) {
         r.params.push_back({{"d", {1}, ""}, {}});
       },
       "parameter 3: rank 0 registered nothing more, rank {} registered d [1]"},
      {"config", [](auto& r) { r.config.replace(r.config.find("400"), 3, "401"); },
       "config: rank 0 has zero_optimization.stage3_prefetch_bucket_size 400, "
       "rank {} has zero_optimization.stage3_prefetch_bucket_size 401"},
  };
  return list;
}

// Whether ranks are processes that share no memory.
inline bool SendMessages() {
  const char* shared = std::getenv("DS_MPI_SHARED");
  return comm::FindLaunch() && shared != nullptr && std::string_view(shared) == "0";
}

// The message without what a rank adds that heard of it.
inline std::string Heard(const std::string& message, int rank) {
  const std::string seen = fmt::format(" (seen by rank {} in all_gather(", rank);
  return SendMessages() ? message.substr(0, message.find(seen)) : message;
}

// `rounds` worlds a mismatch; in a job this process judges its own rank.
inline void RunMismatches(int stage, bool overlap, int rounds) {
  const auto launch = comm::FindLaunch();
  TaskPool pool(1);
  for (const Mismatch& mismatch : Mismatches()) {
    for (int round = 0; round < rounds; ++round) {
      const int odd = 1 + round % 2;
      std::vector<Status> status(kFaultWorld);
      const auto body = [&](comm::Communicator& comm) -> Status {
        Registration mine = Usual(stage, overlap);
        if (comm.rank() == odd) mismatch.change(mine);
        DS_ASSIGN(const EngineConfig config, ParseConfig(mine.config, comm.size()));
        DS_ASSIGN(const auto engine, Engine::Create(config, comm, pool));
        for (auto& [spec, init] : mine.params) {
          DS_TRY(engine->store().Register(spec, init).status());
        }
        return round % 4 < 2 ? engine->Seal() : engine->store().Acquire(0).status();
      };
      const Status reported =
          RunRanks(kFaultWorld, {.timeout_seconds = 60},
                   [&](comm::Communicator& comm) { return status[comm.rank()] = body(comm); });
      EXPECT_EQ(reported.code(), Code::kRankMismatch);
      for (int rank = 0; rank < kFaultWorld; ++rank) {
        if (launch && launch->rank != rank) continue;
        EXPECT_EQ(status[rank].code(), Code::kRankMismatch) << mismatch.name;
        EXPECT_EQ(Heard(status[rank].message(), rank),
                  fmt::format(fmt::runtime(mismatch.message), odd))
            << mismatch.name;
      }
    }
  }
}

}  // namespace ds::test
