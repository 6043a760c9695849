// The flags of `dspeed train`, and what the texts, the tokenizer and the model say of them later.
#pragma once

#include <CLI/CLI.hpp>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "data/sampler.h"
#include "lora_flags.h"
#include "text.h"

namespace ds::tool {

constexpr int64_t kMostBatch = 1 << 24;           // sequences of a step
constexpr int64_t kMostSteps = int64_t{1} << 53;  // so far a double counts

struct TrainFlags {
  std::vector<std::string> data;            // --data, one or more
  std::string mix;                          // or a file of them
  TextFlags text;                           // but for its data
  std::optional<std::string> asked_preset;  // --preset
  std::string preset() const { return asked_preset.value_or("small"); }
  std::string config;
  std::string model;  // a Hugging Face folder to go on from; empty: fresh weights
  LoraFlags lora;
  // The folder of the generation_config.json that is gone on from; "": there is no model before.
  std::string generation() const { return lora.place ? lora.place->generation : ""; }
  std::optional<std::string> family;
  std::vector<std::string> special;    // --special: tokens that the tokenizer may not have
  std::optional<int64_t> asked_vocab;  // --vocab
  int64_t vocab = 256;                 // as it is, once the tokenizer is known
  int64_t tokenizer_vocab = 0;         // ... of the tokenizer, before --special
  int64_t added_tokens = 0;            // ... that --special added to it
  std::vector<int64_t> end_ids;        // ... of texts, and of answers where there are some
  std::optional<int32_t> end_of_turn;  // ... that of answers
  std::optional<int64_t> layers, heads, width, context, batch;
  std::optional<double> lr, dropout;
  std::optional<double> lr_of_run;  // of the run that is to go on, where nobody says another
  std::optional<std::string> dtype;
  std::optional<int64_t> asked_steps;  // --steps
  std::optional<double> epochs;        // --epochs
  std::optional<int64_t> epoch_steps;  // ... in steps, once the texts are known
  data::Order order() const { return epochs ? data::Order::kDealt : data::Order::kDrawn; }
  int64_t steps = 500;  // as they are: asked for, or of the preset
  uint64_t seed = 0;
  std::optional<int> asked_ranks;  // --ranks
  int ranks = 1;                   // as they are: threads, or the processes of a job
  bool mpi = false;
  bool plans = false;  // it is but planned: there may be no text
  int threads = 0;
  double timeout = 300;
  std::string log, save, trace;
  std::optional<int64_t> asked_trace_events;  // --trace-events
  int64_t trace_events() const { return asked_trace_events.value_or(1 << 16); }
  int64_t save_every = 0;  // 0: at the end only
  int64_t eval_every = 0;  // 0: as the preset says, or a tenth of the steps
  bool resume = false, overwrite = false, recompute = false, list_presets = false;
};

// `dspeed plan` has them, too.
void AddTrainFlags(CLI::App& train, const std::shared_ptr<TrainFlags>& flags);

// What can be said of them alone.
Status CheckFlags(const TrainFlags& flags);

}  // namespace ds::tool
