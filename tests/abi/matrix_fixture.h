/* What the generated cases stand on: objects to call on, arguments that are right, cells for
 * outputs whose every byte is watched, and the checks. */
#ifndef DEEPSPEED_TESTS_ABI_MATRIX_FIXTURE_H
#define DEEPSPEED_TESTS_ABI_MATRIX_FIXTURE_H

#include <deepspeed/deepspeed.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct fixture {
  ds_comm *comm;
  ds_engine *engine;
  ds_param *param; /* "w", 3 x 5 */
  ds_optim *optim;
  ds_lr_schedule *lr_schedule;
  ds_loss_scaler *loss_scaler;
  ds_model *model; /* of the engine, with 15 ids */
  ds_tokenizer *tokenizer;
} fixture;

/* Of that model. */
extern const char kModelConfig[];

/* On `comm`, or with NULL on a group of one that is made for it. */
void open_fixture(fixture *f, ds_comm *comm);
void close_fixture(fixture *f);

/* Room for any argument; as large as the largest struct, and aligned for it. */
typedef union cell {
  unsigned char bytes[512];
  int64_t align_int;
  double align_double;
  void *align_pointer;
} cell;

void poison(cell *out);
void set_size(cell *out, size_t struct_size);

/* Fill what the _INIT macros leave at their defaults. */
void valid_ds_engine_options(const fixture *f, ds_engine_options *options);
void valid_ds_param_desc(const fixture *f, ds_param_desc *desc);
void valid_ds_grad_hook(const fixture *f, ds_grad_hook *hook);
void valid_ds_step_hook(const fixture *f, ds_step_hook *hook);
void valid_ds_optim_options(const fixture *f, ds_optim_options *options);
void valid_ds_optim_span(const fixture *f, ds_optim_span *span);
void valid_ds_loss_scaler_state(const fixture *f, ds_loss_scaler_state *state);
void valid_ds_tensor(const fixture *f, ds_tensor *tensor);
void valid_ds_token_batch(const fixture *f, ds_token_batch *batch);
void valid_ds_log_sink(const fixture *f, ds_log_sink *sink);
ds_status rank_of_one(ds_comm *comm, void *user_data);

/* How many checks failed. */
int failure_count(void);
void check(int condition, const char *function, const char *what);
/* Failed with `want`, and with an error object of one line that has `word` in it. */
void refused_with(const char *function, ds_status got, ds_status want, const char *word);
/* Succeeded, or failed for a reason that has nothing to do with `word`. */
void not_refused(const char *function, ds_status got, const char *word);
/* Failed because the group is lost. */
void lost(const char *function, ds_status got);
void untouched(const char *function, const cell *now, const cell *before);

/* Generated. */
void test_nothing(void);                               /* what cannot fail: every argument zero */
void test_null(const fixture *f);                      /* each pointer NULL, once */
void test_sizes(const fixture *f);                     /* each struct of each wrong size */
void test_dead(const fixture *f, const fixture *dead); /* each handle gone, or of another kind */
void test_lost(const fixture *f); /* collectives of a group that has lost a rank */
/* Every call while `plan` makes it fail with `want`. */
void test_injected(const fixture *f, const char *plan, ds_status want);
void inject(const char *plan); /* by inject_test.cc */

#ifdef __cplusplus
}
#endif
#endif
