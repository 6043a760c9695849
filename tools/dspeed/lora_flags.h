// The flags of `dspeed train` for low-rank adapters, and what they ask for together with a folder
// of adapters that is gone on from.
#pragma once

#include <CLI/CLI.hpp>

#include <optional>
#include <string>

#include "base/status.h"
#include "infer/adapter_folder.h"
#include "model/lora.h"

namespace ds::tool {

struct LoraFlags {
  std::optional<int64_t> rank;
  std::optional<double> alpha, dropout;
  std::optional<std::string> targets;
  bool rank_stabilised = false, embeddings = false;
  std::string folder;                      // of adapters to go on from; "": fresh ones, or none
  std::string base;                        // the model below these; "": as they name it
  std::optional<infer::ModelPlace> place;  // of --model, once it was found
};

// Of a command that reads adapters: where the model below them is.
void AddBaseFlag(CLI::App& app, std::string& base);
// Those of training, that one among them.
void AddLoraFlags(CLI::App& train, LoraFlags& flags);

// A folder of adapters is one of a model, too: `model` becomes the one below it.
Status FindAdapters(std::string& model, LoraFlags& flags);
// None: all of the model is trained. `model`: the folder below.
Result<std::optional<model::LoraConfig>> PlanLora(const std::string& model, const LoraFlags& flags);

}  // namespace ds::tool
