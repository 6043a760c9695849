// What `dspeed train` was asked for, from flags, a preset and a ds_config.json, checked and made
// one. Where two of them say different things about one value, that is an error with both.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/status.h"
#include "engine/config.h"
#include "model/family.h"
#include "text.h"

namespace ds::tool {

struct TrainFlags {
  TextFlags text;
  std::string preset = "small", config;
  std::string model;  // a Hugging Face folder to go on from; empty: fresh weights
  std::optional<std::string> family;
  std::optional<int64_t> asked_vocab;     // --vocab
  int64_t vocab = 256, end_of_text = -1;  // as they are, once the tokenizer is known
  std::optional<int64_t> layers, heads, width, context, batch;
  std::optional<double> lr;
  std::optional<std::string> dtype;
  int64_t steps = 500;
  uint64_t seed = 0;
  std::optional<int> asked_ranks;  // --ranks
  int ranks = 1;                   // as they are: threads, or the processes of a job
  bool mpi = false;
  int threads = 0;
  double timeout = 300;
  std::string log, save;
  int64_t save_every = 0;  // 0: at the end only
  int64_t eval_every = 0;  // 0: a tenth of the steps
  bool resume = false, recompute = false;
};

struct TrainPlan {
  TrainFlags flags;
  model::DecoderConfig model;
  int64_t context = 0;  // tokens of a sequence, at most model.context
  EngineConfig engine;
  std::string config_json;  // what `engine` was read from
};

// "tiny, small, 10m, gpt2", with their sizes, for --help.
std::string PresetHelp();

// What can be said of them alone.
Status CheckFlags(const TrainFlags& flags);
Result<TrainPlan> PlanTraining(const TrainFlags& flags);

}  // namespace ds::tool
