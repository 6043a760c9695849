#include "rank_trainer.h"

#include <fmt/ranges.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>

#include "base/json.h"
#include "base/trace.h"
#include "infer/adapter_folder.h"
#include "infer/generation_config.h"
#include "infer/model_folder.h"
#include "interrupt.h"
#include "model/decoder.h"
#include "model/family.h"
#include "save_folder.h"
#include "zero/agreement.h"

namespace ds::tool {

namespace {

constexpr char kOrder[] = "order of samples";

// Where ranks are processes each has read the texts for itself.
Status AgreeOnTexts(comm::Communicator& comm, const data::Mix& texts) {
  constexpr size_t kEnd = size_t{1} << 20;
  std::vector<zero::Declaration> declarations;
  for (size_t i = 0; i < texts.size(); ++i) {
    const auto bytes = texts.corpus(i).all().bytes();
    const size_t part = std::min(bytes.size(), kEnd);
    const uint64_t begin = XXH3_64bits_withSeed(bytes.data(), part, bytes.size());
    const uint64_t digest = XXH3_64bits_withSeed(bytes.last(part).data(), part, begin);
    declarations.push_back(
        {digest, fmt::format("{} (as tokens {} bytes, checksum {:016x} of their ends)",
                             texts.corpus(i).path(), bytes.size(), digest)});
  }
  return zero::AgreeOn(comm, "data", declarations);
}

// Of all that makes it what it is.
std::string DigestOf(const token::Tokenizer& tokenizer) {
  std::string all = fmt::format("{} {}", tokenizer.vocab(), tokenizer.description());
  for (const token::TokenizerFile& file : tokenizer.files()) {
    all += fmt::format("\n{} {}\n{}", file.name, file.text.size(), file.text);
  }
  return fmt::format("{:016x}", XXH3_64bits(all.data(), all.size()));
}

}  // namespace

Result<std::unique_ptr<RankTrainer>> RankTrainer::Create(const TrainPlan& plan,
                                                         const data::Mix& texts,
                                                         std::span<const std::string> checksums,
                                                         const token::Tokenizer* tokenizer,
                                                         comm::Communicator& comm, TaskPool& pool,
                                                         kernels::Gemm& gemm) {
  DS_ASSIGN(const data::Sampler sampler,
            data::Sampler::Create(texts.train(), plan.flags.order(), plan.engine.train_batch,
                                  plan.flags.seed));
  DS_TRY(AgreeOnTexts(comm, texts));
  std::unique_ptr<RankTrainer> trainer(
      new RankTrainer(plan, texts, checksums, tokenizer, comm, sampler));
  DS_ASSIGN(trainer->engine_, Engine::Create(plan.engine, comm, pool));
  Engine& engine = *trainer->engine_;
  const model::DecoderOptions options{.recompute = plan.flags.recompute,
                                      .lora = plan.lora,
                                      .train_biases = plan.bias,
                                      .seed = plan.flags.seed};
  DS_ASSIGN(trainer->model_,
            model::Decoder::Create(plan.model, options, pool, gemm, engine.memory()));
  const auto fresh = [&](const model::Param& param) {
    return model::RandomValues(pool, plan.flags.seed, param);
  };
  if (const auto& place = plan.flags.lora.place) {
    DS_TRY(infer::LoadModelAt(*place, *trainer->model_, engine.store(), fresh));
  } else {
    DS_TRY(trainer->model_->RegisterParams(engine.store(), fresh));
  }
  if (plan.lora.has_value()) {
    DS_ASSIGN(trainer->base_, infer::FingerprintOf(plan.flags.model));
  }
  DS_TRY(engine.Seal());
  const auto tokens = static_cast<size_t>(plan.engine.micro_batch * plan.context);
  DS_ASSIGN(trainer->config_,
            ParseJson(model::ToHfConfig(plan.model, DType::kF32), "the config of the model"));
  for (auto* array : {&trainer->ids_, &trainer->targets_, &trainer->first_keys_}) {
    array->resize(tokens);
  }
  return trainer;
}

model::TokenBatch RankTrainer::Batch() const {
  return {.batch = plan_.engine.micro_batch,
          .tokens = plan_.context,
          .ids = ids_.data(),
          .targets = targets_.data(),
          .first_keys = sampler_.packed() ? first_keys_.data() : nullptr};
}

data::WindowRow RankTrainer::Row(int64_t sequence) {
  const int64_t at = sequence * plan_.context;
  return {ids_.data() + at, targets_.data() + at, first_keys_.data() + at};
}

Result<StepResult> RankTrainer::Step(int64_t step) {
  const EngineConfig& config = plan_.engine;
  const int64_t micro = config.micro_batch;
  // The engine takes the mean over micro-batches and ranks, which is to be that over the tokens.
  const int64_t learned = sampler_.Learned(step);
  const auto micros = static_cast<double>(config.accumulation * comm_.size());
  const double each = static_cast<double>(learned) / micros;
  const TraceSpan span(TraceLane::kStep, "step", std::to_string(step + 1));
  StepResult result;
  double loss = 0;
  for (int64_t a = 0; a < config.accumulation; ++a) {
    const int64_t first = (a * comm_.size() + comm_.rank()) * micro;
    sampler_.Fill(step, first, micro, Row(0));
    const double scale = engine_->loss_scale() / each;
    model::TokenBatch batch = Batch();
    batch.first_sequence = step * config.train_batch + first;
    DS_ASSIGN(const double sum, model_->ForwardBackward(batch, static_cast<float>(scale)));
    loss += sum;
    DS_ASSIGN(result.info, engine_->Step());
  }
  double sums[2] = {loss, Interrupted() != 0 ? 1.0 : 0.0};
  DS_TRY(comm_.AllReduce("loss", sums));
  result.loss = sums[0] / static_cast<double>(learned);
  result.stop = sums[1] > 0;
  return result;
}

Result<ValidationLosses> RankTrainer::ValidationLoss() {
  const TraceSpan span(TraceLane::kStep, "validation");
  const auto count = static_cast<int64_t>(texts_.size());
  std::vector<double> sums(2 * texts_.size());  // a pair a text
  for (size_t i = 0; i < texts_.size(); ++i) {
    DS_TRY(AddLosses(texts_.corpus(i).validation(),
                     std::max(kLeastWindows, kValidationWindows / count),
                     std::span(sums).subspan(2 * i).first<2>()));
  }
  DS_TRY(engine_->store().EndEvaluation());
  DS_TRY(comm_.AllReduce("validation loss", sums));
  ValidationLosses losses;
  for (size_t i = 0; i < texts_.size(); ++i) {
    losses.each.push_back(sums[2 * i] / sums[2 * i + 1]);
    losses.mean += texts_.part(i) * losses.each.back();
  }
  if (texts_.size() == 1) losses.mean = losses.each[0];
  return losses;
}

Status RankTrainer::AddLosses(const data::Windows& text, int64_t most, std::span<double, 2> sums) {
  const int64_t micro = plan_.engine.micro_batch;
  const std::vector<data::Window> windows = text.Even(most);
  const auto count = std::ssize(windows);
  // Every rank makes as many passes as the others: what is beyond the last window counts nothing.
  for (int64_t round = 0; round * micro * comm_.size() < count; ++round) {
    for (int64_t i = 0; i < micro; ++i) {
      const int64_t window = (round * comm_.size() + comm_.rank()) * micro + i;
      text.Fill(window < count ? windows[static_cast<size_t>(window)] : data::Window(), Row(i));
    }
    DS_ASSIGN(const double loss, model_->ForwardLoss(Batch()));
    sums[0] += loss;
    sums[1] += static_cast<double>(targets_.size()) -
               static_cast<double>(std::count(targets_.begin(), targets_.end(), -1));
  }
  return {};
}

// What two runs must have alike for the one to be the continuation of the other.
Json RankTrainer::Facts() const {
  const auto bytes_of = [&](size_t i) { return texts_.corpus(i).all().bytes(); };
  Json facts = {{"family", plan_.model.family->model_type},
                {"layers", plan_.model.layers},
                {"heads", plan_.model.heads},
                {"width", plan_.model.width},
                {"context", plan_.context},
                {"batch", plan_.engine.train_batch},
                {"dtype", DTypeName(plan_.engine.dtype)},
                {"seed", plan_.flags.seed},
                {"data bytes", bytes_of(0).size()},
                {"data checksum", checksums_[0]}};
  // Null where a run is as runs ever were: what an older one did not say is equal to it.
  const model::DecoderConfig& model = plan_.model;
  const model::LoraConfig* lora = model_->lora();
  const double dropout = model.attention_dropout + model.embedding_dropout + model.residual_dropout;
  facts["vocabulary"] = model.vocab != 256 ? Json(model.vocab) : Json();
  facts["bias"] = plan_.bias ? Json() : Json(false);  // without, its state has other arrays
  facts["padding row"] = model.padding_row() >= 0 ? Json(model.padding_row()) : Json();
  facts["dropout"] = Json();
  if (dropout > 0) {
    facts["dropout"] = {model.attention_dropout, model.embedding_dropout, model.residual_dropout};
  }
  facts[kOrder] = plan_.flags.epochs.has_value() ? Json("epochs") : Json();
  // Those of conversations were once windows from anywhere, and before that divided by all tokens.
  facts["gradient"] = sampler_.packed() ? Json("the mean of what is learned") : Json();
  facts["conversations"] = sampler_.packed() ? Json("whole") : Json();
  facts["adapters"] = Json();
  if (lora != nullptr) {
    facts["adapters"] = {
        {"rank", lora->size.rank}, {"scale", lora->ScaleOf("")}, {"of", lora->targets}};
    if (lora->dropout > 0) facts["adapters"]["dropout"] = lora->dropout;
    if (lora->embedding) facts["adapters"]["whole"].push_back("embedding");
    if (lora->head) facts["adapters"]["whole"].push_back("head");
    for (const auto& [product, size] : lora->chosen) {
      facts["adapters"]["of"].push_back({product, size.rank, lora->ScaleOf(product)});
    }
  }
  for (size_t i = 1; i < texts_.size(); ++i) {  // of one text as ever
    facts[fmt::format("data {} bytes", i + 1)] = bytes_of(i).size();
    facts[fmt::format("data {} checksum", i + 1)] = checksums_[i];
  }
  if (texts_.size() > 1) facts["parts of the data"] = Parts();
  return facts;
}

Json RankTrainer::Parts() const {
  Json parts = Json::array();
  for (size_t i = 0; i < texts_.size(); ++i) parts.push_back(texts_.part(i));
  return parts;
}

Status RankTrainer::CheckBase(const std::string& folder, const Json& saved) const {
  const Json base = saved.value("base", Json());
  if (!base_.has_value() || !base.is_object()) return {};  // an older state did not say it
  std::string checksum, where;
  DS_TRY(RequireKey(base, "folder", where));
  const bool more = base.contains("checksum of samples");  // not of the ends alone
  const std::string& mine = more ? base_->samples : base_->ends;
  DS_TRY(RequireKey(base, more ? "checksum of samples" : "checksum", checksum));
  if (checksum == mine) return {};
  return Error(Code::kConfig,
               "cannot resume {}: its adapters stand beside the weights of {} (checksum {}), this "
               "run's beside those of {} (checksum {})",
               folder, where, checksum, plan_.flags.model, mine);
}

Status RankTrainer::Save(const std::string& folder, int64_t step) {
  const TraceSpan span(TraceLane::kStep, "save");
  const std::string state = StateFolder(folder);
  const bool writes = comm_.rank() == 0;
  double save = 0;  // rank 0's; counts are exact in a double
  if (writes) {
    if (!cleared_) DS_TRY(ClearLeftovers(folder));  // before any rank writes
    DS_ASSIGN(const int64_t next, checkpoint::NextSave(state));
    save = static_cast<double>(next);
  }
  DS_TRY(comm_.AllReduce("number of the save", {&save, 1}));
  checkpoint::RunManifest manifest{step, static_cast<int64_t>(save), comm_.size(), {}, {}};
  DS_TRY(checkpoint::WriteRunSlices(state, manifest, comm_.rank(), engine_->store()));
  DS_TRY(comm_.Barrier("save"));
  if (writes) DS_TRY(checkpoint::CheckRunSlices(state, manifest));  // before the model goes
  const auto write = model_->lora() != nullptr ? infer::SaveAdapter : infer::SaveModel;
  const auto beside = [&](FolderChange& change) -> Status {
    if (replaces_) RemoveReplaced(change, folder, tokenizer_, plan_.flags.generation());
    DS_TRY(AddMark(change, folder, manifest.save));
    if (tokenizer_ != nullptr) DS_TRY(tokenizer_->AddTo(change, folder));
    return AddGenerationConfig(change, folder);
  };
  DS_TRY(write(folder, *model_, engine_->store(), writes, beside));
  cleared_ = true;
  replaces_ = false;
  DS_TRY(engine_->store().EndEvaluation());
  if (writes) {
    const Engine::Counters counters = engine_->counters();
    Json facts = Facts();
    facts["steps"] = plan_.flags.steps;
    if (tokenizer_ != nullptr) facts["tokenizer"] = DigestOf(*tokenizer_);
    facts["config"] = config_;
    facts["learning rate"] = plan_.engine.optimizer.value(Json::json_pointer("/params/lr"), Json());
    if (base_.has_value()) {
      facts["base"] = {{"folder", plan_.flags.model},
                       {"checksum", base_->ends},
                       {"checksum of samples", base_->samples}};
    }
    facts["applied steps"] = counters.step;
    facts["skipped steps"] = counters.skipped;
    if (const auto& scale = counters.loss_scale) {
      facts["loss scale"] = {{"scale", scale->scale},
                             {"hysteresis", scale->hysteresis},
                             {"iteration", scale->iteration},
                             {"last overflow", scale->last_overflow}};
    }
    manifest.facts = std::move(facts);
    DS_TRY(checkpoint::CommitRun(state, manifest));
  }
  return comm_.Barrier("saved");
}

Status RankTrainer::AddGenerationConfig(FolderChange& change, const std::string& folder) const {
  const TrainFlags& flags = plan_.flags;
  // With adapters where it says more than that of the model below.
  const bool more = flags.end_of_turn.has_value() || flags.generation() != flags.model;
  if (model_->lora() != nullptr && !more) return {};
  return infer::AddGenerationConfig(change, folder, flags.generation(), plan_.model,
                                    flags.end_of_turn);
}

std::vector<std::string> RankTrainer::Differences(const Json& saved) const {
  std::vector<std::string> differences;
  const auto text = [](const Json& fact) {
    return fact.is_null() ? "as by default" : DumpJson(fact, -1);
  };
  const auto add = [&](const std::string& name, const Json& theirs, const Json& ours) {
    differences.push_back(
        fmt::format("its {} is {}, this run's is {}", name, text(theirs), text(ours)));
  };
  const Json mine = Facts();
  bool data = false;
  for (const auto& [name, value] : mine.items()) {
    if (name == "parts of the data") continue;
    const Json theirs = saved.value(name, Json());
    if (theirs == value) continue;
    if (name == kOrder) {  // it is a flag that says it
      const auto flag = [](const Json& order) { return order.is_null() ? "--steps" : "--epochs"; };
      differences.push_back(
          fmt::format("it goes through the text by {}, this run by {}", flag(theirs), flag(value)));
    } else {
      add(name, theirs, value);
      data |= name.starts_with("data ");
    }
  }
  if (const Json parts = saved.value("parts of the data", Json({1.0})); parts != Parts()) {
    add("parts of the data", parts, Parts());
  }
  // The same ids may be those of another tokenizer. An older state does not say it.
  const Json tokenizer = saved.value("tokenizer", Json());
  if (!data && tokenizer_ != nullptr && tokenizer.is_string() &&
      tokenizer != DigestOf(*tokenizer_)) {
    differences.emplace_back("its tokenizer is another than this run's (--tokenizer, --special)");
  }
  if (data) differences.emplace_back("the text, or the tokenizer that reads it, is another");
  // Of what both say: an older state says less of it, or nothing. The ids that end a text change
  // no step. What is said above in words of ours is not said again.
  const Json config = saved.value("config", Json::object());
  const bool told = !differences.empty();
  for (const auto& [name, value] : config_.items()) {
    if (told || !config.contains(name) || config[name] == value || name == "eos_token_id") continue;
    add(name + " of the model", config[name], value);
  }
  return differences;
}

Status RankTrainer::Restore(const std::string& folder, const checkpoint::RunManifest& manifest) {
  const std::string state = StateFolder(folder);
  if (const auto differences = Differences(manifest.facts); !differences.empty()) {
    return Error(Code::kConfig, "cannot resume {}: {}", folder, fmt::join(differences, "; "));
  }
  DS_TRY(CheckBase(folder, manifest.facts));
  if (comm_.rank() == 0) {
    DS_TRY(ClearLeftovers(folder));
    cleared_ = true;
    replaces_ = !IsOfSave(folder, manifest.save);
  }
  Engine::Counters counters;
  DS_TRY(RequireKey(manifest.facts, "applied steps", counters.step));
  DS_TRY(RequireKey(manifest.facts, "skipped steps", counters.skipped));
  if (counters.step < 0 || counters.skipped < 0 || counters.step > manifest.step ||
      counters.skipped != manifest.step - counters.step) {
    return Error(Code::kCorruptData,
                 "{}: {} steps applied and {} skipped are not the {} of the run", state,
                 counters.step, counters.skipped, manifest.step);
  }
  if (plan_.engine.dtype == DType::kF16) {
    const Json saved = manifest.facts.value("loss scale", Json());
    if (!saved.is_object()) {
      return Error(Code::kCorruptData, "{}: the state of an fp16 run has no \"loss scale\"", state);
    }
    optim::LossScaleState& scale = counters.loss_scale.emplace();
    DS_TRY(RequireKey(saved, "scale", scale.scale));
    DS_TRY(RequireKey(saved, "hysteresis", scale.hysteresis));
    DS_TRY(RequireKey(saved, "iteration", scale.iteration));
    DS_TRY(RequireKey(saved, "last overflow", scale.last_overflow));
  }
  DS_TRY(checkpoint::ReadRunSlices(state, manifest, engine_->store()));
  return engine_->Restore(counters);
}

Result<bool> RankTrainer::ModelIsThere() {
  double other = comm_.rank() == 0 && replaces_ ? 1 : 0;
  DS_TRY(comm_.AllReduce("model of the save", {&other, 1}));
  return other == 0;
}

}  // namespace ds::tool
