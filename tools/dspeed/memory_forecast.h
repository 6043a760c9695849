// The memory that a run will need, by kind, from its plan and its text: what `dspeed plan`
// prints. Nothing of the model is allocated.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"
#include "kernels/gemm.h"
#include "train_plan.h"

namespace ds::tool {

struct MemoryForecast {
  struct Part {
    const char* name;
    int64_t bytes;  // a rank
  };
  std::vector<Part> parts;  // while it trains
  int64_t rank_bytes = 0;   // their sum
  // What is there once a process: the program and its libraries, the text, threads.
  int64_t process_bytes = 0;
  // While texts are encoded, before there is a model: the process, all of a file, ids.
  int64_t reading_bytes = 0;
  // While weights are placed, all ranks: the files that they are read from are in memory as well.
  int64_t placing_bytes = 0;
  // The most that the process with all its ranks holds in memory at once.
  int64_t peak_bytes = 0;
};

// Encodes what the run would encode.
Result<MemoryForecast> ForecastMemory(const TrainPlan& plan, const TrainText& text);

// The same without what is there once a process, which has to be measured.
Result<MemoryForecast> ForecastRanks(const TrainPlan& plan, kernels::Gemm& gemm);
// The peak of such ranks in a process that has, and reads, what another forecast says.
int64_t PeakInProcess(const MemoryForecast& ranks, int64_t process_bytes, int64_t reading_bytes);

// How much memory there is for a run, for people: "this machine has 24576 MiB".
std::string UsableMemoryText();

// Refuses a run whose ranks are threads of this process and need more than there is, swap and all:
// else the system would end it, or another program, without a word.
Status CheckFits(const TrainPlan& plan, kernels::Gemm& gemm);

}  // namespace ds::tool
