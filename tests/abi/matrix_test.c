/* Calls every exported function with nothing, with malformed structs, and after the group was lost.
 * The calls are generated from the headers (make_sources.py); here is what they have in common. */
#include "null_fixture.h"

#include <stdio.h>
#include <string.h>

static int failures = 0;

void check(int condition, const char *function, const char *what) {
  if (condition) return;
  fprintf(stderr, "%s: %s\n", function, what);
  ++failures;
}

void poison(cell *out) { memset(out->bytes, 0xA5, sizeof(out->bytes)); }

void set_size(cell *out, size_t struct_size) {
  memcpy(out->bytes, &struct_size, sizeof(struct_size));
}

void wrong_struct(cell *out, size_t sizeof_struct, size_t struct_size, unsigned char fill) {
  memset(out->bytes, 0, sizeof(out->bytes));
  memset(out->bytes + sizeof_struct, fill, sizeof(out->bytes) - sizeof_struct);
  set_size(out, struct_size);
}

void refused(const char *function, ds_status status) {
  ds_error *error = ds_error_take();
  check(status != DS_OK, function, "accepted what it must refuse");
  if (status == DS_OK) {
    ds_error_destroy(error);
    return;
  }
  check(error != NULL, function, "failed without an error object");
  check(ds_error_get_status(error) == status, function, "the error has another status");
  check(ds_error_get_message(error)[0] != '\0', function, "the error has no message");
  check(strchr(ds_error_get_message(error), '\n') == NULL, function, "the message has two lines");
  ds_error_destroy(error);
  check(ds_error_take() == NULL, function, "the error was there twice");
}

void untouched(const char *function, const cell *now, const cell *before) {
  check(memcmp(now->bytes, before->bytes, sizeof(now->bytes)) == 0, function,
        "wrote to an output although it failed");
}

static int open_engine(fixture *f) {
  static const int64_t shape[2] = {3, 5};
  ds_engine_options options = DS_ENGINE_OPTIONS_INIT;
  ds_param_desc desc = DS_PARAM_DESC_INIT;
  options.comm = f->comm;
  desc.name = "w";
  desc.shape = shape;
  desc.ndim = 2;
  return ds_engine_create(&options, &f->engine) == DS_OK &&
         ds_param_register(f->engine, &desc, &f->param) == DS_OK;
}

static int open_local(fixture *f) {
  ds_optim_options options = DS_OPTIM_OPTIONS_INIT;
  options.config_json = "{\"type\": \"AdamW\"}";
  return ds_optim_create(&options, &f->optim) == DS_OK &&
         ds_lr_schedule_create("{\"type\": \"WarmupLR\"}", 0.1, &f->lr_schedule) == DS_OK &&
         ds_loss_scaler_create(NULL, &f->loss_scaler) == DS_OK;
}

/* Rank 1 leaves; rank 0 finds out at its first collective and calls everything after that. */
static ds_status lose_a_rank(ds_comm *comm, void *user_data) {
  int32_t rank = -1;
  fixture f = {NULL, NULL, NULL, NULL, NULL, NULL};
  (void)user_data;
  f.comm = comm;
  check(ds_comm_get_rank(comm, &rank) == DS_OK, "ds_comm_get_rank", "failed");
  check(open_engine(&f), "ds_engine_create", ds_error_peek_message());
  if (rank == 1) {
    check(ds_comm_abort(comm, "rank 1 has enough") == DS_OK, "ds_comm_abort", "failed");
  } else {
    refused("ds_engine_seal", ds_engine_seal(f.engine));
    test_lost(&f);
  }
  ds_engine_destroy(f.engine);
  return DS_OK;
}

int main(void) {
  fixture f = {NULL, NULL, NULL, NULL, NULL, NULL};
  ds_error *error;
  test_null();
  check(ds_comm_create_self(NULL, &f.comm) == DS_OK, "ds_comm_create_self", "failed");
  check(open_engine(&f), "ds_engine_create", ds_error_peek_message());
  check(open_local(&f), "ds_optim_create and others", ds_error_peek_message());
  ds_error_destroy(ds_error_take());
  test_arguments(&f);
  /* In any order: children keep what they need. */
  ds_comm_destroy(f.comm);
  ds_engine_destroy(f.engine);
  ds_optim_destroy(f.optim);
  ds_lr_schedule_destroy(f.lr_schedule);
  ds_loss_scaler_destroy(f.loss_scaler);
  (void)!ds_comm_run_threads(2, NULL, lose_a_rank, NULL);
  error = ds_error_take();
  ds_error_destroy(error);
  printf("%d failures\n", failures);
  return failures != 0;
}
