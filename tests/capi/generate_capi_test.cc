// Ids from a model through the C ABI: greedy and drawn, one by one, with a function that is asked,
// and on several ranks.
#include <algorithm>

#include "support/model_client.h"
#include "support/temp_dir.h"

namespace ds::test {
namespace {

constexpr int32_t kNone[1] = {};  // no id ends a text

TEST(GenerateC, IsGreedyAsTransformersIs) {
  for (const char* name : {"gpt2", "llama"}) {
    SCOPED_TRACE(name);
    const nlohmann::json facts = Facts(name);
    const Model model = Model::Open(Folder(name));
    const std::vector<int32_t> prompt = facts["prompt"], greedy = facts["greedy"];
    ds_generate_options all = DS_GENERATE_OPTIONS_INIT;
    all.stop_ids = kNone;
    EXPECT_EQ(model.Generate(prompt, std::ssize(greedy), &all), greedy);
    // As long as eos_token_id, which is 2, does not come.
    auto ended = greedy;
    if (const auto eos = std::find(ended.begin(), ended.end(), 2); eos != ended.end()) {
      ended.erase(eos + 1, ended.end());
    }
    EXPECT_EQ(model.Generate(prompt, std::ssize(greedy)), ended);
  }
}

TEST(GenerateC, ReadsOneIdAfterTheOther) {
  const Model model = Model::Open(Folder("llama"));
  const std::vector<int32_t> ids = {5, 6, 7, 8};
  const auto all = model.Logits(Batch({ids}));
  std::vector<float> next(300);
  OK(ds_model_prefill(model.get(), ids.data(), 2, next.data(), 300));
  for (size_t t = 1;; ++t) {
    for (size_t i = 0; i < 300; ++i) ASSERT_NEAR(next[i], all[300 * t + i], 1e-5) << t;
    if (t == 3) break;
    OK(ds_model_decode(model.get(), ids[t + 1], next.data(), 300));
  }
  EXPECT_GT(model.info().activation_bytes, 0);
}

// A cache that is smaller than the context; and 16-bit weights, saved and opened as they are.
TEST(GenerateC, SeesNoMoreThanItsCache) {
  ds_model_open_options options = DS_MODEL_OPEN_OPTIONS_INIT;
  options.dtype = DS_DTYPE_BF16;
  options.cache_tokens = 8;
  options.threads = 1;
  const TempDir dir;
  const Model small = Model::Open(Folder("llama"), &options);
  EXPECT_EQ(small.info().dtype, DS_DTYPE_BF16);
  std::vector<float> logits(300);
  const std::vector<int32_t> prompt = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  EXPECT_EQ(ds_model_prefill(small.get(), prompt.data(), 9, logits.data(), 300),
            DS_ERR_INVALID_ARGUMENT);
  EXPECT_EQ(TakeMessage(), "a prompt of 9 tokens, the cache has 8");
  ds_generate_options drawn = DS_GENERATE_OPTIONS_INIT;
  drawn.temperature = 1;
  drawn.seed = 3;
  drawn.stop_ids = kNone;
  const auto ids = small.Generate(prompt, 20, &drawn);
  EXPECT_EQ(ids.size(), 20u);
  EXPECT_EQ(small.Generate(prompt, 20, &drawn), ids);
  drawn.seed = 4;
  EXPECT_NE(small.Generate(prompt, 20, &drawn), ids);
  OK(ds_model_save(small.get(), dir.path().c_str()));
  const Model again = Model::Open(dir.path());
  EXPECT_EQ(again.info().dtype, DS_DTYPE_BF16);
  const Batch batch({prompt});
  EXPECT_EQ(again.Loss(batch).sum, small.Loss(batch).sum);
}

// What a token function answers, and what it saw.
struct Listener {
  int32_t action = DS_TOKEN_CONTINUE;
  size_t after = 2;  // ids, the action is given
  ds_model* model = nullptr;
  ds_status inside = DS_OK;
  std::vector<int32_t> heard = {};

  static int32_t Hear(int32_t id, void* data) {
    Listener& self = *static_cast<Listener*>(data);
    self.heard.push_back(id);
    if (self.model != nullptr) {
      float logits[11];
      self.inside = ds_model_decode(self.model, 1, logits, 11);
    }
    if (self.heard.size() < self.after) return DS_TOKEN_CONTINUE;
    if (self.action == DS_TOKEN_ABORT) ds_error_set(DS_ERR_CANCELLED, "enough");
    return self.action;
  }
  ds_generate_options options() {
    ds_generate_options options = DS_GENERATE_OPTIONS_INIT;
    options.fn = Hear;
    options.user_data = this;
    return options;
  }
};

TEST(GenerateC, ATokenFunctionIsAskedAfterEachId) {
  Tiny tiny;
  const int32_t prompt[2] = {1, 2};
  const auto generate = [&](Listener& listener, std::vector<int32_t>& ids) {
    int64_t count = 0;
    const ds_generate_options options = listener.options();
    ids.assign(12, -1);
    const ds_status status =
        ds_model_generate(tiny.model, prompt, 2, &options, 12, ids.data(), &count);
    ids.resize(static_cast<size_t>(count));
    return status;
  };
  Listener all{.model = tiny.model};
  std::vector<int32_t> ids, some;
  OK(generate(all, ids));
  EXPECT_EQ(ids.size(), 12u);  // beyond the context of 8
  EXPECT_EQ(all.heard, ids);
  EXPECT_EQ(all.inside, DS_ERR_INVALID_STATE);
  Listener stops{.action = DS_TOKEN_STOP, .after = 3};
  OK(generate(stops, some));
  EXPECT_EQ(some, std::vector(ids.begin(), ids.begin() + 3));
  Listener aborts{.action = DS_TOKEN_ABORT};
  Refused(generate(aborts, some), DS_ERR_CANCELLED, "enough");
  EXPECT_TRUE(some.empty());  // no output on failure
  Listener fails{.action = 0};
  Refused(generate(fails, some), DS_ERR_CALLBACK, "a token function failed (answered 0)");
  OK(generate(all, some));
  EXPECT_EQ(some, ids);
}

TEST(GenerateC, RanksGenerateTheSameOrSaySo) {
  OK(RunRanks(2, [](const Rank& rank) {
    Tiny tiny(TrainConfig(3), rank.comm);
    int32_t prompt[2] = {1, 2}, ids[6] = {};
    int64_t count = 0;
    const auto generate = [&](Listener& listener) {
      ds_generate_options options = listener.options();
      if (rank.rank == 1) options.fn = nullptr;  // the other one's answers hold
      return ds_model_generate(tiny.model, prompt, 2, &options, 6, ids, &count);
    };
    Listener stops{.action = DS_TOKEN_STOP, .after = 4};
    EXPECT_EQ(generate(stops), DS_OK) << ds_error_peek_message();
    EXPECT_EQ(count, 4);
    Listener aborts{.action = DS_TOKEN_ABORT};
    Refused(generate(aborts), rank.rank == 0 ? DS_ERR_CANCELLED : DS_ERR_CALLBACK,
            rank.rank == 0 ? "enough" : "the token function of rank 0 aborted, or failed");
    const Batch batch({{1, 2, 3}});
    EXPECT_EQ(tiny.Learn(batch), DS_OK) << ds_error_peek_message();  // the engine goes on
    EXPECT_EQ(ds_engine_step(tiny.engine, nullptr), DS_OK) << ds_error_peek_message();

    // A disk that is full on the rank that writes.
    const TempDir dir;
    dir.Write("file", "");
    Refused(ds_model_save(tiny.model, ""), DS_ERR_INVALID_ARGUMENT, "folder is \"\"");
    Refused(ds_model_save(tiny.model, dir.file("file").c_str()), DS_ERR_IO,
            rank.rank == 0 ? dir.file("file") : "rank 0 could not save the model");
    EXPECT_EQ(tiny.Learn(batch), DS_OK) << ds_error_peek_message();
    EXPECT_EQ(ds_engine_step(tiny.engine, nullptr), DS_OK) << ds_error_peek_message();

    ds_generate_options drawn = DS_GENERATE_OPTIONS_INIT;
    drawn.temperature = 50;
    drawn.seed = static_cast<uint64_t>(rank.rank);
    const ds_status status = ds_model_generate(tiny.model, prompt, 2, &drawn, 6, ids, &count);
    EXPECT_EQ(ds_status_get_scope(status), DS_SCOPE_GROUP) << ds_error_peek_message();
    EXPECT_NE(TakeMessage().find("generation: rank 0 has chosen id"), std::string::npos);
  }));
}

}  // namespace
}  // namespace ds::test
