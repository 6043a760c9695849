/* Every function of an engine in every state of it: what it answers, and that a refusal changed
 * nothing. A function of an engine, a parameter or a model without a row fails the test. */
#define _POSIX_C_SOURCE 200809L /* mkdtemp */
#include <deepspeed/deepspeed.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "state_names.h"

enum { kNumel = 4, kVocab = 5 };

typedef enum state {
  kOpen,     /* registered */
  kSealed,   /* registration has ended */
  kAcquired, /* its weights are in use */
  kInGrad,   /* between begin_grad and end_grad */
  kHanded,   /* its gradient was handed over */
  kInHook,   /* inside a gradient hook */
  kLost,     /* a peer has left the group */
  kStates
} state;

static const char *const kStateNames[kStates] = {"open",   "sealed",  "acquired", "in begin_grad",
                                                 "handed", "in hook", "lost"};

typedef struct rig {
  ds_engine *engine;
  ds_param *w;
  ds_model *model; /* of the engine, with 5 ids */
  int hook_row;
  ds_status hook_status;
} rig;

static const char kModel[] =
    "{\"model_type\": \"gpt2\", \"vocab_size\": 5, \"n_positions\": 4, \"n_layer\": 1,"
    " \"n_head\": 1, \"n_embd\": 4}";
static char folder[1000], model_folder[1010], saved_folder[1010];
static const float kGrad[kNumel] = {1, 1, 1, 1};
static int failures = 0;

static void check(int condition, const char *where, const char *what) {
  if (condition) return;
  fprintf(stderr, "%s: %s (%s)\n", where, what, ds_error_peek_message());
  ++failures;
}
#define OK(call) check((call) == DS_OK, "state_matrix_test.c", #call)

static ds_status register_param(ds_engine *engine, const char *name, ds_param **out) {
  static const int64_t shape[1] = {kNumel};
  ds_param_desc desc = DS_PARAM_DESC_INIT;
  desc.name = name;
  desc.shape = shape;
  desc.ndim = 1;
  return ds_param_register(engine, &desc, out);
}

static int32_t on_grad(const ds_grad_event *event, void *user_data);

static ds_status seal(rig *r) { return ds_engine_seal(r->engine); }
static ds_status step(rig *r) { return ds_engine_step(r->engine, NULL); }
static ds_status get_memory(rig *r) {
  ds_memory_info info = DS_MEMORY_INFO_INIT;
  return ds_engine_get_memory(r->engine, &info);
}
static ds_status get_config(rig *r) {
  ds_buffer text = DS_BUFFER_INIT;
  const ds_status status = ds_engine_get_config(r->engine, &text);
  ds_buffer_dispose(&text);
  return status;
}
static int32_t on_step(const ds_step_info *info, void *user_data) {
  (void)info, (void)user_data;
  return DS_HOOK_CONTINUE;
}
static ds_status add_step_hook(rig *r) {
  ds_step_hook hook = DS_STEP_HOOK_INIT;
  hook.fn = on_step;
  return ds_engine_add_step_hook(r->engine, &hook);
}
static ds_status add_group(rig *r) {
  int32_t group = 0;
  return ds_engine_add_group(r->engine, "{\"lr\": 0.5}", &group);
}
static ds_status get_loss_scale(rig *r) {
  double scale = 0;
  return ds_engine_get_loss_scale(r->engine, &scale);
}
static ds_status get_stats(rig *r) {
  ds_engine_stats stats = DS_ENGINE_STATS_INIT;
  return ds_engine_get_stats(r->engine, &stats);
}
static ds_status add_grad_hook(rig *r) {
  ds_grad_hook hook = DS_GRAD_HOOK_INIT;
  hook.fn = on_grad;
  hook.user_data = r;
  return ds_engine_add_grad_hook(r->engine, &hook);
}
static ds_status register_v(rig *r) {
  ds_param *v = NULL;
  return register_param(r->engine, "v", &v);
}
static ds_status find(rig *r) {
  ds_param *w = NULL;
  return ds_param_find(r->engine, "w", &w);
}
static ds_status acquire(rig *r) {
  ds_tensor weights = DS_TENSOR_INIT;
  return ds_param_acquire(r->w, &weights);
}
static ds_status release(rig *r) { return ds_param_release(r->w); }
static ds_status add_grad(rig *r) { return ds_param_add_grad(r->w, DS_DTYPE_F32, kGrad, kNumel); }
static ds_status begin_grad(rig *r) {
  ds_grad_view view = DS_GRAD_VIEW_INIT;
  return ds_param_begin_grad(r->w, &view);
}
static ds_status end_grad(rig *r) { return ds_param_end_grad(r->w); }
static ds_status read_master(rig *r) {
  float values[kNumel];
  return ds_param_read(r->w, values, kNumel);
}

static ds_status create_model(rig *r) {
  ds_model *model = NULL;
  const ds_status status = ds_model_create(r->engine, kModel, NULL, &model);
  ds_model_destroy(model);
  return status;
}
static ds_status load_model(rig *r) {
  ds_model *model = NULL;
  const ds_status status = ds_model_load(r->engine, model_folder, NULL, &model);
  ds_model_destroy(model);
  return status;
}
static ds_status get_info(rig *r) {
  ds_model_info info = DS_MODEL_INFO_INIT;
  return ds_model_get_info(r->model, &info);
}
static ds_status plan(rig *r) {
  int64_t bytes = 0;
  return ds_model_plan(r->model, 1, 2, &bytes);
}
static ds_token_batch two_tokens(void) {
  static const int32_t ids[2] = {1, 2}, targets[2] = {2, 3};
  ds_token_batch batch = DS_TOKEN_BATCH_INIT;
  batch.batch = 1;
  batch.tokens = 2;
  batch.ids = ids;
  batch.targets = targets;
  return batch;
}
static ds_status loss(rig *r) {
  const ds_token_batch batch = two_tokens();
  ds_loss out = DS_LOSS_INIT;
  return ds_model_loss(r->model, &batch, &out);
}
static ds_status forward_backward(rig *r) {
  const ds_token_batch batch = two_tokens();
  ds_loss out = DS_LOSS_INIT;
  return ds_model_forward_backward(r->model, &batch, 0, &out);
}
static ds_status logits(rig *r) {
  const ds_token_batch batch = two_tokens();
  float out[2 * kVocab];
  return ds_model_logits(r->model, &batch, 0, out, 2 * kVocab);
}
static ds_status save(rig *r) { return ds_model_save(r->model, saved_folder); }
static ds_status save_merged(rig *r) { return ds_model_save_merged(r->model, saved_folder); }
static ds_status prefill(rig *r) {
  const int32_t ids[2] = {1, 2};
  float out[kVocab];
  return ds_model_prefill(r->model, ids, 2, out, kVocab);
}
static ds_status decode(rig *r) {
  float out[kVocab];
  const ds_status status = prefill(r);
  return status != DS_OK ? status : ds_model_decode(r->model, 3, out, kVocab);
}
static ds_status generate(rig *r) {
  const int32_t prompt[2] = {1, 2};
  int32_t ids[3];
  int64_t count = 0;
  return ds_model_generate(r->model, prompt, 2, NULL, 3, ids, &count);
}

/* What is expected: ok, refused with DS_ERR_INVALID_STATE, or the error of the group. */
enum { Y = DS_OK, N = DS_ERR_INVALID_STATE, X = DS_ERR_RANK_LOST };

static const struct row {
  const char *function;
  ds_status (*call)(rig *r);
  int want[kStates];
} kRows[] = {
    /*                                          open sealed acquired in_grad handed in_hook lost */
    {"ds_engine_seal", seal, {Y, Y, Y, Y, Y, N, X}},
    {"ds_engine_step", step, {Y, Y, N, N, Y, N, X}},
    {"ds_engine_get_memory", get_memory, {Y, Y, Y, Y, Y, Y, Y}},
    {"ds_engine_get_config", get_config, {Y, Y, Y, Y, Y, Y, Y}},
    {"ds_engine_add_grad_hook", add_grad_hook, {Y, Y, Y, Y, Y, N, Y}},
    {"ds_engine_add_step_hook", add_step_hook, {Y, Y, Y, Y, Y, N, Y}},
    {"ds_engine_add_group", add_group, {Y, N, N, N, N, N, X}},
    {"ds_engine_get_loss_scale", get_loss_scale, {Y, Y, Y, Y, Y, Y, Y}},
    {"ds_engine_get_stats", get_stats, {Y, Y, Y, Y, Y, Y, Y}},
    {"ds_param_register", register_v, {Y, N, N, N, N, N, X}},
    {"ds_param_find", find, {Y, Y, Y, Y, Y, Y, Y}},
    {"ds_param_acquire", acquire, {Y, Y, Y, Y, Y, N, X}},
    {"ds_param_release", release, {N, N, Y, N, N, N, X}},
    {"ds_param_add_grad", add_grad, {Y, Y, Y, N, N, N, X}},
    {"ds_param_begin_grad", begin_grad, {Y, Y, Y, Y, N, N, X}},
    {"ds_param_end_grad", end_grad, {N, N, N, Y, N, N, X}},
    {"ds_param_read", read_master, {Y, Y, Y, Y, Y, N, X}},
    {"ds_model_create", create_model, {Y, N, N, N, N, N, X}},
    {"ds_model_load", load_model, {Y, N, N, N, N, N, X}},
    {"ds_model_get_info", get_info, {Y, Y, Y, Y, Y, Y, Y}},
    {"ds_model_plan", plan, {Y, Y, Y, Y, Y, N, X}},
    {"ds_model_loss", loss, {Y, Y, Y, Y, Y, N, X}},
    {"ds_model_forward_backward", forward_backward, {Y, Y, Y, Y, Y, N, X}},
    {"ds_model_logits", logits, {Y, Y, Y, Y, Y, N, X}},
    {"ds_model_save", save, {Y, Y, Y, Y, Y, N, X}},
    {"ds_model_save_merged", save_merged, {Y, Y, Y, Y, Y, N, X}},
    {"ds_model_prefill", prefill, {Y, Y, Y, Y, Y, N, X}},
    {"ds_model_decode", decode, {Y, Y, Y, Y, Y, N, X}},
    {"ds_model_generate", generate, {Y, Y, Y, Y, Y, N, X}},
};
enum { kRowCount = sizeof(kRows) / sizeof(kRows[0]) };

static int32_t on_grad(const ds_grad_event *event, void *user_data) {
  rig *r = (rig *)user_data;
  (void)event;
  if (r->hook_row >= 0) r->hook_status = kRows[r->hook_row].call(r);
  return DS_HOOK_CONTINUE;
}

/* An engine has one model. */
static int makes_model(int row) {
  return kRows[row].call == create_model || kRows[row].call == load_model;
}

static void open_rig(rig *r, ds_comm *comm, int with_model) {
  ds_engine_options options = DS_ENGINE_OPTIONS_INIT;
  options.comm = comm;
  r->hook_row = -1;
  OK(ds_engine_create(&options, &r->engine));
  OK(register_param(r->engine, "w", &r->w));
  r->model = NULL;
  if (with_model) OK(ds_model_create(r->engine, kModel, NULL, &r->model));
}
static void close_rig(rig *r) {
  ds_engine_destroy(r->engine);
  ds_model_destroy(r->model);
}

/* Brings a fresh engine there and makes the call. */
static ds_status call_in(rig *r, int row, state s) {
  if (s >= kSealed) OK(seal(r));
  switch (s) {
    case kAcquired:
      OK(acquire(r));
      break;
    case kInGrad:
      OK(begin_grad(r));
      break;
    case kHanded:
      OK(add_grad(r));
      break;
    case kInHook:
      OK(add_grad_hook(r));
      r->hook_row = row;
      OK(add_grad(r));
      r->hook_row = -1;
      return r->hook_status;
    default:
      break;
  }
  return kRows[row].call(r);
}

/* From any state a refused call left, the engine finishes its step. */
static void go_on(rig *r, state s) {
  if (s == kAcquired) OK(release(r));
  if (s == kInGrad) OK(end_grad(r));
  if (s < kInGrad) OK(add_grad(r));
  OK(step(r));
}

static void check_status(int row, state s, ds_status got) {
  const ds_status want = (ds_status)kRows[row].want[s];
  char where[100];
  ds_error *error;
  snprintf(where, sizeof(where), "%s, %s", kRows[row].function, kStateNames[s]);
  if (got != want) {
    fprintf(stderr, "%s: status %d, expected %d (%s)\n", where, (int)got, (int)want,
            ds_error_peek_message());
    ++failures;
  }
  if (s == kInHook) return; /* what the hook left behind is the outer call's */
  error = ds_error_take();
  check((error == NULL) == (got == DS_OK), where, "an error object exactly when it failed");
  check(got == DS_OK || ds_error_get_message(error)[0] != '\0', where, "no message");
  ds_error_destroy(error);
}

static void run_alone(int row, state s) {
  rig r;
  ds_status status;
  open_rig(&r, NULL, !makes_model(row));
  status = call_in(&r, row, s);
  check_status(row, s, status);
  if (status != DS_OK) go_on(&r, s);
  close_rig(&r);
}

static ds_status run_lost(ds_comm *comm, void *user_data) {
  int32_t rank = -1;
  int row;
  rig r;
  (void)user_data;
  OK(ds_comm_get_rank(comm, &rank));
  open_rig(&r, comm, 1);
  if (rank == 1) {
    OK(ds_comm_abort(comm, "rank 1 has enough"));
  } else {
    check(seal(&r) == DS_ERR_RANK_LOST, "state_matrix_test.c", "the group is not lost");
    for (row = 0; row < kRowCount; ++row) check_status(row, kLost, kRows[row].call(&r));
  }
  close_rig(&r);
  return DS_OK;
}

static void check_rows(void) {
  size_t i, row;
  for (i = 0; i < sizeof(kStateFunctions) / sizeof(kStateFunctions[0]); ++i) {
    int found = 0;
    for (row = 0; row < kRowCount; ++row) {
      found |= strcmp(kRows[row].function, kStateFunctions[i]) == 0;
    }
    check(found, kStateFunctions[i], "has no row in state_matrix_test.c");
  }
}

/* A folder of the model, and one to write to. */
static void make_folders(void) {
  const char *temp = getenv("TMPDIR");
  ds_engine *engine = NULL;
  ds_model *model = NULL;
  snprintf(folder, sizeof(folder), "%s/state_matrix.XXXXXX", temp != NULL ? temp : "/tmp");
  check(mkdtemp(folder) != NULL, "state_matrix_test.c", "mkdtemp");
  snprintf(model_folder, sizeof(model_folder), "%s/model", folder);
  snprintf(saved_folder, sizeof(saved_folder), "%s/saved", folder);
  OK(ds_engine_create(NULL, &engine));
  OK(ds_model_create(engine, kModel, NULL, &model));
  OK(ds_model_save(model, model_folder));
  ds_model_destroy(model);
  ds_engine_destroy(engine);
}
static void remove_folder(const char *path) {
  char file[sizeof(saved_folder) + 20];
  snprintf(file, sizeof(file), "%s/config.json", path);
  remove(file);
  snprintf(file, sizeof(file), "%s/model.safetensors", path);
  remove(file);
  remove(path);
}

int main(void) {
  int row, s;
  check_rows();
  make_folders();
  for (row = 0; row < kRowCount; ++row) {
    for (s = 0; s < kLost; ++s) run_alone(row, (state)s);
  }
  OK(ds_comm_run_threads(2, NULL, run_lost, NULL));
  remove_folder(model_folder);
  remove_folder(saved_folder);
  remove(folder);
  printf("%d functions in %d states, %d failures\n", (int)kRowCount, (int)kStates, failures);
  return failures != 0;
}
