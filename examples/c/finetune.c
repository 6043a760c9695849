/* Trains the model of a Hugging Face folder on a text with ZeRO-3 over 2 ranks (threads), saves it
 * as such a folder, and continues the text with it.
 *
 *     cc finetune.c $(pkg-config --cflags --libs deepspeed) && ./a.out MODEL_DIR OUT_DIR */
#include <deepspeed/deepspeed.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RANKS = 2, TOKENS = 48, STEPS = 200, NEW = 24 };

#define TRY(call)                         \
  do {                                    \
    ds_status status_ = (call);           \
    if (status_ != DS_OK) return status_; \
  } while (0)

static const char kText[] =
    "Gather the weights, compute a layer, let go of them, and hand over the gradient. "
    "Gather the weights, compute a layer, let go of them, and hand over the gradient. "
    "Gather the weights, compute a layer, let go of them, and hand over the gradient. ";
static const char kConfig[] =
    "{\"train_batch_size\": 2, \"gradient_clipping\": 1.0, \"zero_optimization\": {\"stage\": 3},"
    " \"optimizer\": {\"type\": \"AdamW\", \"params\": {\"lr\": 0.005}}}";

typedef struct job {
  const char *model, *out;
  const int32_t *ids; /* the text */
  int64_t count;
  double first, last; /* loss */
} job;

/* Each step every rank reads another window of the text. */
static ds_status run(ds_comm *comm, ds_engine *engine, ds_model *model, job *of) {
  int32_t rank, step;
  TRY(ds_comm_get_rank(comm, &rank));
  for (step = 0; step < STEPS; ++step) {
    int64_t start = (7 * (step * RANKS + rank)) % (of->count - TOKENS);
    ds_token_batch batch = DS_TOKEN_BATCH_INIT;
    ds_loss loss = DS_LOSS_INIT;
    double mean;
    batch.batch = 1, batch.tokens = TOKENS;
    batch.ids = of->ids + start, batch.targets = of->ids + start + 1;
    TRY(ds_model_forward_backward(model, &batch, 0, &loss)); /* 0: gradients of the mean */
    TRY(ds_engine_step(engine, NULL));                       /* averaged, clipped, updated */
    mean = loss.mean / RANKS;
    TRY(ds_comm_all_reduce(comm, &mean, 1));
    if (rank == 0 && step == 0) of->first = mean;
    if (rank == 0) of->last = mean;
  }
  return ds_model_save(model, of->out);
}

static ds_status train(ds_comm *comm, void *user_data) {
  job *of = (job *)user_data;
  ds_engine_options options = DS_ENGINE_OPTIONS_INIT;
  ds_engine *engine = NULL;
  ds_model *model = NULL;
  ds_status status;
  options.config_json = kConfig, options.comm = comm;
  status = ds_engine_create(&options, &engine);
  if (status == DS_OK) status = ds_model_load(engine, of->model, NULL, &model);
  if (status == DS_OK) status = run(comm, engine, model, of);
  ds_model_destroy(model);
  ds_engine_destroy(engine);
  return status;
}

/* What the saved model makes of the first words. */
static ds_status continue_text(const job *of, const ds_tokenizer *tokenizer, ds_buffer *out_text) {
  ds_generate_options options = DS_GENERATE_OPTIONS_INIT; /* the likeliest id each time */
  int32_t ids[NEW];
  int64_t count = 0;
  ds_model *model = NULL;
  ds_status status = ds_model_open(of->out, NULL, &model);
  if (status == DS_OK) {
    status = ds_model_generate(model, of->ids, of->count / 12, &options, NEW, ids, &count);
  }
  if (status == DS_OK) status = ds_tokenizer_decode(tokenizer, ids, count, 0, out_text);
  ds_model_destroy(model);
  return status;
}

static ds_status finetune(job *of, ds_tokenizer *tokenizer) {
  int32_t *ids;
  ds_status status;
  ds_buffer text = DS_BUFFER_INIT;
  const size_t bytes = sizeof(kText) - 1;
  TRY(ds_tokenizer_encode(tokenizer, kText, bytes, DS_ENCODE_PROMPT, NULL, 0, &of->count));
  ids = (int32_t *)malloc((size_t)of->count * sizeof(*ids));
  if (ids == NULL) return DS_ERR_OUT_OF_MEMORY;
  of->ids = ids;
  status =
      ds_tokenizer_encode(tokenizer, kText, bytes, DS_ENCODE_PROMPT, ids, of->count, &of->count);
  if (status == DS_OK) status = ds_comm_run_threads(RANKS, NULL, train, of);
  if (status == DS_OK) status = ds_tokenizer_save(tokenizer, of->out);
  if (status == DS_OK) status = continue_text(of, tokenizer, &text);
  if (status == DS_OK) {
    printf("loss %.3f -> %.3f\n%.*s|%s\n", of->first, of->last, (int)(bytes / 12), kText,
           text.data);
  }
  ds_buffer_dispose(&text);
  free(ids);
  return status;
}

int main(int argc, char **argv) {
  job of = {NULL, NULL, NULL, 0, 0, 0};
  ds_tokenizer *tokenizer = NULL;
  ds_status status;
  if (argc != 3) return fprintf(stderr, "usage: %s MODEL_DIR OUT_DIR\n", argv[0]), 2;
  of.model = argv[1], of.out = argv[2];
  status = ds_tokenizer_open(of.model, &tokenizer);
  if (status == DS_ERR_NOT_FOUND) status = ds_tokenizer_open("bytes", &tokenizer);
  if (status == DS_OK) status = finetune(&of, tokenizer);
  if (status != DS_OK) fprintf(stderr, "finetune: %s\n", ds_error_peek_message());
  ds_tokenizer_destroy(tokenizer);
  return status != DS_OK;
}
