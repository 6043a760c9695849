/* Five handles, four of which share one group, destroyed in each of their 120 orders: what is left
 * works until its own turn (a model says that its engine is gone), and under AddressSanitizer
 * nothing is used after its end or left behind. */
#include <deepspeed/deepspeed.h>
#include <stdio.h>

enum { kHandles = 5, kVocab = 5 };

static const char kModel[] =
    "{\"model_type\": \"gpt2\", \"vocab_size\": 5, \"n_positions\": 4, \"n_layer\": 1,"
    " \"n_head\": 1, \"n_embd\": 4}";
static int failures = 0;

static void check(int condition, int line, const char *what) {
  if (condition) return;
  fprintf(stderr, "order_test.c:%d: %s (%s)\n", line, what, ds_error_peek_message());
  ++failures;
}
#define CHECK(condition) check((condition) ? 1 : 0, __LINE__, #condition)

typedef struct handles {
  ds_comm *comm;
  ds_engine *engines[2];
  ds_param *params[2];
  ds_model *model; /* of the first engine */
  ds_error *error;
  ds_buffer config;
} handles;

static void open_handles(handles *h) {
  static const int64_t shape[1] = {8};
  int i;
  const ds_buffer empty = DS_BUFFER_INIT;
  h->config = empty;
  CHECK(ds_comm_create_self(NULL, &h->comm) == DS_OK);
  for (i = 0; i < 2; ++i) {
    ds_engine_options options = DS_ENGINE_OPTIONS_INIT;
    ds_param_desc desc = DS_PARAM_DESC_INIT;
    options.comm = h->comm;
    desc.name = "w";
    desc.shape = shape;
    desc.ndim = 1;
    CHECK(ds_engine_create(&options, &h->engines[i]) == DS_OK);
    CHECK(ds_param_register(h->engines[i], &desc, &h->params[i]) == DS_OK);
  }
  CHECK(ds_model_create(h->engines[0], kModel, NULL, &h->model) == DS_OK);
  CHECK(ds_engine_get_config(h->engines[0], &h->config) == DS_OK);
  CHECK(ds_param_release(h->params[0]) == DS_ERR_INVALID_STATE);
  h->error = ds_error_take();
}

static void train(handles *h, int i) {
  static const float grad[8] = {1, 1, 1, 1, 1, 1, 1, 1};
  CHECK(ds_param_add_grad(h->params[i], DS_DTYPE_F32, grad, 8) == DS_OK);
  CHECK(ds_engine_step(h->engines[i], NULL) == DS_OK);
}

static void read_with(handles *h) {
  const int32_t id = 1;
  float logits[kVocab];
  ds_model_info info = DS_MODEL_INFO_INIT;
  const ds_status status = ds_model_prefill(h->model, &id, 1, logits, kVocab);
  CHECK(status == (h->engines[0] != NULL ? DS_OK : DS_ERR_INVALID_STATE));
  CHECK(ds_model_get_info(h->model, &info) == DS_OK && info.vocab == kVocab);
}

/* Everything that is still there does its work. */
static void use(handles *h) {
  double one = 1;
  if (h->comm != NULL) CHECK(ds_comm_all_reduce(h->comm, &one, 1) == DS_OK && one == 1);
  if (h->engines[0] != NULL) train(h, 0);
  if (h->engines[1] != NULL) train(h, 1);
  if (h->model != NULL) read_with(h);
  if (h->error != NULL) CHECK(ds_error_get_message(h->error)[0] == 'w');
  CHECK(h->config.data[0] == '{');
}

static void destroy(handles *h, int which) {
  switch (which) {
    case 0:
      ds_comm_destroy(h->comm);
      h->comm = NULL;
      break;
    case 1:
    case 2:
      ds_engine_destroy(h->engines[which - 1]);
      h->engines[which - 1] = NULL;
      break;
    case 3:
      ds_model_destroy(h->model);
      h->model = NULL;
      break;
    default:
      ds_error_destroy(h->error);
      h->error = NULL;
  }
}

static int orders = 0;

static void run(const int *order) {
  int i;
  handles h;
  open_handles(&h);
  for (i = 0; i < kHandles; ++i) {
    use(&h);
    destroy(&h, order[i]);
  }
  use(&h);
  ds_buffer_dispose(&h.config);
  ++orders;
}

static void permute(int *order, int from) {
  int i;
  if (from == kHandles) {
    run(order);
    return;
  }
  for (i = from; i < kHandles; ++i) {
    const int first = order[i];
    order[i] = order[from];
    order[from] = first;
    permute(order, from + 1);
    order[from] = order[i];
    order[i] = first;
  }
}

int main(void) {
  int order[kHandles] = {0, 1, 2, 3, 4};
  permute(order, 0);
  CHECK(orders == 120);
  printf("%d orders, %d failures\n", orders, failures);
  return failures != 0;
}
