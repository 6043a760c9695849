// Tokenizers through the C ABI, against the ids that transformers gave, and deepspeed.hpp over them
// and over models.
#include <deepspeed/deepspeed.hpp>

#include <stdexcept>

#include "support/model_client.h"
#include "support/temp_dir.h"

namespace ds::test {
namespace {

using deepspeed::Tokenizer;
using nlohmann::json;

TEST(TokenizerC, GivesTheIdsOfTransformers) {
  const json strings = json::parse(ReadAll(Folder("tokenizers") + "/strings.json"))["cases"];
  for (const char* name : {"gpt2", "llama3"}) {
    const std::string folder = Folder("tokenizers") + "/" + name;
    const Tokenizer tokenizer(folder);
    const json cases = json::parse(ReadAll(folder + "/ids.json"))["cases"];
    const int64_t vocab = tokenizer.info().vocab;
    for (size_t i = 0; i < 40; ++i) {
      SCOPED_TRACE(std::string(name) + " " + std::to_string(i));
      const auto text = strings[i]["text"].get<std::string>();
      const auto ids = tokenizer.Encode(text, DS_ENCODE_TEXT);
      EXPECT_EQ(ids, cases[i]["ids"].get<std::vector<int32_t>>());
      EXPECT_EQ(tokenizer.Encode(text, DS_ENCODE_WHOLE),
                cases[i]["ids_with_special"].get<std::vector<int32_t>>());
      // Special ids may take in the spaces around them.
      const bool plain = text.find("<|") == text.npos;
      EXPECT_TRUE(!plain || tokenizer.Decode(ids, true) == text);
      for (const int32_t id : ids) EXPECT_LT(id, vocab);
    }
  }
}

TEST(TokenizerC, CountsFirstAndFillsWhatFits) {
  ds_tokenizer* bytes = nullptr;
  OK(ds_tokenizer_open("bytes", &bytes));
  const auto encode = [&](ds_encode_mode mode, int32_t* ids, int64_t capacity, int64_t* count) {
    return ds_tokenizer_encode(bytes, "a\0b", 3, mode, ids, capacity, count);
  };
  int64_t count = -1;
  int32_t ids[3] = {-1, -1, -1}, special = -1;
  OK(encode(DS_ENCODE_TEXT, nullptr, 0, &count));
  EXPECT_EQ(count, 3);
  count = -1;
  Refused(encode(DS_ENCODE_TEXT, ids, 2, &count), DS_ERR_INVALID_ARGUMENT,
          "capacity is 2, the text has 3 ids");
  EXPECT_EQ(count, -1);
  EXPECT_EQ(ids[0], -1);
  OK(encode(DS_ENCODE_WHOLE, ids, 3, &count));
  EXPECT_EQ(ids[1], 0);
  EXPECT_EQ(ids[2], 'b');
  Refused(encode((ds_encode_mode)4, ids, 3, &count), DS_ERR_INVALID_ARGUMENT, "mode is 4");
  OK(ds_tokenizer_is_special(bytes, 'a', &special));
  EXPECT_EQ(special, 0);
  ds_buffer text = DS_BUFFER_INIT;
  ids[0] = 256;
  EXPECT_EQ(ds_tokenizer_decode(bytes, ids, 3, 1, &text), DS_ERR_INVALID_ARGUMENT);
  EXPECT_EQ(text.data, nullptr);
  Refused(ds_tokenizer_decode(bytes, ids, -1, 1, &text), DS_ERR_INVALID_ARGUMENT, "count is -1");
  ds_tokenizer_destroy(bytes);
  ds_tokenizer* none = nullptr;
  Refused(ds_tokenizer_open("/nonexistent", &none), DS_ERR_NOT_FOUND, "/nonexistent");
  EXPECT_EQ(none, nullptr);
}

// A program in C++: a folder is trained for a while, saved with its tokenizer, and continues text.
TEST(ModelCpp, TrainsSavesAndGenerates) {
  const TempDir dir;
  const Tokenizer tokenizer(Folder("tokenizers") + "/gpt2");
  deepspeed::Engine engine(R"({"optimizer": {"type": "AdamW", "params": {"lr": 0.02}}})");
  const int64_t vocab = tokenizer.info().vocab;
  deepspeed::Model model = deepspeed::Model::Create(
      engine, R"({"model_type": "gpt2", "n_positions": 16, "n_layer": 1, "n_head": 2, "n_embd": 16,
                  "attn_pdrop": 0, "embd_pdrop": 0, "resid_pdrop": 0, "vocab_size": )" +
                  std::to_string(vocab) + "}");
  const auto ids = tokenizer.Encode("the cat sat on the mat", DS_ENCODE_TEXT);
  deepspeed::TokenBatch batch;
  batch.batch = 1;
  batch.tokens = static_cast<int64_t>(ids.size()) - 1;
  batch.ids.assign(ids.begin(), ids.end() - 1);
  batch.targets.assign(ids.begin() + 1, ids.end());
  EXPECT_GT(model.Plan(1, batch.tokens), 0);
  EXPECT_EQ(model.param_names().size(), 16u);
  const double first = model.Loss(batch).mean;
  for (int step = 0; step < 60; ++step) {
    model.ForwardBackward(batch);
    engine.Step();
  }
  EXPECT_LT(model.Loss(batch).mean, 0.1 * first);
  model.Save(dir.path());
  tokenizer.Save(dir.path());

  deepspeed::Model saved = deepspeed::Model::Open(dir.path());
  const Tokenizer its(dir.path());
  const std::vector<int32_t> prompt(ids.begin(), ids.begin() + 2), rest(ids.begin() + 2, ids.end());
  EXPECT_EQ(saved.Generate(prompt, static_cast<int64_t>(rest.size())), rest);
  EXPECT_EQ(its.Decode(rest), tokenizer.Decode(rest));
  EXPECT_EQ(saved.Logits(batch, batch.tokens - 1).size(), static_cast<size_t>(vocab));
  EXPECT_EQ(saved.Prefill(prompt).size(), saved.Decode(rest[0]).size());
  const ds_generate_options greedy = DS_GENERATE_OPTIONS_INIT;
  int left = 2;
  EXPECT_EQ(saved.Generate(prompt, 9, greedy, [&](int32_t) { return --left > 0; }).size(), 2u);
  EXPECT_THROW(
      saved.Generate(prompt, 9, greedy, [](int32_t) -> bool { throw std::range_error("enough"); }),
      std::range_error);
  batch.targets.pop_back();
  EXPECT_THROW(saved.Loss(batch), deepspeed::Error);
  EXPECT_THROW(saved.Logits(batch, 99), deepspeed::Error);
}

}  // namespace
}  // namespace ds::test
