// What the tests of models through the C ABI have in common: handles that end themselves, batches,
// and the folders that transformers answered for.
#pragma once

#include <cstdint>
#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "support/c_calls.h"
#include "support/golden.h"

namespace ds::test {

#define OK(call) ASSERT_EQ(call, DS_OK) << ds_error_peek_message()

inline std::string ReadAll(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}
inline std::string Folder(const std::string& name) { return GoldenPath("hf/" + name); }
inline nlohmann::json Facts(const std::string& name) {
  return nlohmann::json::parse(ReadAll(Folder(name) + "/facts.json"));
}

// The values of an F32 tensor of a safetensors file.
inline std::vector<float> Tensor(const std::string& path, const std::string& name) {
  const std::string file = ReadAll(path);
  uint64_t header = 0;
  std::memcpy(&header, file.data(), sizeof(header));
  const nlohmann::json entry = nlohmann::json::parse(file.substr(8, header))[name];
  const auto begin = entry["data_offsets"][0].get<size_t>();
  const auto end = entry["data_offsets"][1].get<size_t>();
  std::vector<float> values((end - begin) / sizeof(float));
  std::memcpy(values.data(), file.data() + 8 + header + begin, end - begin);
  return values;
}

// Ids and targets of sequences of one length.
struct Batch {
  std::vector<int32_t> ids, targets;
  ds_token_batch view = DS_TOKEN_BATCH_INIT;

  explicit Batch(const std::vector<std::vector<int32_t>>& rows, bool masked = false) {
    for (const auto& row : rows) {
      for (size_t t = 0; t < row.size(); ++t) {
        ids.push_back(row[t]);
        targets.push_back(t + 1 < row.size() && !(masked && t % 3 == 0) ? row[t + 1] : -1);
      }
    }
    view.batch = std::ssize(rows);
    view.tokens = std::ssize(rows[0]);
    view.ids = ids.data();
    view.targets = targets.data();
  }
  Batch(const Batch&) = delete;
};

class Model {
 public:
  explicit Model(ds_model* model = nullptr) : model_(model) {}
  static Model Open(const std::string& folder, const ds_model_open_options* options = nullptr) {
    ds_model* model = nullptr;
    EXPECT_EQ(ds_model_open(folder.c_str(), options, &model), DS_OK) << ds_error_peek_message();
    return Model(model);
  }
  Model(Model&& other) noexcept : model_(std::exchange(other.model_, nullptr)) {}
  ~Model() { ds_model_destroy(model_); }

  ds_model* get() const { return model_; }
  ds_model_info info() const {
    ds_model_info info = DS_MODEL_INFO_INIT;
    EXPECT_EQ(ds_model_get_info(model_, &info), DS_OK) << ds_error_peek_message();
    return info;
  }
  ds_loss Loss(const Batch& batch) const {
    ds_loss loss = DS_LOSS_INIT;
    EXPECT_EQ(ds_model_loss(model_, &batch.view, &loss), DS_OK) << ds_error_peek_message();
    return loss;
  }
  std::vector<float> Logits(const Batch& batch, int64_t first = 0) const {
    const int64_t rows = batch.view.batch * (batch.view.tokens - first);
    std::vector<float> logits(static_cast<size_t>(rows * info().vocab));
    EXPECT_EQ(ds_model_logits(model_, &batch.view, first, logits.data(), std::ssize(logits)), DS_OK)
        << ds_error_peek_message();
    return logits;
  }
  std::vector<int32_t> Generate(const std::vector<int32_t>& prompt, int64_t most,
                                const ds_generate_options* options = nullptr) const {
    std::vector<int32_t> ids(static_cast<size_t>(most));
    int64_t count = 0;
    EXPECT_EQ(ds_model_generate(model_, prompt.data(), std::ssize(prompt), options, most,
                                ids.data(), &count),
              DS_OK)
        << ds_error_peek_message();
    ids.resize(static_cast<size_t>(count));
    return ids;
  }

 private:
  ds_model* model_;
};

inline std::string TrainConfig(int stage, const char* more = "") {
  return R"({"train_batch_size": 4, "gradient_clipping": 1.0, "optimizer": {"type": "AdamW",
             "params": {"lr": 0.001, "betas": [0.9, 0.95], "eps": 1e-8, "weight_decay": 0.1}},
             "zero_optimization": {"stage": )" +
         std::to_string(stage) + "}" + more + "}";
}

// One rank's view of a group of threads.
struct Rank {
  ds_comm* comm;
  int rank, size;
};
inline ds_status RunRanks(int size, const std::function<void(const Rank&)>& body) {
  const auto run = [](ds_comm* comm, void* data) {
    int32_t rank = -1, world = -1;
    EXPECT_EQ(ds_comm_get_rank(comm, &rank), DS_OK);
    EXPECT_EQ(ds_comm_get_size(comm, &world), DS_OK);
    (*static_cast<const std::function<void(const Rank&)>*>(data))({comm, rank, world});
    return DS_OK;
  };
  ds_comm_options options = DS_COMM_OPTIONS_INIT;
  options.timeout_seconds = 60;
  return ds_comm_run_threads(size, &options, run,
                             const_cast<void*>(static_cast<const void*>(&body)));
}

// An engine, and the model on it once it is loaded.
struct Trainer {
  ds_engine* engine = nullptr;
  ds_model* model = nullptr;

  explicit Trainer(const std::string& config, ds_comm* comm = nullptr) {
    ds_engine_options options = DS_ENGINE_OPTIONS_INIT;
    options.config_json = config.c_str();
    options.comm = comm;
    EXPECT_EQ(ds_engine_create(&options, &engine), DS_OK) << ds_error_peek_message();
  }
  Trainer(const Trainer&) = delete;
  ~Trainer() {
    ds_engine_destroy(engine);
    ds_model_destroy(model);
  }
  void Load(const std::string& folder, const ds_model_options* options = nullptr) {
    EXPECT_EQ(ds_model_load(engine, folder.c_str(), options, &model), DS_OK)
        << ds_error_peek_message();
  }
  ds_status Learn(const Batch& batch, double scale = 0, ds_loss* out = nullptr) {
    ds_loss loss = DS_LOSS_INIT;
    const ds_status status = ds_model_forward_backward(model, &batch.view, scale, &loss);
    if (out != nullptr) *out = loss;
    return status;
  }
};

inline constexpr char kTiny[] =
    R"({"model_type": "gpt2", "vocab_size": 11, "n_positions": 8, "n_layer": 2,
                             "n_head": 2, "n_embd": 8, "eos_token_id": null})";

struct Tiny : Trainer {
  explicit Tiny(const std::string& config = "", ds_comm* comm = nullptr, uint64_t seed = 1)
      : Trainer(config, comm) {
    ds_model_options options = DS_MODEL_OPTIONS_INIT;
    options.seed = seed;
    EXPECT_EQ(ds_model_create(engine, kTiny, &options, &model), DS_OK) << ds_error_peek_message();
  }
  std::vector<float> Read(const char* name) const {
    ds_param* param = nullptr;
    int64_t numel = 0;
    EXPECT_EQ(ds_param_find(engine, name, &param), DS_OK) << ds_error_peek_message();
    EXPECT_EQ(ds_param_get_numel(param, &numel), DS_OK);
    std::vector<float> values(static_cast<size_t>(numel));
    EXPECT_EQ(ds_param_read(param, values.data(), numel), DS_OK);
    return values;
  }
};

inline void Refused(ds_status got, ds_status want, const std::string& words) {
  EXPECT_EQ(got, want) << words;
  const std::string message = TakeMessage();
  EXPECT_NE(message.find(words), std::string::npos) << message << ", expected: " << words;
}

}  // namespace ds::test
