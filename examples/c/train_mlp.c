/* Trains a two-layer network of its own with ZeRO-3 over 4 ranks (threads), and again on 1 rank:
 * the loss falls, and is the same. cc train_mlp.c $(pkg-config --cflags --libs deepspeed) -lm */
#include <deepspeed/deepspeed.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { SAMPLES = 64, HIDDEN = 32, STEPS = 300, W1 = 0, B1, W2, B2, PARAMS };

#define TRY(call)                         \
  do {                                    \
    ds_status status_ = (call);           \
    if (status_ != DS_OK) return status_; \
  } while (0)

static const int64_t kShape[PARAMS][2] = {{HIDDEN, 1}, {HIDDEN, 1}, {1, HIDDEN}, {1, 1}};
static const char *const kName[PARAMS] = {"w1", "b1", "w2", "b2"};
static const char kConfig[] =
    "{\"train_batch_size\": 64, \"zero_optimization\": {\"stage\": 3},"
    " \"optimizer\": {\"type\": \"AdamW\", \"params\": {\"lr\": 0.01}}}";

/* y = W2 tanh(W1 x + b1) + b2 against sin(3x): the mean squared error of this rank's samples, and
 * its gradient. */
static double forward_backward(float *const w[PARAMS], float g[PARAMS][HIDDEN], int rank,
                               int size) {
  double loss = 0;
  int s, h, count = SAMPLES / size;
  memset(g, 0, sizeof(float[PARAMS][HIDDEN]));
  for (s = rank * count; s < (rank + 1) * count; ++s) {
    float x = 2.0f * (float)s / (SAMPLES - 1) - 1.0f, hidden[HIDDEN], y = w[B2][0], dy;
    for (h = 0; h < HIDDEN; ++h) {
      hidden[h] = tanhf(w[W1][h] * x + w[B1][h]);
      y += w[W2][h] * hidden[h];
    }
    loss += pow((double)y - sin(3.0 * x), 2) / count;
    dy = 2.0f * (y - (float)sin(3.0 * x)) / (float)count;
    g[B2][0] += dy;
    for (h = 0; h < HIDDEN; ++h) {
      float dh = dy * w[W2][h] * (1.0f - hidden[h] * hidden[h]);
      g[W2][h] += dy * hidden[h];
      g[W1][h] += dh * x;
      g[B1][h] += dh;
    }
  }
  return loss;
}

/* Per step: acquire, compute, release, hand over gradients, step. */
static ds_status run(ds_comm *comm, ds_engine *engine, double loss_out[2]) {
  ds_param *param[PARAMS];
  int32_t rank, size, step, p, h;
  TRY(ds_comm_get_rank(comm, &rank));
  TRY(ds_comm_get_size(comm, &size));
  for (p = 0; p < PARAMS; ++p) {
    float init[HIDDEN]; /* the same on every rank */
    ds_param_desc desc = DS_PARAM_DESC_INIT;
    for (h = 0; h < HIDDEN; ++h) init[h] = 0.3f * sinf((float)(17 * h + 5 * p + 1));
    desc.name = kName[p], desc.shape = kShape[p], desc.ndim = 2, desc.init = init;
    TRY(ds_param_register(engine, &desc, &param[p]));
  }
  for (step = 0; step < STEPS; ++step) {
    float *weights[PARAMS], grads[PARAMS][HIDDEN];
    for (p = 0; p < PARAMS; ++p) {
      ds_tensor view;
      TRY(ds_param_acquire(param[p], &view)); /* gathers what other ranks keep */
      weights[p] = (float *)view.data;
    }
    double loss = forward_backward(weights, grads, rank, size) / size;
    for (p = PARAMS - 1; p >= 0; --p) {
      TRY(ds_param_release(param[p]));
      TRY(ds_param_add_grad(param[p], DS_DTYPE_F32, grads[p], kShape[p][0] * kShape[p][1]));
    }
    TRY(ds_engine_step(engine, NULL));
    TRY(ds_comm_all_reduce(comm, &loss, 1));
    if (rank == 0) loss_out[step > 0] = loss;
  }
  return DS_OK;
}

static ds_status train(ds_comm *comm, void *user_data) {
  ds_engine_options options = DS_ENGINE_OPTIONS_INIT;
  ds_engine *engine;
  options.config_json = kConfig, options.comm = comm;
  TRY(ds_engine_create(&options, &engine));
  ds_status status = run(comm, engine, (double *)user_data);
  ds_engine_destroy(engine);
  return status;
}

int main(void) {
  const int32_t kWorlds[2] = {4, 1};
  double loss[2][2]; /* of each world: first, last */
  for (int i = 0; i < 2; ++i) {
    if (ds_comm_run_threads(kWorlds[i], NULL, train, loss[i]) != DS_OK)
      return fprintf(stderr, "train_mlp: %s\n", ds_error_peek_message()), 1;
    printf("%d rank(s), ZeRO-3: loss %.6f -> %.6f\n", (int)kWorlds[i], loss[i][0], loss[i][1]);
  }
  return loss[0][1] < 0.1 * loss[0][0] && fabs(loss[0][1] - loss[1][1]) < 1e-4 ? 0 : 1;
}
