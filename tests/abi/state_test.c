/* Calls that come at the wrong time, with the wrong count or from the wrong place: each is refused
 * with the right status and a message that names the thing, and the engine goes on as if the call
 * had not been made. */
#include <deepspeed/deepspeed.h>
#include <stdio.h>
#include <string.h>

enum { kRows = 3, kColumns = 5, kNumel = 15 };

static int failures = 0;

static void check(int condition, int line, const char *what) {
  if (condition) return;
  fprintf(stderr, "state_test.c:%d: %s\n", line, what);
  ++failures;
}
#define CHECK(condition) check((condition) ? 1 : 0, __LINE__, #condition)

static void expect(ds_status got, ds_status want, const char *word, int line) {
  ds_error *error = ds_error_take();
  const char *message = ds_error_get_message(error);
  if (got != want || (want != DS_OK && strstr(message, word) == NULL)) {
    fprintf(stderr, "state_test.c:%d: status %d (%s), message '%s'; expected %d and '%s'\n", line,
            (int)got, ds_status_string(got), message, (int)want, word);
    ++failures;
  }
  check((error == NULL) == (got == DS_OK), line, "an error object exactly when the call failed");
  ds_error_destroy(error);
}
#define OK(call) expect(call, DS_OK, "", __LINE__)
#define REFUSED(call, status, word) expect(call, status, word, __LINE__)

static ds_engine *create(ds_comm *comm, const char *config) {
  ds_engine *engine = NULL;
  ds_engine_options options = DS_ENGINE_OPTIONS_INIT;
  options.comm = comm;
  options.config_json = config;
  OK(ds_engine_create(&options, &engine));
  return engine;
}

static ds_param *add(ds_engine *engine, const char *name, const char *unit) {
  static const int64_t shape[2] = {kRows, kColumns};
  ds_param *param = NULL;
  ds_param_desc desc = DS_PARAM_DESC_INIT;
  desc.name = name;
  desc.unit = unit;
  desc.shape = shape;
  desc.ndim = 2;
  OK(ds_param_register(engine, &desc, &param));
  return param;
}

static void test_config(void) {
  static const struct {
    const char *text, *word;
  } cases[] = {
      {"{\"zero_optimisation\": {}}", "zero_optimization"},
      {"{\"zero_optimization\": {\"stage\": 4}}", "stage"},
      {"{\"zero_optimization\": {\"offload_optimizer\": {\"device\": \"nvme\"}}}",
       "offload_optimizer"},
      {"{\"amp\": {\"enabled\": true}}", "amp"},
      {"{\"train_batch_size\": 8, \"gradient_accumulation_steps\": 3}", "8"},
      {"{\"gradient_clipping\": \"a lot\"}", "gradient_clipping"},
      {"{\"optimizer\": {\"type\": \"Lyon\"}}", "Lyon"},
      {"{", "parse error"},
  };
  size_t i;
  for (i = 0; i < sizeof(cases) / sizeof(cases[0]); ++i) {
    ds_engine *engine = NULL;
    ds_engine_options options = DS_ENGINE_OPTIONS_INIT;
    options.config_json = cases[i].text;
    REFUSED(ds_engine_create(&options, &engine), DS_ERR_CONFIG, cases[i].word);
    CHECK(engine == NULL);
  }
}

static void test_register(void) {
  static const int64_t shape[2] = {kRows, kColumns}, negative[2] = {kRows, -1};
  char long_name[300];
  ds_engine *engine = create(NULL, NULL);
  ds_param *w = add(engine, "w", "a"), *out = NULL;
  ds_param_desc desc = DS_PARAM_DESC_INIT;
  memset(long_name, 'x', sizeof(long_name));
  long_name[sizeof(long_name) - 1] = '\0';
  desc.ndim = 2;
  desc.shape = shape;
  REFUSED(ds_param_register(engine, &desc, &out), DS_ERR_INVALID_ARGUMENT, "name");
  desc.name = "";
  REFUSED(ds_param_register(engine, &desc, &out), DS_ERR_INVALID_ARGUMENT, "0");
  desc.name = long_name;
  REFUSED(ds_param_register(engine, &desc, &out), DS_ERR_INVALID_ARGUMENT, "299");
  desc.name = "w";
  REFUSED(ds_param_register(engine, &desc, &out), DS_ERR_INVALID_ARGUMENT, "w: registered twice");
  desc.name = "v";
  desc.shape = negative;
  REFUSED(ds_param_register(engine, &desc, &out), DS_ERR_INVALID_ARGUMENT, "v:");
  desc.shape = NULL;
  REFUSED(ds_param_register(engine, &desc, &out), DS_ERR_INVALID_ARGUMENT, "v:");
  desc.shape = shape;
  desc.ndim = 9;
  REFUSED(ds_param_register(engine, &desc, &out), DS_ERR_INVALID_ARGUMENT, "9");
  desc.ndim = 2;
  add(engine, "x", "b");
  desc.unit = "a"; /* ended when x was registered */
  REFUSED(ds_param_register(engine, &desc, &out), DS_ERR_INVALID_ARGUMENT, "a");
  REFUSED(ds_param_find(engine, "nobody", &out), DS_ERR_NOT_FOUND, "nobody");
  CHECK(out == NULL);
  OK(ds_param_find(engine, "w", &out));
  CHECK(out == w);
  OK(ds_engine_seal(engine));
  OK(ds_engine_seal(engine));
  desc.unit = NULL;
  out = NULL;
  REFUSED(ds_param_register(engine, &desc, &out), DS_ERR_INVALID_STATE, "v: registered after");
  CHECK(out == NULL);
  ds_engine_destroy(engine);
}

static void test_use(void) {
  static const float grad[kNumel] = {1};
  float values[kNumel];
  ds_engine *engine = create(NULL, "{\"train_batch_size\": 2, \"gradient_accumulation_steps\": 2}");
  ds_param *w = add(engine, "w", NULL);
  ds_tensor weights = DS_TENSOR_INIT;
  ds_grad_view view = DS_GRAD_VIEW_INIT, again = DS_GRAD_VIEW_INIT;
  ds_step_info info = DS_STEP_INFO_INIT;

  REFUSED(ds_param_release(w), DS_ERR_INVALID_STATE, "w: released");
  OK(ds_param_acquire(w, &weights));
  CHECK(weights.numel == kNumel && weights.ndim == 2 && weights.shape[1] == kColumns);
  REFUSED(ds_engine_step(engine, &info), DS_ERR_INVALID_STATE, "acquired");
  OK(ds_param_release(w));
  REFUSED(ds_param_release(w), DS_ERR_INVALID_STATE, "w: released");

  REFUSED(ds_param_end_grad(w), DS_ERR_INVALID_STATE, "w: end_grad");
  REFUSED(ds_param_add_grad(w, DS_DTYPE_F32, grad, 2), DS_ERR_INVALID_ARGUMENT, "2");
  REFUSED(ds_param_add_grad(w, (ds_dtype)7, grad, kNumel), DS_ERR_INVALID_ARGUMENT, "7");
  REFUSED(ds_param_add_grad(w, DS_DTYPE_BF16, grad, kNumel), DS_ERR_INVALID_ARGUMENT, "bf16");
  OK(ds_param_begin_grad(w, &view));
  CHECK(view.accumulate == 0);
  REFUSED(ds_param_add_grad(w, DS_DTYPE_F32, grad, kNumel), DS_ERR_INVALID_STATE, "w:");
  REFUSED(ds_engine_step(engine, &info), DS_ERR_INVALID_STATE, "w: begin_grad");
  OK(ds_param_begin_grad(w, &again));
  CHECK(again.accumulate == 1 && again.grad.data == view.grad.data);
  memcpy(view.grad.data, grad, sizeof(grad));
  OK(ds_param_end_grad(w));
  REFUSED(ds_param_add_grad(w, DS_DTYPE_F32, grad, kNumel), DS_ERR_INVALID_STATE, "w: a second");
  REFUSED(ds_param_begin_grad(w, &again), DS_ERR_INVALID_STATE, "w: a second");

  info.struct_size = 3;
  REFUSED(ds_engine_step(engine, &info), DS_ERR_INVALID_ARGUMENT, "struct_size");
  info.struct_size = sizeof(info);
  OK(ds_engine_step(engine, &info));
  CHECK(info.applied == 0 && info.step == 0);
  OK(ds_param_add_grad(w, DS_DTYPE_F32, grad, kNumel));
  OK(ds_engine_step(engine, &info));
  CHECK(info.applied == 1 && info.step == 1);
  REFUSED(ds_param_read(w, values, kNumel - 1), DS_ERR_INVALID_ARGUMENT, "14");
  OK(ds_param_read(w, values, kNumel));
  /* Nothing refused above left a trace: only the first element had a gradient. */
  CHECK(values[0] < 0 && values[1] == 0);
  ds_engine_destroy(engine);
}

/* What a hook is told to answer, and what it saw. */
typedef struct hook_plan {
  ds_engine *engine;
  int32_t action;
  int calls, destroyed;
} hook_plan;

static int32_t on_grad(const ds_grad_event *event, void *user_data) {
  hook_plan *plan = (hook_plan *)user_data;
  const char *name = NULL;
  ++plan->calls;
  OK(ds_param_get_name(event->param, &name));
  CHECK(name != NULL && strcmp(name, event->name) == 0);
  REFUSED(ds_engine_step(plan->engine, NULL), DS_ERR_INVALID_STATE, "hook");
  REFUSED(ds_param_release(event->param), DS_ERR_INVALID_STATE, "hook");
  if (plan->action == DS_HOOK_ABORT) ds_error_set(DS_ERR_CANCELLED, "the user said so");
  return plan->action;
}

static void on_destroy(void *user_data) { ++((hook_plan *)user_data)->destroyed; }

static void test_hooks(void) {
  static const float grad[kNumel] = {1};
  hook_plan plan = {NULL, 0, 0, 0};
  ds_engine *engine = create(NULL, NULL);
  ds_param *w = add(engine, "w", NULL);
  ds_grad_view view = DS_GRAD_VIEW_INIT;
  ds_grad_hook hook = DS_GRAD_HOOK_INIT;
  plan.engine = engine;
  hook.user_data = &plan;
  hook.destroy = on_destroy;
  REFUSED(ds_engine_add_grad_hook(engine, &hook), DS_ERR_INVALID_ARGUMENT, "fn");
  CHECK(plan.destroyed == 1);
  hook.fn = on_grad;
  REFUSED(ds_engine_add_grad_hook(NULL, &hook), DS_ERR_INVALID_ARGUMENT, "engine");
  CHECK(plan.destroyed == 2);
  OK(ds_engine_add_grad_hook(engine, &hook));

  plan.action = 0;
  REFUSED(ds_param_add_grad(w, DS_DTYPE_F32, grad, kNumel), DS_ERR_CALLBACK, "w:");
  plan.action = 77;
  REFUSED(ds_param_add_grad(w, DS_DTYPE_F32, grad, kNumel), DS_ERR_CALLBACK, "77");
  plan.action = DS_HOOK_ABORT;
  REFUSED(ds_param_add_grad(w, DS_DTYPE_F32, grad, kNumel), DS_ERR_CANCELLED, "the user said so");
  OK(ds_param_begin_grad(w, &view));
  memcpy(view.grad.data, grad, sizeof(grad));
  plan.action = DS_HOOK_SKIP;
  REFUSED(ds_param_end_grad(w), DS_ERR_UNSUPPORTED, "w:");
  plan.action = DS_HOOK_CONTINUE;
  REFUSED(ds_param_end_grad(w), DS_ERR_INVALID_STATE, "w: end_grad without begin_grad");
  OK(ds_engine_step(engine, NULL));
  CHECK(plan.calls == 4 && plan.destroyed == 2);
  ds_engine_destroy(engine);
  CHECK(plan.destroyed == 3);
}

static ds_status disagree(ds_comm *comm, void *user_data) {
  int32_t rank = -1;
  ds_engine *engine;
  (void)user_data;
  OK(ds_comm_get_rank(comm, &rank));
  engine = create(comm, "{\"zero_optimization\": {\"stage\": 3}}");
  add(engine, rank == 0 ? "w" : "v", NULL);
  REFUSED(ds_engine_seal(engine), DS_ERR_RANK_MISMATCH, "v [3, 5]");
  /* Sticky: the same reason for what comes after. */
  REFUSED(ds_engine_step(engine, NULL), DS_ERR_RANK_MISMATCH, "v [3, 5]");
  ds_engine_destroy(engine);
  return DS_OK;
}

static ds_status fail_on_rank_2(ds_comm *comm, void *user_data) {
  int32_t rank = -1;
  (void)user_data;
  OK(ds_comm_get_rank(comm, &rank));
  if (rank == 2) {
    ds_error_set(DS_ERR_IO, "no such file");
    return DS_ERR_IO;
  }
  return ds_comm_barrier(comm);
}

static void test_groups(void) {
  ds_comm *comms[2] = {NULL, NULL};
  ds_comm_options options = DS_COMM_OPTIONS_INIT;
  ds_engine *engine;
  double one = 1;
  REFUSED(ds_comm_create_threads(0, NULL, comms), DS_ERR_INVALID_ARGUMENT, "0");
  REFUSED(ds_comm_create_threads(1025, NULL, comms), DS_ERR_INVALID_ARGUMENT, "1025");
  options.timeout_seconds = -1;
  REFUSED(ds_comm_create_threads(2, &options, comms), DS_ERR_INVALID_ARGUMENT, "-1");
  options.timeout_seconds = 0.05;
  CHECK(comms[0] == NULL);

  OK(ds_comm_create_threads(2, &options, comms));
  REFUSED(ds_comm_all_reduce(comms[0], &one, 1), DS_ERR_TIMEOUT, "1");
  CHECK(one == 1);
  REFUSED(ds_comm_barrier(comms[1]), DS_ERR_TIMEOUT, "rank 0"); /* which gave up */
  ds_comm_destroy(comms[1]);
  ds_comm_destroy(comms[0]);

  REFUSED(ds_comm_run_threads(2, NULL, disagree, NULL), DS_OK, "");
  REFUSED(ds_comm_run_threads(3, NULL, fail_on_rank_2, NULL), DS_ERR_IO, "rank 2");

  /* An engine keeps the group it was made from. */
  OK(ds_comm_create_self(NULL, &comms[0]));
  engine = create(comms[0], NULL);
  ds_comm_destroy(comms[0]);
  add(engine, "w", NULL);
  OK(ds_engine_step(engine, NULL));
  ds_engine_destroy(engine);
}

int main(void) {
  test_config();
  test_register();
  test_use();
  test_hooks();
  test_groups();
  printf("%d failures\n", failures);
  return failures != 0;
}
