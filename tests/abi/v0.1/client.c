/* A program of the time of 0.1: it is compiled against the headers beside it and runs with the
 * library of today. It is not changed when the headers are. */
#include <deepspeed/deepspeed.h>
#include <stdio.h>
#include <string.h>

static int failures = 0;

static void check(int condition, int line, const char *what) {
  if (condition) return;
  fprintf(stderr, "client.c:%d: %s (%s)\n", line, what, ds_error_peek_message());
  ++failures;
}
#define CHECK(condition) check((condition) ? 1 : 0, __LINE__, #condition)
#define OK(call) CHECK((call) == DS_OK)

/* A struct with bytes behind it that are not the library's. */
typedef union guarded_info {
  ds_step_info step;
  ds_memory_info memory;
  ds_loss_scaler_state state;
  unsigned char bytes[512];
} guarded_info;

static void guard(guarded_info *info, size_t size) {
  memset(info->bytes, 0x5A, sizeof(info->bytes));
  memcpy(info->bytes, &size, sizeof(size));
}

static int is_guarded(const guarded_info *info, size_t size) {
  size_t i;
  for (i = size; i < sizeof(info->bytes); ++i) {
    if (info->bytes[i] != 0x5A) return 0;
  }
  return memcmp(info->bytes, &size, sizeof(size)) == 0;
}

typedef struct hook_count {
  int calls, destroyed;
} hook_count;

static int32_t on_grad(const ds_grad_event *event, void *user_data) {
  CHECK(event->struct_size >= sizeof(*event));
  CHECK(strcmp(event->name, "w") == 0 && event->grad.numel == 6);
  ++((hook_count *)user_data)->calls;
  return DS_HOOK_CONTINUE;
}

static void on_destroy(void *user_data) { ++((hook_count *)user_data)->destroyed; }

static ds_engine *create(ds_comm *comm, ds_param **w) {
  static const int64_t shape[2] = {2, 3};
  ds_engine *engine = NULL;
  ds_engine_options options = DS_ENGINE_OPTIONS_INIT;
  ds_param_desc desc = DS_PARAM_DESC_INIT;
  options.comm = comm;
  options.config_json = "{\"zero_optimization\": {\"stage\": 3}}";
  desc.name = "w";
  desc.shape = shape;
  desc.ndim = 2;
  OK(ds_engine_create(&options, &engine));
  OK(ds_param_register(engine, &desc, w));
  return engine;
}

static ds_status train(ds_comm *comm, void *user_data) {
  static const float grad[6] = {1, 1, 1, 1, 1, 1};
  float values[6];
  double sum = 1;
  int32_t rank = -1, size = 0;
  int64_t numel = 0;
  const char *name = NULL;
  ds_param *w = NULL, *found = NULL;
  ds_tensor weights = DS_TENSOR_INIT;
  ds_grad_view view = DS_GRAD_VIEW_INIT;
  guarded_info info;
  ds_grad_hook hook = DS_GRAD_HOOK_INIT;
  hook_count count = {0, 0};
  ds_engine *engine = create(comm, &w);
  (void)user_data;
  hook.fn = on_grad;
  hook.user_data = &count;
  hook.destroy = on_destroy;
  OK(ds_comm_get_rank(comm, &rank));
  OK(ds_comm_get_size(comm, &size));
  OK(ds_engine_add_grad_hook(engine, &hook));
  OK(ds_engine_seal(engine));
  OK(ds_param_find(engine, "w", &found));
  OK(ds_param_get_name(found, &name));
  OK(ds_param_get_numel(found, &numel));
  CHECK(found == w && strcmp(name, "w") == 0 && numel == 6 && rank >= 0 && size == 2);
  OK(ds_param_acquire(w, &weights));
  CHECK(weights.numel == 6 && weights.ndim == 2 && weights.dtype == DS_DTYPE_F32);
  OK(ds_param_release(w));
  OK(ds_param_add_grad(w, DS_DTYPE_F32, grad, 6));
  guard(&info, sizeof(ds_step_info));
  OK(ds_engine_step(engine, &info.step));
  CHECK(info.step.applied == 1 && info.step.step == 1);
  CHECK(is_guarded(&info, sizeof(ds_step_info)));
  OK(ds_param_begin_grad(w, &view));
  memcpy(view.grad.data, grad, sizeof(grad));
  OK(ds_param_end_grad(w));
  OK(ds_engine_step(engine, NULL));
  OK(ds_param_read(w, values, 6));
  CHECK(values[0] < 0 && values[0] == values[5]);
  guard(&info, sizeof(ds_memory_info));
  OK(ds_engine_get_memory(engine, &info.memory));
  CHECK(info.memory.peak > 0 && is_guarded(&info, sizeof(ds_memory_info)));
  OK(ds_comm_barrier(comm));
  OK(ds_comm_all_reduce(comm, &sum, 1));
  CHECK(sum == 2);
  ds_engine_destroy(engine);
  CHECK(count.calls == 2 && count.destroyed == 1);
  return DS_OK;
}

static void use_optimizer(void) {
  float params[2] = {1, 1}, grads[2] = {1, 1}, moments[2][2] = {{0, 0}, {0, 0}};
  float *states[2];
  double lr = 0, norm = 0, factor = 0, scale = 0;
  guarded_info state;
  ds_optim_options options = DS_OPTIM_OPTIONS_INIT;
  ds_optim_span span = DS_OPTIM_SPAN_INIT;
  ds_loss_scaler_options scaling = DS_LOSS_SCALER_OPTIONS_INIT;
  ds_optim *optim = NULL;
  ds_lr_schedule *schedule = NULL;
  ds_loss_scaler *scaler = NULL;
  states[0] = moments[0];
  states[1] = moments[1];
  options.config_json = "{\"type\": \"AdamW\"}";
  span.params = params;
  span.grads = grads;
  span.states = states;
  span.numel = 2;
  OK(ds_optim_create(&options, &optim));
  OK(ds_optim_get_lr(optim, 0, &lr));
  OK(ds_optim_step(optim, &span, 1, lr, 1));
  CHECK(params[0] < 1);
  OK(ds_optim_get_norm(optim, DS_DTYPE_F32, grads, 2, &norm));
  OK(ds_clip_get_factor(norm, 1, 1, &factor));
  CHECK(factor < 1);
  ds_optim_destroy(optim);
  OK(ds_lr_schedule_create("{\"type\": \"WarmupLR\"}", 0.1, &schedule));
  OK(ds_lr_schedule_get_lr(schedule, 0, &lr));
  ds_lr_schedule_destroy(schedule);
  OK(ds_loss_scaler_create(&scaling, &scaler));
  OK(ds_loss_scaler_update(scaler, 0));
  OK(ds_loss_scaler_get_scale(scaler, &scale));
  guard(&state, sizeof(ds_loss_scaler_state));
  OK(ds_loss_scaler_get_state(scaler, &state.state));
  CHECK(is_guarded(&state, sizeof(ds_loss_scaler_state)) && state.state.scale == scale);
  OK(ds_loss_scaler_set_state(scaler, &state.state));
  ds_loss_scaler_destroy(scaler);
}

/* What this program does not know is not there, unless it is not zero. */
static void try_sizes(void) {
  struct {
    ds_comm_options known;
    int64_t newer[4];
  } options = {DS_COMM_OPTIONS_INIT, {0, 0, 0, 0}};
  ds_comm *comm = NULL;
  options.known.struct_size = sizeof(options.known) - 1;
  CHECK(ds_comm_create_self(&options.known, &comm) == DS_ERR_INVALID_ARGUMENT);
  options.known.struct_size = sizeof(options);
  OK(ds_comm_create_self(&options.known, &comm));
  ds_comm_destroy(comm);
  comm = NULL;
  options.newer[3] = 1;
  CHECK(ds_comm_create_self(&options.known, &comm) == DS_ERR_UNSUPPORTED && comm == NULL);
}

int main(void) {
  ds_buffer text = DS_BUFFER_INIT;
  ds_error *error;
  CHECK(ds_version() >= DS_VERSION_MAJOR * 10000 + DS_VERSION_MINOR * 100 + DS_VERSION_PATCH);
  CHECK(ds_status_get_scope(DS_ERR_RANK_LOST) == DS_SCOPE_GROUP && ds_build_info()[0] == '{');
  OK(ds_config_resolve("{}", 1, &text));
  CHECK(text.size == strlen(text.data));
  ds_buffer_dispose(&text);
  CHECK(ds_config_resolve("{\"zero_optimisation\": 1}", 1, &text) == DS_ERR_CONFIG);
  error = ds_error_take();
  CHECK(ds_error_get_status(error) == DS_ERR_CONFIG);
  ds_error_destroy(error);
  OK(ds_comm_run_threads(2, NULL, train, NULL));
  use_optimizer();
  try_sizes();
  printf("%d failures\n", failures);
  return failures != 0;
}
