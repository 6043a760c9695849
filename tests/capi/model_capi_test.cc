// Models through the C ABI: what transformers computed for the same folders, several ranks, and
// what is refused.
#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>

#include "support/model_client.h"
#include "support/temp_dir.h"

namespace ds::test {
namespace {

using nlohmann::json;

TEST(ModelC, SaysWhatTransformersSays) {
  for (const char* name : {"gpt2", "llama"}) {
    SCOPED_TRACE(name);
    const json facts = Facts(name);
    const Model model = Model::Open(Folder(name));
    const ds_model_info info = model.info();
    EXPECT_STREQ(info.family, name);
    EXPECT_EQ(info.vocab, 300);
    EXPECT_EQ(info.context, name[0] == 'g' ? 192 : 256);
    EXPECT_EQ(info.layers, 2);
    EXPECT_EQ(info.width, 32);
    EXPECT_EQ(info.dtype, DS_DTYPE_F32);
    const Batch batch(facts["ids"]);
    const ds_loss loss = model.Loss(batch);
    const double want = facts["loss"];
    EXPECT_EQ(loss.tokens, 2 * 23);
    EXPECT_NEAR(loss.mean, want, 1e-5 * want);
    EXPECT_EQ(loss.mean, loss.sum / 46);
    const auto logits = Tensor(Folder(name) + "/expected.safetensors", "logits");
    const auto got = model.Logits(batch);
    ASSERT_EQ(got.size(), logits.size());
    for (size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], logits[i], 1e-4) << i;
  }
}

// What no shape of a weight shows.
TEST(ModelC, RanksWhoseModelsDifferSaySo) {
  const struct {
    const char* more[2];
    int32_t recompute[2];
    const char* told;
  } cases[] = {
      {{R"("n_head": 2)", R"("n_head": 4)"},
       {0, 0},
       "model: rank 0 has \"n_head\": 2, rank 1 has \"n_head\": 4"},
      {{R"("n_head": 2, "resid_pdrop": 0.5)", R"("n_head": 2, "resid_pdrop": 0.25)"},
       {0, 0},
       "model: rank 0 has \"resid_pdrop\": 0.5, rank 1 has \"resid_pdrop\": 0.25"},
      {{R"("n_head": 2)", R"("n_head": 2)"},
       {0, 1},
       "model: rank 0 has recompute false, rank 1 has recompute true"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.told);
    OK(RunRanks(2, [&](const Rank& rank) {
      Trainer trainer(TrainConfig(0), rank.comm);
      const std::string config = std::string(R"({"model_type": "gpt2", "vocab_size": 11,
          "n_positions": 8, "n_layer": 1, "n_embd": 8, )") +
                                 c.more[rank.rank] + "}";
      ds_model_options options = DS_MODEL_OPTIONS_INIT;
      options.recompute = c.recompute[rank.rank];
      OK(ds_model_create(trainer.engine, config.c_str(), &options, &trainer.model));
      Refused(ds_engine_seal(trainer.engine), DS_ERR_RANK_MISMATCH, c.told);
    }));
  }
}

// Adapters of PEFT's beside a model: read, trained on by two ranks, written, merged.
TEST(ModelC, Adapters) {
  const json facts = Facts("lora");
  const Batch batch(facts["ids"]);
  const Model model = Model::Open(Folder("lora"));
  const double want = facts["loss"];
  EXPECT_NEAR(model.Loss(batch).mean, want, 1e-5 * want);
  const TempDir dir;
  const std::string moved = dir.file("moved"), base = Folder("llama");
  std::filesystem::copy(Folder("lora"), moved);
  json told = json::parse(ReadAll(moved + "/adapter_config.json"));
  told["base_model_name_or_path"] = "someone/llama";
  std::ofstream(moved + "/adapter_config.json") << told;
  ds_model_open_options where = DS_MODEL_OPEN_OPTIONS_INIT;
  where.base = base.c_str();
  EXPECT_EQ(Model::Open(moved, &where).Loss(batch).mean, model.Loss(batch).mean);
  // Who was compiled before there was a base has none.
  where.struct_size = offsetof(ds_model_open_options, base);
  ds_model* none = nullptr;
  Refused(ds_model_open(moved.c_str(), &where, &none), DS_ERR_NOT_FOUND, "someone/llama");
  EXPECT_EQ(Model::Open(Folder("lora"), &where).Loss(batch).mean, model.Loss(batch).mean);
  OK(ds_model_save_merged(model.get(), dir.file("merged").c_str()));
  EXPECT_NEAR(Model::Open(dir.file("merged")).Loss(batch).mean, want, 1e-4 * want);
  for (const bool fresh : {false, true}) {
    SCOPED_TRACE(fresh);
    const std::string out = dir.file(fresh ? "fresh" : "on");
    const ds_status ran = RunRanks(2, [&](const Rank& rank) {
      ds_model_options options = DS_MODEL_OPTIONS_INIT;
      if (fresh) options.lora_rank = 3, options.lora_targets = "q_proj,down_proj";
      Trainer trainer(TrainConfig(3), rank.comm);
      trainer.Load(Folder(fresh ? "llama" : "lora"), &options);
      for (int step = 0; step < 3; ++step) {
        ds_loss loss = DS_LOSS_INIT;
        OK(ds_model_forward_backward(trainer.model, &batch.view, 0, &loss));
        OK(ds_engine_step(trainer.engine, nullptr));
      }
      OK(ds_model_save(trainer.model, out.c_str()));
    });
    EXPECT_EQ(ran, DS_OK);
    EXPECT_FALSE(std::filesystem::exists(out + "/model.safetensors"));
    const double before = Model::Open(Folder(fresh ? "llama" : "lora")).Loss(batch).mean;
    EXPECT_LT(Model::Open(out).Loss(batch).mean, before - 0.001);
  }
}

// A vocabulary that grows, alone and beside adapters, which then lie with what they learned of it.
TEST(ModelC, NewIdsAreLearned) {
  const TempDir dir;
  const std::string base = Folder("llama");
  const int64_t known = json::parse(ReadAll(base + "/config.json"))["vocab_size"],
                vocab = known + 3;
  const auto last = static_cast<int32_t>(vocab - 1);
  const Batch batch({{last, 5, last, 5, last, 5, last, 5}});
  for (const int64_t rank : {0, 2}) {
    SCOPED_TRACE(rank);
    ds_model_options options = DS_MODEL_OPTIONS_INIT;
    options.lora_rank = rank;
    options.vocab = vocab;
    if (rank != 0) options.lora_dropout = 0.1;
    const std::string out = dir.file(rank != 0 ? "adapters" : "whole");
    double begin = 0;
    ASSERT_EQ(RunRanks(2,
                       [&](const Rank& at) {
                         Trainer trainer(TrainConfig(3), at.comm);
                         trainer.Load(base, &options);
                         ds_loss loss = DS_LOSS_INIT;
                         OK(ds_model_loss(trainer.model, &batch.view, &loss));
                         if (at.rank == 0) begin = loss.mean;
                         for (int step = 0; step < 20; ++step) {
                           OK(ds_model_forward_backward(trainer.model, &batch.view, 0, &loss));
                           OK(ds_engine_step(trainer.engine, nullptr));
                         }
                         OK(ds_model_save(trainer.model, out.c_str()));
                       }),
              DS_OK);
    const Model model = Model::Open(out);
    EXPECT_EQ(model.info().vocab, vocab);
    EXPECT_LT(model.Loss(batch).mean, begin - 0.01);
    if (rank == 0) continue;
    const json facts = json::parse(ReadAll(out + "/adapter_config.json"));
    EXPECT_EQ(facts["lora_dropout"], 0.1);
    EXPECT_EQ(facts["modules_to_save"].size(), 2);
    // They go on as they are; by another dropout where that is asked for.
    Trainer on(TrainConfig(0));
    options = DS_MODEL_OPTIONS_INIT;
    options.vocab = vocab + 1;
    Refused(ds_model_load(on.engine, out.c_str(), &options, &on.model), DS_ERR_INVALID_ARGUMENT,
            std::to_string(vocab).c_str());
    options.vocab = 0;
    options.lora_dropout = 0.25;
    on.Load(out, &options);
    OK(ds_model_save(on.model, dir.file("on").c_str()));
    EXPECT_EQ(json::parse(ReadAll(dir.file("on") + "/adapter_config.json"))["lora_dropout"], 0.25);
  }
}

// Dropout draws by the number of a sequence: counted, or as the caller says.
TEST(ModelC, Dropout) {
  const Batch batch(Facts("gpt2")["ids"]);
  const auto losses = [&](double rate, std::initializer_list<int64_t> numbers) {
    json config = json::parse(ReadAll(Folder("gpt2") + "/config.json"));
    for (const char* key : {"attn_pdrop", "embd_pdrop", "resid_pdrop"}) config[key] = rate;
    Trainer trainer(R"({"optimizer": {"type": "AdamW", "params": {"lr": 0}}})");
    EXPECT_EQ(ds_model_create(trainer.engine, config.dump().c_str(), nullptr, &trainer.model),
              DS_OK);
    EXPECT_EQ(ds_engine_seal(trainer.engine), DS_OK) << ds_error_peek_message();
    std::vector<double> got;
    for (const int64_t number : numbers) {
      ds_token_batch view = batch.view;
      view.first_sequence = number;
      ds_loss loss = DS_LOSS_INIT;
      EXPECT_EQ(ds_model_forward_backward(trainer.model, &view, 0, &loss), DS_OK);
      EXPECT_EQ(ds_engine_step(trainer.engine, nullptr), DS_OK);
      got.push_back(loss.sum);
    }
    ds_loss whole = DS_LOSS_INIT;
    EXPECT_EQ(ds_model_loss(trainer.model, &batch.view, &whole), DS_OK);
    got.push_back(whole.sum);
    return got;
  };
  const auto counted = losses(0.3, {0, 0, 0}), said = losses(0.3, {1, 3, 5}),
             same = losses(0.3, {3, 3, 3}), none = losses(0, {0, 0, 0});
  EXPECT_EQ(counted, said);  // two sequences a batch
  EXPECT_NE(counted[0], counted[1]);
  EXPECT_EQ(same[0], same[1]);
  EXPECT_EQ(same[0], counted[1]);
  EXPECT_EQ(none[0], none[3]);
  EXPECT_EQ(none[3], counted[3]);  // evaluation drops nothing
}

TEST(ModelC, AdaptersThatAreRefused) {
  Trainer trainer(TrainConfig(0), nullptr);
  ds_model_options options = DS_MODEL_OPTIONS_INIT;
  ds_model* model = nullptr;
  const auto refused = [&](const char* folder, const char* part) {
    Refused(ds_model_load(trainer.engine, Folder(folder).c_str(), &options, &model),
            DS_ERR_INVALID_ARGUMENT, part);
  };
  options.lora_alpha = 2;
  refused("llama", "lora_alpha");
  options.lora_rank = 2;
  refused("lora", "of rank 4");
  Refused(ds_model_create(trainer.engine, "{}", &options, &model), DS_ERR_CONFIG, "model_type");
  const std::string base = Folder("llama"), config = ReadAll(base + "/config.json");
  options = DS_MODEL_OPTIONS_INIT;
  options.base = base.c_str();
  refused("llama", "no adapter_config.json");
  Refused(ds_model_create(trainer.engine, config.c_str(), &options, &model),
          DS_ERR_INVALID_ARGUMENT, base.c_str());
  options.struct_size = offsetof(ds_model_options, base);  // not read, then
  options.lora_rank = 2;
  options.lora_targets = "c_attn";
  Refused(ds_model_load(trainer.engine, Folder("llama").c_str(), &options, &model), DS_ERR_CONFIG,
          "c_attn");
  options = DS_MODEL_OPTIONS_INIT;
  options.lora_embeddings = 1;
  refused("llama", "lora_embeddings");
  options = DS_MODEL_OPTIONS_INIT;
  options.lora_dropout = 0.5;
  refused("llama", "lora_dropout");
  options.lora_dropout = 1;
  Refused(ds_model_load(trainer.engine, Folder("lora").c_str(), &options, &model), DS_ERR_CONFIG,
          "lora_dropout is 1");
  options = DS_MODEL_OPTIONS_INIT;
  options.vocab = 3;
  refused("llama", "options.vocab is 3");
  Refused(ds_model_create(trainer.engine, config.c_str(), &options, &model),
          DS_ERR_INVALID_ARGUMENT, "options.vocab is 3");
  options.vocab = INT64_MAX;
  Refused(ds_model_load(trainer.engine, Folder("llama").c_str(), &options, &model), DS_ERR_CONFIG,
          "vocab_size");
  options.vocab = 0;
  options.lora_rank = -1;
  Refused(ds_model_load(trainer.engine, Folder("llama").c_str(), &options, &model), DS_ERR_CONFIG,
          "-1");
}

struct Curve {
  std::vector<double> losses, norms;
  std::vector<int32_t> text;
  double saved = 0;  // loss of what was saved
  bool operator==(const Curve&) const = default;
};

// What transformers' trainer did with the folder, over `rank.size` ranks.
void Tune(const Rank& rank, const std::string& name, int stage, bool recompute,
          const std::string& save, Curve& curve) {
  const json facts = Facts(name);
  const std::string corpus = ReadAll(GoldenPath("hf/corpus.txt"));
  ds_model_options options = DS_MODEL_OPTIONS_INIT;
  options.recompute = recompute;
  Trainer trainer(TrainConfig(stage), rank.comm);
  trainer.Load(Folder(name), &options);
  const int64_t mine = 4 / rank.size;
  int64_t planned = 0;
  EXPECT_EQ(ds_model_plan(trainer.model, mine, 24, &planned), DS_OK);
  for (const json& offsets : facts["train"]["offsets"]) {
    std::vector<std::vector<int32_t>> rows;
    for (int64_t i = 0; i < mine; ++i) {
      const auto at = offsets[static_cast<size_t>(rank.rank * mine + i)].get<size_t>();
      rows.emplace_back();
      for (size_t t = 0; t < 24; ++t) rows.back().push_back(static_cast<uint8_t>(corpus[at + t]));
    }
    const Batch batch(rows);
    ds_loss loss = DS_LOSS_INIT;
    ds_step_info info = DS_STEP_INFO_INIT;
    EXPECT_EQ(trainer.Learn(batch, 0, &loss), DS_OK) << ds_error_peek_message();
    EXPECT_EQ(ds_engine_step(trainer.engine, &info), DS_OK) << ds_error_peek_message();
    double mean = loss.mean / rank.size;
    EXPECT_EQ(ds_comm_all_reduce(rank.comm, &mean, 1), DS_OK);
    if (rank.rank != 0) continue;
    curve.losses.push_back(mean);
    curve.norms.push_back(info.grad_norm);
  }
  const Model view(std::exchange(trainer.model, nullptr));
  EXPECT_EQ(view.info().activation_bytes, planned);
  const Batch batch(facts["ids"]);
  const ds_loss loss = view.Loss(batch);
  const auto text = view.Generate(facts["prompt"], 8);
  EXPECT_EQ(ds_model_save(view.get(), save.c_str()), DS_OK) << ds_error_peek_message();
  const Model saved = Model::Open(save);  // every rank: it is there when the call returns
  EXPECT_EQ(saved.Loss(batch).sum, loss.sum);
  EXPECT_EQ(saved.Generate(facts["prompt"], 8), text);
  if (rank.rank != 0) return;
  curve.text = text;
  curve.saved = loss.sum;
}

TEST(ModelC, TrainsAsTransformersDidOnAnyRanksAndStage) {
  for (const char* name : {"gpt2", "llama"}) {
    const json facts = Facts(name);
    for (const int ranks : {1, 2}) {
      Curve first;
      for (const int stage : {0, 3}) {
        SCOPED_TRACE(std::string(name) + " on " + std::to_string(ranks) + " at stage " +
                     std::to_string(stage));
        const TempDir dir;
        Curve curve;
        OK(RunRanks(ranks, [&](const Rank& rank) {
          Tune(rank, name, stage, stage == 3, dir.file("model"), curve);
        }));
        if (stage == 0) first = curve;
        EXPECT_EQ(curve, first);
        for (size_t i = 0; i < curve.losses.size(); ++i) {
          const double loss = facts["curve"][i]["loss"], norm = facts["curve"][i]["grad_norm"];
          EXPECT_NEAR(curve.losses[i], loss, 1e-5 * loss) << i;
          EXPECT_NEAR(curve.norms[i], norm, 3e-5 * norm) << i;
        }
        EXPECT_EQ(curve.losses.size(), 20u);
      }
    }
  }
}

TEST(ModelC, ItsParametersAreThoseOfTheEngine) {
  Tiny a, same, other("", nullptr, 2);
  EXPECT_EQ(a.Read("transformer.wte.weight"), same.Read("transformer.wte.weight"));
  EXPECT_NE(a.Read("transformer.wte.weight"), other.Read("transformer.wte.weight"));
  ds_model_info info = DS_MODEL_INFO_INIT;
  OK(ds_model_get_info(a.model, &info));
  int64_t sum = 0;
  for (int64_t i = 0; i < info.params; ++i) {
    const char* name = nullptr;
    ds_param* param = nullptr;
    int64_t numel = 0;
    OK(ds_model_get_param_name(a.model, i, &name));
    OK(ds_param_find(a.engine, name, &param));
    OK(ds_param_get_numel(param, &numel));
    sum += numel;
  }
  EXPECT_EQ(sum, info.numel);
  const char* name = nullptr;
  EXPECT_EQ(ds_model_get_param_name(a.model, info.params, &name), DS_ERR_INVALID_ARGUMENT);
  EXPECT_EQ(TakeMessage(), "index is 28; the model has 28 parameters");
  ds_buffer text = DS_BUFFER_INIT;
  OK(ds_model_get_config(a.model, &text));
  EXPECT_EQ(json::parse(text.data)["n_embd"], 8);
  ds_buffer_dispose(&text);
}

// What `scale` means, and that the loss scale of fp16 is multiplied in: clipped to nothing, the
// norm is that of the gradients as they are.
TEST(ModelC, ScalesGradients) {
  const Batch batch({{1, 2, 3, 4}, {5, 6, 7, 8}}, /*masked=*/true);
  const auto norm = [&](const std::string& config, double scale) {
    Tiny tiny(config);
    ds_step_info info = DS_STEP_INFO_INIT;
    EXPECT_EQ(tiny.Learn(batch, scale), DS_OK) << ds_error_peek_message();
    EXPECT_EQ(ds_engine_step(tiny.engine, &info), DS_OK) << ds_error_peek_message();
    EXPECT_EQ(info.applied, 1);
    return info.grad_norm;
  };
  const double mean = norm("", 0);  // of 4 tokens that have a target
  EXPECT_EQ(norm("", 0.25), mean);
  EXPECT_NEAR(norm("", 1), 4 * mean, 1e-6);
  EXPECT_NEAR(norm(R"({"fp16": {"enabled": true, "initial_scale_power": 8}})", 0), mean,
              0.02 * mean);
}

TEST(ModelC, RefusesBadArgumentsByName) {
  Tiny tiny;
  const Model alone = Model::Open(Folder("gpt2"));
  Batch batch({{1, 2, 3}});
  const auto loss_of = [&] {
    ds_loss loss = DS_LOSS_INIT;
    return ds_model_loss(tiny.model, &batch.view, &loss);
  };
  batch.ids[1] = 11;
  Refused(loss_of(), DS_ERR_INVALID_ARGUMENT, "token 1 of the batch is 11, the vocabulary has 11");
  batch.ids[1] = 2;
  batch.targets[0] = -2;
  Refused(loss_of(), DS_ERR_INVALID_ARGUMENT, "target 0 of the batch is -2");
  batch.targets[0] = 1;
  const int32_t keys[3] = {0, 2, 2};
  batch.view.first_keys = keys;
  Refused(loss_of(), DS_ERR_INVALID_ARGUMENT, "the first key of token 1 of sequence 0 is 2");
  batch.view.first_keys = nullptr;
  batch.view.tokens = 9;
  Refused(loss_of(), DS_ERR_INVALID_ARGUMENT, "1 sequences of 9 tokens, expected 1 to 8");
  batch.view.tokens = 3;
  batch.view.batch = int64_t{1} << 62;
  Refused(loss_of(), DS_ERR_INVALID_ARGUMENT, "4611686018427387904 sequences");
  batch.view.batch = 1;
  batch.view.targets = nullptr;
  Refused(loss_of(), DS_ERR_INVALID_ARGUMENT, "batch.targets is NULL");
  batch.view.targets = batch.targets.data();
  Refused(tiny.Learn(batch, NAN), DS_ERR_INVALID_ARGUMENT, "scale is nan");

  std::vector<float> logits(33);
  int64_t bytes = 0, count = -1;
  int32_t ids[4] = {1, 1, 1, 1};
  const auto logits_of = [&](int64_t first, int64_t numel) {
    return ds_model_logits(tiny.model, &batch.view, first, logits.data(), numel);
  };
  Refused(logits_of(3, 33), DS_ERR_INVALID_ARGUMENT, "first is 3, the batch has 3 tokens");
  Refused(logits_of(1, 33), DS_ERR_INVALID_ARGUMENT, "numel is 33; logits of 1 x 2 positions");
  Refused(ds_model_plan(tiny.model, 1, 9, &bytes), DS_ERR_INVALID_ARGUMENT, "expected 1 to 8");
  Refused(ds_model_decode(tiny.model, 1, logits.data(), 11), DS_ERR_INVALID_STATE, "Prefill");
  Refused(ds_model_prefill(tiny.model, ids, 0, logits.data(), 11), DS_ERR_INVALID_ARGUMENT,
          "count is 0");
  ds_generate_options options = DS_GENERATE_OPTIONS_INIT;
  const auto generate = [&](int64_t most = 4) {
    return ds_model_generate(tiny.model, ids, 1, &options, most, ids, &count);
  };
  options.stop_count = 1;
  Refused(generate(), DS_ERR_INVALID_ARGUMENT, "options.stop_count is 1, and stop_ids is NULL");
  options.stop_count = 0;
  options.top_p = 1.5;
  Refused(generate(), DS_ERR_INVALID_ARGUMENT, "top_p is 1.5");
  options.top_p = 0;
  Refused(generate(-1), DS_ERR_INVALID_ARGUMENT, "max_tokens is -1");
  EXPECT_EQ(count, -1);

  ds_loss loss = DS_LOSS_INIT;
  Refused(ds_model_forward_backward(alone.get(), &batch.view, 0, &loss), DS_ERR_UNSUPPORTED,
          "ds_model_open() has no engine to train it");
  Refused(ds_model_plan(alone.get(), 1, 1, &bytes), DS_ERR_UNSUPPORTED, "ds_model_open()");
  ds_model* model = nullptr;
  ds_model_open_options open = DS_MODEL_OPEN_OPTIONS_INIT;
  open.dtype = DS_DTYPE_I8;
  Refused(ds_model_open(Folder("gpt2").c_str(), &open, &model), DS_ERR_INVALID_ARGUMENT,
          "options.dtype is 5");
  Refused(ds_model_open("/nonexistent", nullptr, &model), DS_ERR_NOT_FOUND,
          "/nonexistent: no such folder");
  Refused(ds_model_open(Folder("mixtral").c_str(), nullptr, &model), DS_ERR_UNSUPPORTED,
          "model_type is \"mixtral\"");
  EXPECT_EQ(model, nullptr);
  OK(tiny.Learn(batch));  // nothing of it has changed a thing
  OK(ds_engine_step(tiny.engine, nullptr));
}

// A folder that is refused leaves the engine open for another model, and one model is enough.
TEST(ModelC, PlanningABatchTakesNoMemoryForIt) {
  Tiny tiny;
  rusage before = {}, after = {};
  int64_t bytes = 0;
  getrusage(RUSAGE_SELF, &before);
  ASSERT_EQ(ds_model_plan(tiny.model, int64_t{1} << 25, 8, &bytes), DS_OK);
  getrusage(RUSAGE_SELF, &after);
  EXPECT_GT(bytes, int64_t{1} << 32);
  EXPECT_LT(after.ru_maxrss - before.ru_maxrss, 64 << 10) << "KiB";  // a loss a row are 1 GiB
}

TEST(ModelC, AFolderThatIsRefusedLeavesNothing) {
  Trainer trainer("");
  ds_model* model = nullptr;
  const TempDir dir;
  std::string config = ReadAll(Folder("llama") + "/config.json");
  config.replace(config.find("\"num_hidden_layers\": 2"), 22, "\"num_hidden_layers\": 3");
  dir.Write("config.json", config);
  dir.Write("model.safetensors", ReadAll(Folder("llama") + "/model.safetensors"));
  Refused(ds_model_load(trainer.engine, dir.path().c_str(), nullptr, &model), DS_ERR_NOT_FOUND,
          "has no tensor model.layers.2.");
  ds_param* param = nullptr;
  EXPECT_EQ(ds_param_find(trainer.engine, "model.embed_tokens.weight", &param), DS_ERR_NOT_FOUND);
  Refused(ds_model_create(trainer.engine, "{\"model_type\": \"bert\"}", nullptr, &model),
          DS_ERR_UNSUPPORTED, "bert");
  trainer.Load(Folder("llama"));
  Refused(ds_model_load(trainer.engine, Folder("llama").c_str(), nullptr, &model),
          DS_ERR_INVALID_ARGUMENT, "model.embed_tokens.weight: registered already");
  Refused(ds_model_create(trainer.engine, kTiny, nullptr, &model), DS_ERR_INVALID_ARGUMENT,
          "its unit embed ended");
  EXPECT_EQ(model, nullptr);
  const Batch batch({{1, 2, 3}});
  OK(trainer.Learn(batch));
  Refused(trainer.Learn(batch), DS_ERR_INVALID_STATE, "a second gradient in micro-batch 0");
  OK(ds_engine_step(trainer.engine, nullptr));
  Refused(ds_model_create(trainer.engine, kTiny, nullptr, &model), DS_ERR_INVALID_STATE,
          "registered after the engine was sealed");
}

// A parameter of the caller's with the name of a unit that comes midway: half of a model is there.
TEST(ModelC, AModelThatIsRegisteredByHalfLosesTheEngine) {
  Trainer trainer("");
  const int64_t shape[1] = {4};
  ds_param_desc desc = DS_PARAM_DESC_INIT;
  ds_param* param = nullptr;
  desc.name = "mine";
  desc.unit = "h.1";
  desc.shape = shape;
  desc.ndim = 1;
  OK(ds_param_register(trainer.engine, &desc, &param));
  Refused(ds_model_create(trainer.engine, kTiny, nullptr, &trainer.model), DS_ERR_ENGINE_POISONED,
          "its unit h.1 ended");
  Refused(ds_engine_seal(trainer.engine), DS_ERR_ENGINE_POISONED, "amid the parameters of a model");
}

TEST(ModelC, EndsWithItsEngine) {
  Tiny tiny;
  const Batch batch({{1, 2, 3}});
  OK(tiny.Learn(batch));
  ds_engine_destroy(std::exchange(tiny.engine, nullptr));
  Refused(tiny.Learn(batch), DS_ERR_INVALID_STATE, "the engine of this model was destroyed");
  Refused(ds_model_save(tiny.model, "/nonexistent"), DS_ERR_INVALID_STATE, "was destroyed");
  ds_model_info info = DS_MODEL_INFO_INIT;
  OK(ds_model_get_info(tiny.model, &info));
  EXPECT_STREQ(info.family, "gpt2");
  EXPECT_EQ(info.activation_bytes, 0);
  const char* name = nullptr;
  OK(ds_model_get_param_name(tiny.model, 0, &name));
  EXPECT_STREQ(name, "transformer.wte.weight");

  Tiny other;
  ds_model_destroy(std::exchange(other.model, nullptr));
  OK(ds_engine_step(other.engine, nullptr));  // the parameters stay
}

struct Hook {
  ds_model* model;
  int32_t action;
  ds_status inside;
};

TEST(ModelC, HooksOfTheEngineSeeItsGradients) {
  const Batch batch({{1, 2, 3}});
  for (const int32_t action : {DS_HOOK_CONTINUE, DS_HOOK_SKIP, DS_HOOK_ABORT}) {
    Tiny tiny;
    Hook hook = {tiny.model, action, DS_OK};
    ds_grad_hook added = DS_GRAD_HOOK_INIT;
    added.user_data = &hook;
    added.fn = [](const ds_grad_event*, void* data) {
      Hook& hook = *static_cast<Hook*>(data);
      int64_t bytes = 0;
      hook.inside = ds_model_plan(hook.model, 1, 1, &bytes);
      ds_error_destroy(ds_error_take());  // else it would be why the hook aborts
      ds_model_destroy(hook.model);       // told to the log, and ignored
      return hook.action;
    };
    ds_log_sink quiet = DS_LOG_SINK_INIT;
    quiet.level = DS_LOG_OFF;
    OK(ds_log_set_sink(&quiet));
    OK(ds_engine_add_grad_hook(tiny.engine, &added));
    const ds_status learned = tiny.Learn(batch);
    const std::string why = TakeMessage();
    EXPECT_EQ(hook.inside, DS_ERR_INVALID_STATE);
    quiet.level = (ds_log_level)0;
    OK(ds_log_set_sink(&quiet));
    if (action == DS_HOOK_CONTINUE) {
      EXPECT_EQ(learned, DS_OK) << why;
      OK(ds_engine_step(tiny.engine, nullptr));
      continue;
    }
    EXPECT_EQ(learned, action == DS_HOOK_SKIP ? DS_ERR_ENGINE_POISONED : DS_ERR_CALLBACK) << why;
    EXPECT_EQ(ds_engine_step(tiny.engine, nullptr), learned);
    EXPECT_EQ(TakeMessage(), why);
  }
}

}  // namespace
}  // namespace ds::test
