/* Every function of an engine in every state of it: what it answers, and that a refusal changed
 * nothing. A function of ds_engine.h, ds_hook.h or ds_param.h without a row fails the test. */
#include <deepspeed/deepspeed.h>
#include <stdio.h>
#include <string.h>

#include "state_names.h"

enum { kNumel = 4 };

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
  int hook_row;
  ds_status hook_status;
} rig;

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
};
enum { kRowCount = sizeof(kRows) / sizeof(kRows[0]) };

static int32_t on_grad(const ds_grad_event *event, void *user_data) {
  rig *r = (rig *)user_data;
  (void)event;
  if (r->hook_row >= 0) r->hook_status = kRows[r->hook_row].call(r);
  return DS_HOOK_CONTINUE;
}

static void open_rig(rig *r, ds_comm *comm) {
  ds_engine_options options = DS_ENGINE_OPTIONS_INIT;
  options.comm = comm;
  r->hook_row = -1;
  OK(ds_engine_create(&options, &r->engine));
  OK(register_param(r->engine, "w", &r->w));
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
  open_rig(&r, NULL);
  status = call_in(&r, row, s);
  check_status(row, s, status);
  if (status != DS_OK) go_on(&r, s);
  ds_engine_destroy(r.engine);
}

static ds_status run_lost(ds_comm *comm, void *user_data) {
  int32_t rank = -1;
  int row;
  rig r;
  (void)user_data;
  OK(ds_comm_get_rank(comm, &rank));
  open_rig(&r, comm);
  if (rank == 1) {
    OK(ds_comm_abort(comm, "rank 1 has enough"));
  } else {
    check(seal(&r) == DS_ERR_RANK_LOST, "state_matrix_test.c", "the group is not lost");
    for (row = 0; row < kRowCount; ++row) check_status(row, kLost, kRows[row].call(&r));
  }
  ds_engine_destroy(r.engine);
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

int main(void) {
  int row, s;
  check_rows();
  for (row = 0; row < kRowCount; ++row) {
    for (s = 0; s < kLost; ++s) run_alone(row, (state)s);
  }
  OK(ds_comm_run_threads(2, NULL, run_lost, NULL));
  printf("%d functions in %d states, %d failures\n", (int)kRowCount, (int)kStates, failures);
  return failures != 0;
}
