#include "train_plan.h"

#include <algorithm>
#include <cmath>

#include "base/file.h"
#include "base/json.h"
#include "data/chat.h"
#include "infer/model_folder.h"
#include "loaded_model.h"
#include "preset.h"
#include "token/special_tokens.h"

namespace ds::tool {
namespace {

// Usual ones, of all weights of a model that exists and of adapters beside it.
constexpr double kFineTuningRate = 2e-5, kAdapterRate = 2e-4;
constexpr int64_t kFolderContext = 1024;  // of a model that was made for more, unless asked for
// Ids without a tokenizer are most often those of GPT-2, whose programs write them as uint16.
constexpr int64_t kGpt2Vocab = 50257;

Result<int64_t> VocabOf(const TrainFlags& flags, const TrainText& text) {
  const int64_t least = text.tokenizer == nullptr ? 1 : text.tokenizer->vocab();
  // A model that exists knows how many there are.
  const int64_t unknown = flags.model.empty() ? kGpt2Vocab : 1;
  const int64_t asked = flags.asked_vocab.value_or(text.tokenizer == nullptr ? unknown : least);
  if (asked >= least && asked <= INT32_MAX) return asked;
  return InvalidArgument("--vocab is {}, expected {} to {}", asked, least, INT32_MAX);
}

// Those of --special that it has not.
Status AddSpecialTokens(TrainFlags& flags, std::unique_ptr<token::Tokenizer>& tokenizer) {
  if (tokenizer != nullptr) flags.tokenizer_vocab = tokenizer->vocab();
  if (flags.special.empty()) return {};
  if (tokenizer == nullptr) {
    return InvalidArgument("--special {}: there is no tokenizer to add it to (--tokenizer)",
                           flags.special[0]);
  }
  auto more = token::WithSpecialTokens(*tokenizer, flags.special);
  if (!more.ok()) return Error(more.status().code(), "--special: {}", more.status().message());
  flags.added_tokens = (*more)->vocab() - tokenizer->vocab();
  tokenizer = std::move(more).Take();
  return {};
}

// How it lays out conversations; "": it cannot.
std::string LayoutOf(const token::Tokenizer* tokenizer) {
  if (tokenizer == nullptr) return "";
  auto layout = data::ChatTemplate(*tokenizer);
  return layout.ok() ? std::move(layout).Take() : "";
}

// What a model of conversations has to know: where an answer ends, and for others who ask it, how
// they were laid out, where that is not what it was `before` or is said nowhere. Without the tokens
// for it the text is refused where it is read.
Status FindLayout(const std::string& before, TrainFlags& flags, token::Tokenizer& tokenizer) {
  const std::string layout = LayoutOf(&tokenizer);
  if (layout.empty()) return {};
  DS_ASSIGN(flags.end_of_turn, data::EndOfTurn(tokenizer));
  flags.end_ids.push_back(*flags.end_of_turn);
  if (layout != before || !token::HasChatTemplate(tokenizer)) {
    tokenizer.Carry({token::kChatTemplate, layout});
  }
  return {};
}

}  // namespace

Result<TrainText> OpenTrainText(TrainFlags& flags) {
  DS_TRY(CheckFlags(flags));
  DS_TRY(FindAdapters(flags.model, flags.lora));
  Status none;  // of a tokenizer in the model's folder
  if (flags.text.tokenizer.empty() && !flags.model.empty()) {
    for (const std::string& folder : {flags.lora.folder, flags.model}) {
      if (folder.empty()) continue;
      none = token::Tokenizer::Open(folder).status();
      if (none.code() == Code::kNotFound) continue;
      flags.text.tokenizer = folder;
      break;
    }
  } else if (flags.text.tokenizer.empty()) {
    DS_ASSIGN(const Preset preset, FindPreset(flags.preset()));
    if (preset.tokenizer != "bytes") flags.text.tokenizer = preset.tokenizer;
  }
  TrainText text;
  if (!flags.mix.empty()) {
    DS_ASSIGN(text.sources, data::ReadMixFile(flags.mix));
  }
  for (const std::string& path : flags.data) {
    DS_ASSIGN(data::WeightedSource source,
              data::WeightedSource::Find(path, flags.text.format, flags.text.field));
    text.sources.push_back(std::move(source));
  }
  std::vector<data::Source> sources;
  for (const data::WeightedSource& one : text.sources) sources.push_back(one.source);
  const std::string& name = flags.text.tokenizer;
  if (!sources.empty()) {
    DS_ASSIGN(text.tokenizer, OpenTokenizer(name, sources));
  } else if (name != "chars" && (flags.model.empty() || !flags.special.empty())) {
    DS_ASSIGN(text.tokenizer, OpenTokenizer(name.empty() ? "bytes" : name, sources));
  } else if (name == "chars" && !flags.asked_vocab.has_value()) {
    return InvalidArgument(
        "--tokenizer chars: how many there are is known from --data FILE, or from --vocab N");
  }
  if (text.tokenizer != nullptr && flags.text.tokenizer.empty() && !none.ok()) {
    DS_ASSIGN(const model::HfConfig hf, infer::ReadPlaceConfig(*flags.lora.place));
    DS_TRY(CheckLearnedBytes(none, hf.config.vocab));
  }
  const std::string layout = LayoutOf(text.tokenizer.get());
  DS_TRY(AddSpecialTokens(flags, text.tokenizer));
  DS_ASSIGN(flags.vocab, VocabOf(flags, text));
  if (text.tokenizer == nullptr) return text;
  const bool answers = std::any_of(sources.begin(), sources.end(), [](const data::Source& source) {
    return source.text == data::TextFormat::kChat;
  });
  if (answers) DS_TRY(FindLayout(layout, flags, *text.tokenizer));
  if (const auto end = text.tokenizer->end_of_text()) flags.end_ids.push_back(*end);
  return text;
}

namespace {

// A model that exists has its sizes; but for a shorter context, flags may only repeat them.
Result<model::DecoderConfig> ModelOfFolder(const TrainFlags& flags) {
  DS_ASSIGN(const model::HfConfig hf, infer::ReadPlaceConfig(*flags.lora.place));
  model::DecoderConfig config = hf.config;
  for (const auto& [flag, asked, size] : {std::tuple("--layers", flags.layers, config.layers),
                                          std::tuple("--heads", flags.heads, config.heads),
                                          std::tuple("--width", flags.width, config.width)}) {
    if (asked.has_value() && *asked != size) {
      return InvalidArgument("{} is {}, but the model in {} has {}", flag, *asked, flags.model,
                             size);
    }
  }
  if (flags.family.has_value() && *flags.family != config.family->model_type) {
    return InvalidArgument("--family is {}, but the model in {} is a {}", *flags.family,
                           flags.model, config.family->model_type);
  }
  if (flags.context.has_value() && (*flags.context < 1 || *flags.context > config.context)) {
    return InvalidArgument("--context is {}, the model in {} was made for 1 to {}", *flags.context,
                           flags.model, config.context);
  }
  if (flags.tokenizer_vocab > config.vocab) {
    return InvalidArgument("the model in {} knows {} tokens, the tokenizer has {}", flags.model,
                           config.vocab, flags.tokenizer_vocab);
  }
  if (flags.added_tokens > 0) config.GrowVocab(flags.vocab);
  if (flags.asked_vocab.value_or(config.vocab) != config.vocab) {
    return InvalidArgument("the model in {} knows {} tokens, --vocab is {}", flags.model,
                           config.vocab, *flags.asked_vocab);
  }
  std::vector<int64_t>& ends = config.eos_tokens;
  if (flags.end_of_turn && std::find(ends.begin(), ends.end(), *flags.end_of_turn) == ends.end()) {
    ends.insert(ends.begin(), *flags.end_of_turn);
  }
  return config;
}

Result<model::DecoderConfig> ModelOf(const TrainFlags& flags, const Preset& preset) {
  if (!flags.model.empty()) return ModelOfFolder(flags);
  model::DecoderConfig config{.vocab = flags.vocab,
                              .context = flags.context.value_or(preset.context),
                              .layers = flags.layers.value_or(preset.layers),
                              .heads = flags.heads.value_or(preset.heads),
                              .width = flags.width.value_or(preset.width),
                              .eos_tokens = flags.end_ids};
  if (flags.family.has_value()) {
    config.family = model::FindFamily(*flags.family);
    if (config.family == nullptr) {
      return InvalidArgument("--family is {}, expected {}", *flags.family, model::FamilyNames());
    }
  }
  if (config.family->positions == model::Positions::kRope) {
    // About as many weights as four times the width would have in two products, in whole vectors.
    config.inner = (config.width * 8 / 3 + 31) / 32 * 32;
    config.qkv_bias = config.family == &model::Qwen2Family();
    config.out_bias = config.mlp_bias = false;
  }
  const std::pair<const char*, int64_t> sizes[] = {{"--layers", config.layers},
                                                   {"--heads", config.heads},
                                                   {"--width", config.width},
                                                   {"--context", config.context}};
  for (const auto& [flag, size] : sizes) {
    if (size < 1) return InvalidArgument("{} is {}, expected 1 or more", flag, size);
  }
  if (config.width % config.heads != 0) {
    return InvalidArgument("--width {} is not a multiple of --heads {}", config.width,
                           config.heads);
  }
  DS_TRY(config.Check());
  return config;
}

// Where the family has any.
void SetDropout(const TrainFlags& flags, model::DecoderConfig& model) {
  if (!flags.dropout.has_value()) return;
  model.attention_dropout = *flags.dropout;
  if (model.family != &model::Gpt2Family()) return;
  model.embedding_dropout = model.residual_dropout = *flags.dropout;
}

constexpr const char* kTrainBatch = "train_batch_size";

bool Has(const Json& json, const char* key) {
  return json.contains(key) && !json[key].is_null() && json[key] != "auto";
}

// The section of that name, made when it is absent; null when it is something else, which the
// reader of the config will refuse.
Json* Section(Json& json, const char* key) {
  if (!Has(json, key)) json[key] = Json::object();
  return json[key].is_object() ? &json[key] : nullptr;
}

template <typename T>
Status SetOrAgree(Json& section, const char* key, const char* path, const char* flag,
                  const T& value) {
  if (Has(section, key) && section[key] != value) {
    return Error(Code::kConfig, "{} is {}, but the config's {} is {}", flag, Json(value).dump(),
                 path, section[key].dump());
  }
  section[key] = value;
  return {};
}

Status SetBatch(const TrainFlags& flags, const Preset& preset, Json& json) {
  if (flags.batch.has_value()) {
    return SetOrAgree(json, kTrainBatch, kTrainBatch, "--batch", *flags.batch);
  }
  if (!Has(json, kTrainBatch) && !Has(json, "train_micro_batch_size_per_gpu") &&
      Has(preset.ds_config, kTrainBatch)) {
    json[kTrainBatch] = preset.ds_config[kTrainBatch];
  }
  return {};
}

// What the user's config says nothing of, the preset may; the batch was settled before.
void SetFromPreset(const Preset& preset, Json& json) {
  for (const auto& [key, value] : preset.ds_config.items()) {
    const bool batch = key.ends_with("batch_size") || key.ends_with("per_gpu");
    if (!batch && !Has(json, key.c_str())) json[key] = value;
  }
}

// A model that exists is moved a little; 0: whatever else says of a fresh one. A preset that was
// asked for by name has its say.
double FineTuningRate(const TrainPlan& plan) {
  if (plan.flags.model.empty() || plan.flags.asked_preset.has_value()) return 0;
  return plan.lora.has_value() ? kAdapterRate : kFineTuningRate;
}

// `users`: the optimizer is of the user's config, not of the preset.
Status SetLearningRate(bool users, TrainPlan& plan, Json& json) {
  const TrainFlags& flags = plan.flags;
  if (!Has(json, "optimizer")) {
    json["optimizer"] = {
        {"type", "AdamW"},
        {"params", {{"lr", "auto"}, {"betas", {0.9, 0.95}}, {"weight_decay", 0.1}}}};
  }
  Json* optimizer = Section(json, "optimizer");
  Json* params = optimizer == nullptr ? nullptr : Section(*optimizer, "params");
  if (params == nullptr) return {};
  const std::string preset = "preset " + flags.preset();
  const auto take = [&](const Json& lr, const std::string& from) {
    (*params)["lr"] = lr;
    plan.lr_from = from;
  };
  if (flags.lr.has_value()) {
    if (users) DS_TRY(SetOrAgree(*params, "lr", "optimizer.params.lr", "--lr", *flags.lr));
    take(*flags.lr, "--lr");  // it outweighs the preset
    return {};
  }
  plan.lr_from = Has(*params, "lr") ? users ? "the config" : preset : "DeepSpeed's default";
  const bool automatic = params->contains("lr") && (*params)["lr"] == "auto";
  if (users && !automatic) return {};
  if (flags.lr_of_run.has_value()) {
    take(*flags.lr_of_run, "as before");
    return {};
  }
  const Json::json_pointer path("/optimizer/params/lr");
  const Json& recipe = plan.preset.ds_config;
  if (const double tuning = FineTuningRate(plan); tuning > 0) {
    take(tuning, plan.lora.has_value() ? "the default of adapters" : "the default of --model");
  } else if (automatic && recipe.contains(path) && recipe.at(path).is_number()) {
    take(recipe.at(path), preset);
  } else if (automatic) {
    take(1e-3, "the default");
  }
  return {};
}

int64_t WarmupOf(int64_t steps) { return std::clamp<int64_t>(steps / 10, 1, 100); }

// Of a fresh model half the run, up to a hundred steps. Its weights are near 0, so that in the
// first steps the full rate turns over whole directions of its output: the loss of a GPT-2 of 4
// layers then jumps from 3.4 to 9 for a step, with two of three seeds.
int64_t WarmupOfFresh(int64_t steps) { return std::clamp<int64_t>(steps / 2, 1, 100); }

void SetSchedule(const TrainFlags& flags, Json& json) {
  if (!Has(json, "scheduler")) {
    if (flags.steps == 1) return;  // it would be the warm-up's first, at a rate of 0
    const int64_t warmup = flags.model.empty() ? WarmupOfFresh(flags.steps) : WarmupOf(flags.steps);
    json["scheduler"] = {{"type", "WarmupCosineLR"},
                         {"params",
                          {{"total_num_steps", flags.steps},
                           {"warmup_num_steps", warmup},
                           {"warmup_type", "linear"},
                           {"warmup_min_ratio", 0.05},
                           {"cos_min_ratio", 0.1}}}};
    return;
  }
  ResolveSteps(flags.steps, json);
}

Status SetDType(const TrainFlags& flags, Json& json) {
  if (!flags.dtype.has_value()) return {};
  const std::string& name = *flags.dtype;
  DS_ASSIGN(const DType dtype, ParseDType(name));
  const auto set = [&](const char* key, bool on) -> Status {
    Json* section = Section(json, key);
    if (section == nullptr) return {};
    if (Has(*section, "enabled") && (*section)["enabled"] != on) {
      return Error(Code::kConfig, "--dtype is {}, but the config's {}.enabled is {}", name, key,
                   (*section)["enabled"].dump());
    }
    (*section)["enabled"] = on;
    return {};
  };
  DS_TRY(set("fp16", dtype == DType::kF16));
  return set(json.contains("bfloat16") ? "bfloat16" : "bf16", dtype == DType::kBF16);
}

// A batch that came whole has to be cut for the ranks; one of the user's config is its reader's
// matter.
Status CheckCut(const TrainPlan& plan, bool users, const Json& config) {
  const TrainFlags& flags = plan.flags;
  const Json batch = config.value(kTrainBatch, Json());
  if (users || !batch.is_number_integer()) return {};
  const auto whole = [&](const char* key) -> int64_t {
    const Json value = config.value(key, Json());
    const bool known = value.is_number_integer() && value > 0 && value < int64_t{1} << 24;
    return known ? value.get<int64_t>() : 1;
  };
  const int64_t micro = whole("train_micro_batch_size_per_gpu");
  const int64_t parts = flags.ranks * micro * whole("gradient_accumulation_steps");
  const auto asked = batch.get<int64_t>();
  if (asked % parts == 0) return {};
  const int64_t less = asked / parts * parts;
  return InvalidArgument(
      "{} {}, which {} ranks{} cannot share evenly: {}--batch {}{} would do{}",
      flags.batch.has_value() ? "--batch is" : "the batch of preset " + flags.preset() + " is",
      asked, flags.ranks,
      parts > flags.ranks ? fmt::format(" ({} sequences at a time)", parts) : "",
      flags.resume ? "--ranks that divide it, or for another run " : "",
      less > 0 ? fmt::format("{} or --batch ", less) : "", less + parts,
      flags.resume ? "; one that goes on keeps its batch" : "");
}

}  // namespace

std::string ContextNote(const TrainPlan& plan) {
  if (plan.flags.model.empty() || plan.flags.context.has_value()) return "";
  if (plan.context >= plan.model.context) return "";
  return fmt::format("of {}: --context N takes more", plan.model.context);
}

std::vector<std::string> ResolveSteps(int64_t steps, Json& config) {
  std::vector<std::string> resolved;
  const Json::json_pointer path("/scheduler/params");
  if (!config.is_object() || !config.contains(path) || !config.at(path).is_object()) {
    return resolved;
  }
  Json& params = config[path];
  for (const auto& [key, value] :
       {std::pair("total_num_steps", steps), std::pair("warmup_num_steps", WarmupOf(steps))}) {
    if (!params.contains(key) || params[key] != "auto") continue;
    params[key] = value;
    resolved.push_back(std::string("scheduler.params.") + key);
  }
  return resolved;
}

Result<TrainPlan> PlanTraining(const TrainFlags& asked) {
  DS_TRY(CheckFlags(asked));
  TrainPlan plan;
  DS_ASSIGN(plan.preset, FindPreset(asked.preset()));
  const Preset& preset = plan.preset;
  plan.flags = asked;
  TrainFlags& flags = plan.flags;
  const std::optional<int64_t> steps = asked.epochs ? asked.epoch_steps : asked.asked_steps;
  flags.steps = steps.value_or(preset.steps.value_or(flags.steps));
  if (flags.eval_every == 0) {
    flags.eval_every = preset.eval_every.value_or(std::max<int64_t>(1, flags.steps / 10));
  }
  DS_ASSIGN(plan.model, ModelOf(flags, preset));
  SetDropout(flags, plan.model);
  DS_TRY(plan.model.Check());
  DS_ASSIGN(plan.lora, PlanLora(flags.model, flags.lora));
  if (plan.lora.has_value() && flags.added_tokens > 0) {
    if (!flags.lora.folder.empty()) {
      return InvalidArgument(
          "--special {}: {} has adapters of a model without it; new ones learn it (--model {}, "
          "--lora-rank)",
          flags.special[0], flags.lora.folder, flags.model);
    }
    plan.lora->embedding = plan.lora->head = true;  // where what it knows of a token is
  }
  plan.context =
      flags.model.empty()
          ? plan.model.context
          : flags.context.value_or(std::min<int64_t>(plan.model.context, kFolderContext));
  plan.bias = preset.bias || !flags.model.empty();

  Json json = Json::object();
  if (!flags.config.empty()) {
    DS_ASSIGN(const std::string text, ReadFile(flags.config));
    DS_ASSIGN(json, ParseJson(text, flags.config));
    if (!json.is_object()) {
      return Error(Code::kConfig, "{}: is {}, expected an object", flags.config,
                   JsonTypeName(json));
    }
  }
  const bool users = Has(json, "optimizer"), users_batch = Has(json, kTrainBatch);
  DS_TRY(SetBatch(flags, preset, json));
  SetFromPreset(preset, json);
  DS_TRY(SetLearningRate(users, plan, json));
  DS_TRY(SetDType(flags, json));
  SetSchedule(flags, json);
  DS_TRY(CheckCut(plan, users_batch, json));
  plan.config_json = DumpJson(json);
  auto engine = ParseConfig(plan.config_json, flags.ranks);
  // The user's, and a preset that was asked for, of which it has what the user's does not say.
  std::string from = flags.config;
  if (flags.asked_preset.has_value() && !preset.ds_config.empty()) {
    from += (from.empty() ? "" : ", ") + preset.source();
  }
  if (!from.empty()) from += ": ";
  if (!engine.ok()) {
    return Error(engine.status().code(), "{}{}", from, engine.status().message());
  }
  plan.engine = std::move(engine).Take();
  if (plan.engine.train_batch > kMostBatch) {
    return InvalidArgument("{}{} is {}, at most {}", from, kTrainBatch, plan.engine.train_batch,
                           kMostBatch);
  }
  return plan;
}

Result<TrainPlan> PlanEpochs(TrainFlags asked, int64_t batch, int64_t windows) {
  const double samples = asked.epochs.value() * static_cast<double>(windows);
  // What is a whole number but for the rounding of 1.1 is one.
  const double steps = std::ceil(samples / static_cast<double>(batch) * (1 - 1e-12));
  if (steps > static_cast<double>(kMostSteps)) {
    return InvalidArgument("--epochs {:g} of {} sequences are {:g} steps, at most {}",
                           *asked.epochs, windows, steps, kMostSteps);
  }
  asked.epoch_steps = static_cast<int64_t>(steps);
  return PlanTraining(asked);
}

}  // namespace ds::tool
