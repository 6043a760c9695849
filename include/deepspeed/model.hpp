/**
 * @file model.hpp
 * The part of deepspeed.hpp about models, their texts and tokenizers.
 */
#ifndef DEEPSPEED_MODEL_HPP
#define DEEPSPEED_MODEL_HPP

#include <deepspeed/deepspeed.hpp>

namespace deepspeed {

/** Sequences of one length, row by row (ds_token_batch). */
struct TokenBatch {
  int64_t batch = 0, tokens = 0;
  std::vector<int32_t> ids;
  std::vector<int32_t> targets;    /**< as many, or none where no loss is asked for */
  std::vector<int32_t> first_keys; /**< as many, or none */
  int64_t first_sequence = 0;      /**< among all of the run, from 1: dropout draws by it; or 0 */

  /** Borrowed from this object. */
  ds_token_batch view() const {
    const auto want = static_cast<size_t>(batch * tokens);
    if (ids.size() != want || (!targets.empty() && targets.size() != want) ||
        (!first_keys.empty() && first_keys.size() != want)) {
      throw Error(DS_ERR_INVALID_ARGUMENT, "TokenBatch: " + std::to_string(batch) + " x " +
                                               std::to_string(tokens) + " tokens, " +
                                               std::to_string(ids.size()) + " ids, " +
                                               std::to_string(targets.size()) + " targets and " +
                                               std::to_string(first_keys.size()) + " first keys");
    }
    ds_token_batch view = DS_TOKEN_BATCH_INIT;
    view.batch = batch;
    view.tokens = tokens;
    view.ids = ids.data();
    view.targets = targets.empty() ? nullptr : targets.data();
    view.first_keys = first_keys.empty() ? nullptr : first_keys.data();
    view.first_sequence = first_sequence;
    return view;
  }
};

/** A language model (ds_model): over an Engine, or opened alone. */
class Model {
 public:
  /** Random weights; `hf_config` is the text of a config.json. */
  static Model Create(Engine &engine, const std::string &hf_config,
                      const ds_model_options &options = DS_MODEL_OPTIONS_INIT) {
    ds_model *model = nullptr;
    Check(ds_model_create(engine.get(), hf_config.c_str(), &options, &model));
    return Model(model);
  }
  /** The weights of a folder. */
  static Model Load(Engine &engine, const std::string &folder,
                    const ds_model_options &options = DS_MODEL_OPTIONS_INIT) {
    ds_model *model = nullptr;
    Check(ds_model_load(engine.get(), folder.c_str(), &options, &model));
    return Model(model);
  }
  /** Without an engine, for inference. */
  static Model Open(const std::string &folder,
                    const ds_model_open_options &options = DS_MODEL_OPEN_OPTIONS_INIT) {
    ds_model *model = nullptr;
    Check(ds_model_open(folder.c_str(), &options, &model));
    return Model(model);
  }

  ds_model_info info() const {
    ds_model_info info = DS_MODEL_INFO_INIT;
    Check(ds_model_get_info(model_.get(), &info));
    return info;
  }
  std::string config() const {
    ds_buffer buffer = DS_BUFFER_INIT;
    Check(ds_model_get_config(model_.get(), &buffer));
    return TakeText(&buffer);
  }
  std::vector<std::string> param_names() const {
    std::vector<std::string> names;
    const int64_t count = info().params;
    for (int64_t i = 0; i < count; ++i) {
      const char *name = nullptr;
      Check(ds_model_get_param_name(model_.get(), i, &name));
      names.push_back(name);
    }
    return names;
  }
  /** Bytes of activations that a micro-batch of this size takes. */
  int64_t Plan(int64_t batch, int64_t tokens) {
    int64_t bytes = 0;
    Check(ds_model_plan(model_.get(), batch, tokens, &bytes));
    return bytes;
  }

  ds_loss Loss(const TokenBatch &batch) {
    const ds_token_batch view = batch.view();
    ds_loss loss = DS_LOSS_INIT;
    Check(ds_model_loss(model_.get(), &view, &loss));
    return loss;
  }
  /** `scale` 0: gradients of the mean. */
  ds_loss ForwardBackward(const TokenBatch &batch, double scale = 0) {
    const ds_token_batch view = batch.view();
    ds_loss loss = DS_LOSS_INIT;
    Check(ds_model_forward_backward(model_.get(), &view, scale, &loss));
    return loss;
  }
  /** [batch, tokens - first, vocab] of the positions from `first` on. */
  std::vector<float> Logits(const TokenBatch &batch, int64_t first = 0) {
    const ds_token_batch view = batch.view();
    const int64_t positions = first >= 0 && first < batch.tokens ? batch.tokens - first : 0;
    std::vector<float> logits(static_cast<size_t>(batch.batch * positions * info().vocab + 1));
    const auto numel = static_cast<int64_t>(logits.size()) - 1;
    Check(ds_model_logits(model_.get(), &view, first, logits.data(), numel));
    logits.pop_back();
    return logits;
  }
  /** Of a model with adapters, these alone. */
  void Save(const std::string &folder) { Check(ds_model_save(model_.get(), folder.c_str())); }
  /** With its adapters added to the weights. */
  void SaveMerged(const std::string &folder) {
    Check(ds_model_save_merged(model_.get(), folder.c_str()));
  }

  /** Reads ids anew; the logits of the one that follows. */
  std::vector<float> Prefill(const std::vector<int32_t> &ids) {
    std::vector<float> logits(static_cast<size_t>(info().vocab));
    Check(ds_model_prefill(model_.get(), ids.data(), static_cast<int64_t>(ids.size()),
                           logits.data(), static_cast<int64_t>(logits.size())));
    return logits;
  }
  /** Reads one more. */
  std::vector<float> Decode(int32_t id) {
    std::vector<float> logits(static_cast<size_t>(info().vocab));
    Check(ds_model_decode(model_.get(), id, logits.data(), static_cast<int64_t>(logits.size())));
    return logits;
  }
  /** What follows the prompt. */
  std::vector<int32_t> Generate(const std::vector<int32_t> &prompt, int64_t max_tokens,
                                const ds_generate_options &options = DS_GENERATE_OPTIONS_INIT) {
    std::vector<int32_t> ids(static_cast<size_t>(max_tokens > 0 ? max_tokens : 0) + 1);
    int64_t count = 0;
    Check(ds_model_generate(model_.get(), prompt.data(), static_cast<int64_t>(prompt.size()),
                            &options, max_tokens, ids.data(), &count));
    ids.resize(static_cast<size_t>(count));
    return ids;
  }
  /** The same; fn(int32_t id) is asked after each id whether to go on. What it throws is thrown
   *  here. */
  template <typename Fn>
  std::vector<int32_t> Generate(const std::vector<int32_t> &prompt, int64_t max_tokens,
                                const ds_generate_options &options, Fn &&fn) {
    using Function = typename std::remove_reference<Fn>::type;
    struct Call {
      Function *fn;
      std::exception_ptr thrown;
      static int32_t Ask(int32_t id, void *user_data) noexcept {
        Call &call = *static_cast<Call *>(user_data);
        try {
          return (*call.fn)(id) ? DS_TOKEN_CONTINUE : DS_TOKEN_STOP;
        } catch (...) {
          call.thrown = std::current_exception();
        }
        return DS_TOKEN_ABORT;
      }
    };
    Call call = {&fn, nullptr};
    ds_generate_options asking = options;
    asking.fn = Call::Ask;
    asking.user_data = &call;
    try {
      return Generate(prompt, max_tokens, asking);
    } catch (const Error &) {
      if (call.thrown) std::rethrow_exception(call.thrown);
      throw;
    }
  }
  ds_model *get() const noexcept { return model_.get(); }

 private:
  explicit Model(ds_model *model) : model_(model, ds_model_destroy) {}
  std::unique_ptr<ds_model, void (*)(ds_model *)> model_;
};

/** A text as ids and back (ds_tokenizer). */
class Tokenizer {
 public:
  /** "bytes", a folder or a file. */
  explicit Tokenizer(const std::string &name) : tokenizer_(nullptr, ds_tokenizer_destroy) {
    ds_tokenizer *tokenizer = nullptr;
    Check(ds_tokenizer_open(name.c_str(), &tokenizer));
    tokenizer_.reset(tokenizer);
  }

  ds_tokenizer_info info() const {
    ds_tokenizer_info info = DS_TOKENIZER_INFO_INIT;
    Check(ds_tokenizer_get_info(tokenizer_.get(), &info));
    return info;
  }
  std::vector<int32_t> Encode(const std::string &text,
                              ds_encode_mode mode = DS_ENCODE_PROMPT) const {
    int64_t count = 0;
    Check(
        ds_tokenizer_encode(tokenizer_.get(), text.data(), text.size(), mode, nullptr, 0, &count));
    std::vector<int32_t> ids(static_cast<size_t>(count));
    if (count == 0) return ids;
    Check(ds_tokenizer_encode(tokenizer_.get(), text.data(), text.size(), mode, ids.data(), count,
                              &count));
    return ids;
  }
  std::string Decode(const std::vector<int32_t> &ids, bool with_special = false) const {
    const int32_t none = 0;
    ds_buffer buffer = DS_BUFFER_INIT;
    Check(ds_tokenizer_decode(tokenizer_.get(), ids.empty() ? &none : ids.data(),
                              static_cast<int64_t>(ids.size()), with_special, &buffer));
    return TakeText(&buffer);
  }
  bool IsSpecial(int32_t id) const {
    int32_t special = 0;
    Check(ds_tokenizer_is_special(tokenizer_.get(), id, &special));
    return special != 0;
  }
  void Save(const std::string &folder) const {
    Check(ds_tokenizer_save(tokenizer_.get(), folder.c_str()));
  }
  ds_tokenizer *get() const noexcept { return tokenizer_.get(); }

 private:
  std::unique_ptr<ds_tokenizer, void (*)(ds_tokenizer *)> tokenizer_;
};

}  // namespace deepspeed

#endif
