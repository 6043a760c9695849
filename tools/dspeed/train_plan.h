// What `dspeed train` was asked for, from flags, a preset and a ds_config.json, checked and made
// one. Where two of them say different things about one value, that is an error with both.
#pragma once

#include <CLI/CLI.hpp>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "data/mix.h"
#include "engine/config.h"
#include "lora_flags.h"
#include "model/family.h"
#include "preset.h"
#include "text.h"

namespace ds::tool {

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

struct TrainPlan {
  TrainFlags flags;
  Preset preset;
  std::string lr_from;  // who said the learning rate
  model::DecoderConfig model;
  int64_t context = 0;                    // tokens of a sequence, at most model.context
  bool bias = true;                       // false: biases stay 0 and are not trained
  std::optional<model::LoraConfig> lora;  // adapters are trained, and nothing else
  EngineConfig engine;
  std::string config_json;  // what `engine` was read from
};

// The flags of `dspeed train`, which `dspeed plan` has too.
void AddTrainFlags(CLI::App& train, const std::shared_ptr<TrainFlags>& flags);

// What can be said of them alone.
Status CheckFlags(const TrainFlags& flags);
struct TrainText {
  std::vector<data::WeightedSource> sources;
  std::unique_ptr<token::Tokenizer> tokenizer;  // null: the data are ids, and none was named
};

// The texts and their tokenizer: the one that is asked for, else that of the model, else that of
// the preset. The flags learn what it knows.
Result<TrainText> OpenTrainText(TrainFlags& flags);
Result<TrainPlan> PlanTraining(const TrainFlags& asked);
// With as many steps as --epochs are, of texts with so many windows for training.
Result<TrainPlan> PlanEpochs(TrainFlags asked, int64_t batch, int64_t windows);

// Where a model that exists could read longer sequences than it will: how long, and how to ask for
// them. "" where it cannot.
std::string ContextNote(const TrainPlan& plan);

// What "auto" means of the steps of a schedule, once a run has a number of them; the keys that
// were. Whatever else the config may be is left to its reader.
std::vector<std::string> ResolveSteps(int64_t steps, Json& config);

}  // namespace ds::tool
