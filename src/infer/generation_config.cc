#include "infer/generation_config.h"

#include <algorithm>

#include "base/file.h"
#include "base/json.h"

namespace ds::infer {
namespace {

constexpr int64_t kTopK = 50;  // what transformers takes where a file that samples has none

template <typename T>
Status Read(const Json& json, const char* key, std::optional<T>& out) {
  if (!json.contains(key) || json[key].is_null()) return {};
  return ReadKey(json, key, out.emplace());
}

// One, a list, or null.
Status ReadEnds(const Json& json, std::vector<int32_t>& ends) {
  const Json given = json.value("eos_token_id", Json());
  if (given.is_null()) return {};
  ends.clear();
  for (const Json& id : given.is_array() ? given : Json::array({given})) {
    if (!id.is_number_integer() || id < 0 || id > INT32_MAX) {
      return Error(Code::kConfig, "eos_token_id is {}, expected ids", DumpJson(given, -1));
    }
    ends.push_back(id.get<int32_t>());
  }
  return {};
}

// What of transformers' GenerationConfig changes which tokens are chosen, beside what is read, and
// the value at which it does nothing; null does nothing either.
const Json& NotDone() {
  static const Json nothing = {{"num_beams", 1},
                               {"num_beam_groups", 1},
                               {"no_repeat_ngram_size", 0},
                               {"encoder_no_repeat_ngram_size", 0},
                               {"encoder_repetition_penalty", 1.0},
                               {"bad_words_ids", Json()},
                               {"suppress_tokens", Json()},
                               {"begin_suppress_tokens", Json()},
                               {"sequence_bias", Json()},
                               {"exponential_decay_length_penalty", Json()},
                               {"guidance_scale", 1.0},
                               {"watermarking_config", Json()},
                               {"stop_strings", Json()},
                               {"penalty_alpha", 0.0},
                               {"typical_p", 1.0},
                               {"epsilon_cutoff", 0.0},
                               {"eta_cutoff", 0.0},
                               {"top_h", Json()},
                               {"forced_bos_token_id", Json()},
                               {"forced_eos_token_id", Json()},
                               {"min_length", 0},
                               {"min_new_tokens", 0},
                               {"max_time", Json()},
                               {"token_healing", false},
                               {"dola_layers", Json()},
                               {"constraints", Json()},
                               {"force_words_ids", Json()}};
  return nothing;
}

void FindNotDone(const Json& json, std::vector<std::string>& not_done) {
  for (const auto& [key, none] : NotDone().items()) {
    const Json value = json.value(key, Json());
    if (value.is_null() || value == none || (value.is_structured() && value.empty())) continue;
    not_done.push_back(fmt::format("{} {}", key, DumpJson(value, -1)));
  }
}

Status ReadSampling(const Json& json, GenerationConfig& config) {
  DS_TRY(Read(json, "temperature", config.temperature));
  DS_TRY(Read(json, "top_k", config.top_k));
  DS_TRY(Read(json, "top_p", config.top_p));
  return Read(json, "min_p", config.min_p);
}

Status ReadInto(const Json& json, GenerationConfig& config) {
  if (!json.is_object()) {
    return Error(Code::kConfig, "is {}, expected an object", JsonTypeName(json));
  }
  std::optional<bool> samples;
  DS_TRY(ReadEnds(json, config.end_ids));
  DS_TRY(Read(json, "do_sample", samples));
  DS_TRY(Read(json, "repetition_penalty", config.repetition_penalty));
  FindNotDone(json, config.not_done);
  GenerationConfig drawn = config;
  Status status = ReadSampling(json, drawn);
  if (samples.has_value() && !drawn.top_k.has_value()) drawn.top_k = kTopK;
  if (!samples.value_or(true)) {  // the rest counts where a flag has it draw after all
    drawn.temperature = 0;
    if (!status.ok() || !drawn.Check().ok()) drawn = config;
    drawn.temperature = 0;
    status = {};
  }
  if (status.ok()) config = std::move(drawn);
  return status;
}

// What the file at `path` says, over `config`.
Result<GenerationConfig> Parse(const Json& json, GenerationConfig config, const std::string& path) {
  const Status status = ReadInto(json, config);
  if (status.ok()) return config;
  return Error(status.code(), "{}: {}", path, status.message());
}

// What an older model's config.json says of it; null, where that is nothing.
Result<Json> OfModelConfig(const std::string& folder) {
  const std::string path = folder + "/config.json";
  auto text = ReadFile(path);
  if (text.status().code() == Code::kNotFound) return Json();
  DS_TRY(text.status());
  DS_ASSIGN(const Json config, ParseJson(*text, path));
  Json says;
  const auto take = [&](const std::string& key) {
    if (config.contains(key) && !config[key].is_null()) says[key] = config[key];
  };
  for (const char* key :
       {"do_sample", "temperature", "top_k", "top_p", "min_p", "repetition_penalty"}) {
    take(key);
  }
  for (const auto& [key, none] : NotDone().items()) take(key);
  return says;
}

GenerationConfig EndsOf(const model::DecoderConfig& config) {
  GenerationConfig of_model;
  for (const int64_t id : config.eos_tokens) of_model.end_ids.push_back(static_cast<int32_t>(id));
  return of_model;
}

}  // namespace

Status GenerationConfig::Check() const {
  SamplingOptions all;
  Apply(all);
  const Status status = all.Check();
  return status.ok() ? status : Error(status.code(), "{}: {}", path, status.message());
}

void GenerationConfig::Apply(SamplingOptions& options) const {
  options.temperature = temperature.value_or(options.temperature);
  options.top_k = top_k.value_or(options.top_k);
  options.top_p = top_p.value_or(options.top_p);
  options.min_p = min_p.value_or(options.min_p);
  options.repetition_penalty = repetition_penalty.value_or(options.repetition_penalty);
}

Result<GenerationConfig> ReadGenerationConfig(const std::string& folder,
                                              const model::DecoderConfig& config) {
  std::string path = folder + "/" + kGenerationConfig;
  auto text = ReadFile(path);
  if (text.status().code() == Code::kNotFound) {
    path = folder + "/config.json";
    text = ReadFile(path);
    if (text.status().code() == Code::kNotFound) return EndsOf(config);
  }
  DS_TRY(text.status());
  DS_ASSIGN(const Json json, ParseJson(*text, path));
  DS_ASSIGN(GenerationConfig read, Parse(json, EndsOf(config), path));
  read.path = path;
  return read;
}

Status AddGenerationConfig(FolderChange& change, const std::string& folder, const std::string& from,
                           const model::DecoderConfig& config, std::optional<int32_t> end) {
  const std::string path = folder + "/" + kGenerationConfig;
  std::vector<int32_t> ends;
  const auto missing = [&] {
    return end.has_value() && std::find(ends.begin(), ends.end(), *end) == ends.end();
  };
  Json json;
  bool made = from.empty();  // of what the model's own config says
  if (!from.empty()) {
    const std::string source = from + "/" + kGenerationConfig;
    auto text = ReadFile(source);
    // What it says is the business of who generates, unless there is something to add.
    if (text.ok() && !end.has_value()) return change.Add(path, *text);
    if (text.ok()) {
      DS_ASSIGN(json, ParseJson(*text, source));
      DS_ASSIGN(const GenerationConfig says, Parse(json, {}, source));
      ends = says.end_ids;
      if (!missing()) return change.Add(path, *text);
    } else if (text.status().code() != Code::kNotFound) {
      return text.status();
    } else {
      made = true;
      DS_ASSIGN(json, OfModelConfig(from));
    }
  }
  if (ends.empty()) ends = EndsOf(config).end_ids;
  if (missing()) ends.insert(ends.begin(), *end);
  if (ends.empty() && json.is_null()) return {};
  if (made) {
    json["_from_model_config"] = true;
    if (config.bos_token >= 0) json["bos_token_id"] = config.bos_token;
  }
  if (!ends.empty()) json["eos_token_id"] = ends.size() == 1 ? Json(ends[0]) : Json(ends);
  return change.Add(path, DumpJson(json) + "\n");
}

}  // namespace ds::infer
