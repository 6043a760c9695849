/* What the generated null_cases.c stands on: cells for outputs whose every byte is watched, and
 * the two checks: a refused call says why, and it wrote nothing. */
#ifndef DEEPSPEED_TESTS_ABI_NULL_FIXTURE_H
#define DEEPSPEED_TESTS_ABI_NULL_FIXTURE_H

#include <deepspeed/deepspeed.h>

typedef struct fixture {
  ds_comm *comm;
  ds_engine *engine;
  ds_param *param;
  ds_optim *optim;
  ds_lr_schedule *lr_schedule;
  ds_loss_scaler *loss_scaler;
} fixture;

/* Room for any output; as large as the largest struct, and aligned for it. */
typedef union cell {
  unsigned char bytes[512];
  int64_t align_int;
  double align_double;
  void *align_pointer;
} cell;

void poison(cell *out);
void set_size(cell *out, size_t struct_size);
/* A struct of `sizeof_struct` zero bytes that claims to be `struct_size` long; `fill` is written
 * behind the fields that this release knows. */
void wrong_struct(cell *out, size_t sizeof_struct, size_t struct_size, unsigned char fill);

void check(int condition, const char *function, const char *what);
void refused(const char *function, ds_status status);
void untouched(const char *function, const cell *now, const cell *before);

/* Generated. */
void test_null(void);                  /* every argument zero; then outputs given */
void test_arguments(const fixture *f); /* real objects, every other argument zero or malformed */
void test_lost(const fixture *f);      /* objects of a group that has lost a rank */

#endif
