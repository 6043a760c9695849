#include "matrix_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char kModelConfig[] =
    "{\"model_type\": \"gpt2\", \"vocab_size\": 15, \"n_positions\": 8, \"n_layer\": 1,"
    " \"n_head\": 1, \"n_embd\": 4}";

static int failures = 0;

int failure_count(void) { return failures; }

void check(int condition, const char *function, const char *what) {
  if (condition) return;
  fprintf(stderr, "%s: %s\n", function, what);
  ++failures;
}

void poison(cell *out) { memset(out->bytes, 0xA5, sizeof(out->bytes)); }

void set_size(cell *out, size_t struct_size) {
  memcpy(out->bytes, &struct_size, sizeof(struct_size));
}

void refused_with(const char *function, ds_status got, ds_status want, const char *word) {
  ds_error *error = ds_error_take();
  const char *message = ds_error_get_message(error);
  if (got != want || strstr(message, word) == NULL) {
    fprintf(stderr, "%s: status %d, '%s', expected %d and '%s'\n", function, (int)got, message,
            (int)want, word);
    ++failures;
  }
  check((error == NULL) == (got == DS_OK), function, "an error object exactly when it failed");
  check(ds_error_get_status(error) == got, function, "the error has another status");
  check(got == DS_OK || message[0] != '\0', function, "the error has no message");
  check(strchr(message, '\n') == NULL, function, "the message has two lines");
  ds_error_destroy(error);
  check(ds_error_take() == NULL, function, "the error was there twice");
}

void not_refused(const char *function, ds_status got, const char *word) {
  ds_error *error = ds_error_take();
  if (got != DS_OK && strstr(ds_error_get_message(error), word) != NULL) {
    fprintf(stderr, "%s: refused what it must accept: %s\n", function, ds_error_get_message(error));
    ++failures;
  }
  check((error == NULL) == (got == DS_OK), function, "an error object exactly when it failed");
  ds_error_destroy(error);
}

void lost(const char *function, ds_status got) {
  check(ds_status_get_scope(got) == DS_SCOPE_GROUP, function, ds_error_peek_message());
  refused_with(function, got, got, "");
}

void untouched(const char *function, const cell *now, const cell *before) {
  check(memcmp(now->bytes, before->bytes, sizeof(now->bytes)) == 0, function,
        "wrote to an output although it failed");
}

void valid_ds_engine_options(const fixture *f, ds_engine_options *options) {
  options->comm = f->comm;
}

void valid_ds_param_desc(const fixture *f, ds_param_desc *desc) {
  static const int64_t shape[2] = {3, 5};
  (void)f;
  desc->name = "w";
  desc->shape = shape;
  desc->ndim = 2;
}

static int32_t go_on(const ds_grad_event *event, void *user_data) {
  (void)event;
  (void)user_data;
  return DS_HOOK_CONTINUE;
}

void valid_ds_grad_hook(const fixture *f, ds_grad_hook *hook) {
  (void)f;
  hook->fn = go_on;
}

static int32_t step_on(const ds_step_info *info, void *user_data) {
  (void)info, (void)user_data;
  return DS_HOOK_CONTINUE;
}
void valid_ds_step_hook(const fixture *f, ds_step_hook *hook) {
  (void)f;
  hook->fn = step_on;
}

void valid_ds_optim_options(const fixture *f, ds_optim_options *options) {
  (void)f;
  options->config_json = "{\"type\": \"AdamW\"}";
  options->threads = 1;
}

void valid_ds_optim_span(const fixture *f, ds_optim_span *span) {
  static float params[4], grads[4], moments[2][4];
  static float *const states[2] = {moments[0], moments[1]};
  (void)f;
  span->params = params;
  span->grads = grads;
  span->states = states;
  span->numel = 4;
}

void valid_ds_loss_scaler_state(const fixture *f, ds_loss_scaler_state *state) {
  (void)f;
  state->scale = 65536;
  state->hysteresis = 2;
  state->last_overflow = -1;
}

void valid_ds_tensor(const fixture *f, ds_tensor *tensor) {
  static float data[6];
  static const int64_t shape[2] = {2, 3};
  (void)f;
  tensor->data = data;
  tensor->shape = shape;
  tensor->numel = 6;
  tensor->ndim = 2;
  tensor->dtype = DS_DTYPE_F32;
}

void valid_ds_token_batch(const fixture *f, ds_token_batch *batch) {
  static const int32_t ids[3] = {1, 2, 3}, targets[3] = {2, 3, -1};
  (void)f;
  batch->batch = 1;
  batch->tokens = 3;
  batch->ids = ids;
  batch->targets = targets;
}

void valid_ds_log_sink(const fixture *f, ds_log_sink *sink) {
  (void)f;
  sink->level = DS_LOG_OFF;
}

ds_status rank_of_one(ds_comm *comm, void *user_data) {
  (void)comm;
  (void)user_data;
  return DS_OK;
}

void open_fixture(fixture *f, ds_comm *comm) {
  ds_engine_options engine = DS_ENGINE_OPTIONS_INIT;
  ds_param_desc desc = DS_PARAM_DESC_INIT;
  ds_optim_options optim = DS_OPTIM_OPTIONS_INIT;
  f->comm = comm;
  if (comm == NULL) check(ds_comm_create_self(NULL, &f->comm) == DS_OK, "fixture", "comm");
  valid_ds_engine_options(f, &engine);
  valid_ds_param_desc(f, &desc);
  valid_ds_optim_options(f, &optim);
  check(ds_engine_create(&engine, &f->engine) == DS_OK, "fixture", ds_error_peek_message());
  check(ds_param_register(f->engine, &desc, &f->param) == DS_OK, "fixture", "param");
  check(ds_model_create(f->engine, kModelConfig, NULL, &f->model) == DS_OK, "fixture",
        ds_error_peek_message());
  check(ds_tokenizer_open("bytes", &f->tokenizer) == DS_OK, "fixture", "tokenizer");
  check(ds_optim_create(&optim, &f->optim) == DS_OK, "fixture", "optim");
  check(ds_lr_schedule_create("{\"type\": \"WarmupLR\"}", 0.1, &f->lr_schedule) == DS_OK, "fixture",
        "lr_schedule");
  check(ds_loss_scaler_create(NULL, &f->loss_scaler) == DS_OK, "fixture", "loss_scaler");
}

void close_fixture(fixture *f) {
  ds_comm_destroy(f->comm);
  ds_engine_destroy(f->engine);
  ds_optim_destroy(f->optim);
  ds_lr_schedule_destroy(f->lr_schedule);
  ds_loss_scaler_destroy(f->loss_scaler);
  ds_model_destroy(f->model);
  ds_tokenizer_destroy(f->tokenizer);
}
