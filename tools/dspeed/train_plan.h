// What `dspeed train` was asked for, from flags, a preset and a ds_config.json, checked and made
// one. Where two of them say different things about one value, that is an error with both.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "data/mix.h"
#include "engine/config.h"
#include "model/family.h"
#include "preset.h"
#include "train_flags.h"

namespace ds::tool {

struct TrainPlan {
  TrainFlags flags;
  Preset preset;
  std::string lr_from;  // who said the learning rate
  model::DecoderConfig model;
  int64_t context = 0;                    // tokens of a sequence, at most model.context
  bool bias = true;                       // false: biases stay 0 and are not trained
  std::optional<model::LoraConfig> lora;  // adapters are trained, and what it names beside them
  EngineConfig engine;
  std::string config_json;  // what `engine` was read from
};

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
