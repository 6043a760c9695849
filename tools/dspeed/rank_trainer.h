// One rank's part in training a language model on a text: an engine, a model over it,
// and the samples of each step. Every call is collective over the ranks.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/run_state.h"
#include "comm/communicator.h"
#include "data/mix.h"
#include "data/sampler.h"
#include "engine/engine.h"
#include "infer/model_folder.h"
#include "kernels/gemm.h"
#include "model/model.h"
#include "train_plan.h"

namespace ds::tool {

struct StepResult {
  double loss = 0;  // mean over the tokens of the global batch that are learned, in nats
  StepInfo info;
  bool stop = false;  // some rank was interrupted
};

struct ValidationLosses {
  double mean = 0;           // over the texts, each as its part of the samples says
  std::vector<double> each;  // in their order
};

class RankTrainer {
 public:
  // All outlive the trainer. `checksums`: one a text, where the run is saved.
  static Result<std::unique_ptr<RankTrainer>> Create(const TrainPlan& plan, const data::Mix& texts,
                                                     std::span<const std::string> checksums,
                                                     const token::Tokenizer* tokenizer,
                                                     comm::Communicator& comm, TaskPool& pool,
                                                     kernels::Gemm& gemm);

  // Step `step` (from 0): forward, backward and update on the samples of that step.
  Result<StepResult> Step(int64_t step);
  // Mean losses over windows of the parts for validation: at most kValidationWindows, or with
  // several texts their share of it, but kLeastWindows of each.
  Result<ValidationLosses> ValidationLoss();

  // The Hugging Face folder, and beside it in `state` what Restore() reads; `step` steps are done.
  Status Save(const std::string& folder, int64_t step);
  // Continues the run that the manifest describes. Fails when it was another run, naming what
  // differs.
  Status Restore(const std::string& folder, const checkpoint::RunManifest& manifest);
  // Whether the model in the folder is that of the state that was restored; collective.
  Result<bool> ModelIsThere();

  Engine& engine() { return *engine_; }
  model::Model& model() { return *model_; }

 private:
  static constexpr int64_t kValidationWindows = 64, kLeastWindows = 8;

  RankTrainer(const TrainPlan& plan, const data::Mix& texts, std::span<const std::string> checksums,
              const token::Tokenizer* tokenizer, comm::Communicator& comm, data::Sampler sampler)
      : plan_(plan),
        texts_(texts),
        checksums_(checksums),
        tokenizer_(tokenizer),
        comm_(comm),
        sampler_(std::move(sampler)) {}

  // Of the micro-batch that lies in the arrays.
  model::TokenBatch Batch() const;
  data::WindowRow Row(int64_t sequence);
  // The losses of a text's windows, and the tokens that have one, of this rank.
  Status AddLosses(const data::Windows& text, int64_t most, std::span<double, 2> sums);
  Json Facts() const;
  Json Parts() const;  // of the texts
  Status AddGenerationConfig(FolderChange& change, const std::string& folder) const;
  // What this run has otherwise than the one whose facts were saved, each for people.
  std::vector<std::string> Differences(const Json& saved) const;
  // That adapters go on beside the weights that they were trained beside.
  Status CheckBase(const std::string& folder, const Json& saved) const;

  const TrainPlan& plan_;
  const data::Mix& texts_;
  const std::span<const std::string> checksums_;  // of the texts
  const token::Tokenizer* const tokenizer_;       // null: the text came as ids
  comm::Communicator& comm_;
  const data::Sampler sampler_;
  Json config_;                             // what config.json says of the model
  std::optional<infer::Fingerprint> base_;  // of the weights that adapters stand beside
  bool cleared_ = false;                    // what others left in the folder
  bool replaces_ = true;                    // the next save, another model than this run's
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<model::Model> model_;              // uses the engine
  std::vector<int32_t> ids_, targets_, first_keys_;  // of one micro-batch
};

}  // namespace ds::tool
