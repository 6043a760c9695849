// A toy run of the engine over ranks that are threads: parameters of awkward sizes, gradients that
// are a pure function of (step, micro-batch, rank, parameter, element), and the whole state read
// back from the pieces that the ranks offer.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/status.h"
#include "base/task_pool.h"
#include "comm/communicator.h"
#include "engine/engine.h"

namespace ds::toy {

struct Param {
  const char* name;
  std::vector<int64_t> shape;
  const char* unit;
  bool decay = true;
  bool frozen = false;
  int group = 0;
};

// Sizes prime to every world, a unit smaller than a world, parameters without a unit, one that is
// several tiles of a kernel long, one without elements, frozen ones beside trained ones, and
// another group.
inline const std::vector<Param>& Params() {
  static const std::vector<Param> params = {
      {"embed", {61, 7}, "embed"},  {"a.w", {33, 13}, "a"},
      {"a.b", {13}, "a", false},    {"b.w", {257}, "b"},
      {"c.tiny", {1}, "c"},         {"c.scalar", {}, "c", false},
      {"c.none", {0, 3}, "c"},      {"d.base", {19, 23}, "d", true, true},
      {"d.up", {19, 2}, "d"},       {"d.down", {2, 23}, "d", true, false, 1},
      {"loose.0", {5, 5, 5}, ""},   {"loose.1", {3}, ""},
      {"wide", {131, 127}, "wide"}, {"head", {1009}, "head"},
  };
  return params;
}

struct Trial {
  int world = 1;
  int stage = 0;
  DType dtype = DType::kF32;
  int accumulation = 1;
  bool overlap = false;
#if defined(__SANITIZE_THREAD__)
  int steps = 2;  // the interleavings are what counts there
#else
  int steps = 5;
#endif
  int threads = 1;
  // Gradients are small integers, equal on all ranks: every sum and mean is exact.
  bool integers = false;
  bool device = false;  // on the test device
  const char* rule = "AdamW";
  const char* groups = "";  // more of zero_optimization, e.g. R"("mics_shard_size": 2,)"
  std::string extra = {};   // more of the config, e.g. R"("gradient_clipping": 0.5,)"
};

struct Outcome {
  std::map<std::string, std::vector<float>> state;  // "a/master", "a/m", "a/v": whole arrays
  std::vector<double> norms;                        // one an applied step
  std::vector<double> scales;                       // the loss scale, one a step
  std::vector<double> sights;  // sums of squares of the weights, as each acquire saw them
};

std::string ConfigText(const Trial& run);
float GradAt(const Trial& run, int step, int micro, int rank, int param, int64_t i);
Status RegisterAll(Engine& engine);
// One micro-batch: acquires as a forward and backward pass would, looks at the weights (`sights`
// grows by what it saw) and hands over gradients last first.
Status MicroBatch(const Trial& run, Engine& engine, int step, int micro,
                  std::vector<double>* sights = nullptr);
Status Train(const Trial& run, Engine& engine, Outcome& out);

// Runs it over run.world threads and collects the state of all ranks.
Status TrainWorld(const Trial& run, Outcome& out);
// The same on the processes of the job that this one is part of; all of them get the whole outcome.
// A smaller world is the first of them, and the others get nothing.
Status TrainJob(const Trial& run, Outcome& out);

}  // namespace ds::toy
