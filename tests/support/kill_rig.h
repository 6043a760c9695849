// Ranks that are processes, one of which is killed, stopped or exits without a word: each of the
// others returns an error that names it and the operation, within the time-out. The processes are
// forked here over one segment, as those of a job share it; no launcher ends them.
#pragma once

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

#include "comm/shared_stage.h"
#include "support/fault_rig.h"

namespace ds::test {

enum class End { kKilled, kStopped, kExits };

struct Report {
  int32_t code = -1;
  double seconds = 0;
  char text[800] = "";
};

// In the child: runs the program of the fault tests to its end.
inline void RunChild(const std::shared_ptr<comm::Segment>& segment, int rank, End how, Phase phase,
                     int round, double timeout, Report& report) {
  const auto here = [&](Phase now, int step) -> Status {
    if (rank != kFaultyRank || now != phase || step != (phase < Phase::kAcquire ? 0 : round % 4)) {
      return {};
    }
    if (how == End::kKilled) raise(SIGKILL);
    if (how == End::kStopped) raise(SIGSTOP);
    _exit(0);
  };
  TaskPool pool(1);
  const auto start = std::chrono::steady_clock::now();
  const Status status = [&]() -> Status {
    const auto comm = comm::CreateStaged(comm::CreateSharedStage(
        {.segment = segment, .origin = nullptr, .fate = nullptr, .timeout_seconds = timeout},
        rank));
    DS_ASSIGN(const EngineConfig config, ParseConfig(FaultConfig(3, round % 2 == 1), kFaultWorld));
    DS_ASSIGN(const auto engine, Engine::Create(config, *comm, pool));
    const Status failed = FaultProgram(*engine, here);
    if (!failed.ok()) comm->Abort(failed);
    return failed;
  }();
  report.code = static_cast<int32_t>(status.code());
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  status.message().copy(report.text, sizeof report.text - 1);
}

struct Child {
  pid_t process = 0;
  int go = -1, report = -1;
};

inline Child Fork(const std::shared_ptr<comm::Segment>& segment, int rank, End how, Phase phase,
                  int round, double timeout) {
  int go[2], back[2];
  EXPECT_EQ(pipe(go), 0);
  EXPECT_EQ(pipe(back), 0);
  const pid_t process = fork();
  if (process == 0) {
    char byte = 0;
    if (read(go[0], &byte, 1) != 1) _exit(2);
    Report report;
    RunChild(segment, rank, how, phase, round, timeout, report);
    if (write(back[1], &report, sizeof report) != sizeof report) _exit(3);
    _exit(0);
  }
  close(go[0]);
  close(back[1]);
  return {process, go[1], back[0]};
}

inline void KillOne(End how, Phase phase, int round, double timeout) {
  auto segment = comm::CreateSharedSegment(kFaultWorld);
  ASSERT_TRUE(segment.ok()) << segment.status().message();
  (*segment)->Unlink();  // the children have it by fork
  std::vector<Child> children;
  for (int r = 0; r < kFaultWorld; ++r) {
    children.push_back(Fork(*segment, r, how, phase, round, timeout));
    comm::SetProcess(**segment, r, comm::ProcessId::Of(children.back().process));
  }
  for (const Child& child : children) ASSERT_EQ(write(child.go, "g", 1), 1);
  const std::string label = fmt::format("end {} phase {} round {}", static_cast<int>(how),
                                        static_cast<int>(phase), round);
  for (int r = 0; r < kFaultWorld; ++r) {
    if (r == kFaultyRank) continue;
    Report report;
    ASSERT_EQ(read(children[r].report, &report, sizeof report), static_cast<ssize_t>(sizeof report))
        << label;
    const std::string text = report.text;
    if (how == End::kStopped) {
      EXPECT_EQ(report.code, static_cast<int32_t>(Code::kTimeout)) << label << ": " << text;
      EXPECT_NE(text.find("waits for rank 1 ("), text.npos) << label << ": " << text;
    } else {
      EXPECT_EQ(report.code, static_cast<int32_t>(Code::kRankLost)) << label << ": " << text;
      EXPECT_NE(text.find(fmt::format("rank 1 died (process {})", children[1].process)), text.npos)
          << label << ": " << text;
      EXPECT_LT(report.seconds, timeout) << label;
    }
    EXPECT_NE(text.find(fmt::format("rank {} i", r)), text.npos) << label << ": " << text;
  }
  for (const Child& child : children) {
    kill(child.process, SIGKILL);
    int state = 0;
    waitpid(child.process, &state, 0);
    close(child.go);
    close(child.report);
  }
}

}  // namespace ds::test
