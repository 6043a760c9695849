// The monitor of an engine: rank 0 writes at every boundary, and whether it can is known to all.
#include "engine/monitor.h"

#include <gtest/gtest.h>

#include <atomic>

#include "base/file.h"
#include "engine/engine.h"
#include "support/temp_dir.h"

namespace ds {
namespace {

std::string Config(const std::string& folder) {
  return fmt::format(
      R"({{"train_batch_size": 8, "gradient_accumulation_steps": 2,
          "csv_monitor": {{"enabled": true, "output_path": "{}", "job_name": "job"}}}})",
      folder);
}

TEST(EngineMonitor, WritesWhatTheEngineKnowsAtEachBoundary) {
  const test::TempDir folder;
  TaskPool pool(1);
  const Status status =
      comm::RunThreads(2, {.timeout_seconds = 60}, [&](comm::Communicator& comm) -> Status {
        DS_ASSIGN(const EngineConfig config, ParseConfig(Config(folder.path()), 2));
        DS_ASSIGN(const auto engine, Engine::Create(config, comm, pool));
        DS_ASSIGN(const ParamId id, engine->store().Register({"w", {4}, "w"}, {}));
        const std::vector<float> grad = {3, 0, 4, 0};
        for (int micro = 0; micro < 6; ++micro) {
          DS_TRY(engine->store().AddGrad(id, DType::kF32, grad.data()));
          DS_TRY(engine->Step().status());
        }
        EXPECT_EQ(engine->samples(), 24);
        EXPECT_EQ(engine->monitor() != nullptr, comm.rank() == 0);
        return {};
      });
  EXPECT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(*ReadFile(folder.path() + "/job/Train_Samples_grad_norm.csv"),
            "step,grad_norm\n8,5\n16,5\n24,5\n");
  EXPECT_EQ(*ReadFile(folder.path() + "/job/Train_Samples_lr.csv"),
            "step,lr\n8,0.001\n16,0.001\n24,0.001\n");
}

TEST(EngineMonitor, AFolderThatCannotBeIsAnErrorOnEveryRank) {
  const test::TempDir folder;
  const std::string file = folder.Write("file", "");
  TaskPool pool(1);
  std::atomic<int> failed = 0;
  const Status status =
      comm::RunThreads(2, {.timeout_seconds = 60}, [&](comm::Communicator& comm) -> Status {
        DS_ASSIGN(const EngineConfig config, ParseConfig(Config(file), 2));
        const Status created = Engine::Create(config, comm, pool).status();
        EXPECT_EQ(created.code(), Code::kIo);
        EXPECT_NE(created.message().find(file + "/job"), std::string::npos) << created.message();
        failed += created.ok() ? 0 : 1;
        return comm.rank() == 0 ? created : Status();
      });
  EXPECT_EQ(failed, 2);
  EXPECT_NE(status.message().find(file + "/job"), std::string::npos) << status.message();
}

}  // namespace
}  // namespace ds
