/* Calls every exported function with each NULL, each malformed struct, handles that are gone or of
 * another kind, and after the group was lost. The calls are made from the headers (matrix.py). */
#define _POSIX_C_SOURCE 200112L /* setenv */
#include "matrix_fixture.h"

#include <stdio.h>
#include <stdlib.h>

/* Rank 1 leaves; rank 0 finds out at its first collective and calls everything after that. */
static ds_status lose_a_rank(ds_comm *comm, void *user_data) {
  int32_t rank = -1;
  fixture f;
  (void)user_data;
  open_fixture(&f, comm);
  check(ds_comm_get_rank(comm, &rank) == DS_OK, "ds_comm_get_rank", "failed");
  if (rank == 1) {
    check(ds_comm_abort(comm, "rank 1 has enough") == DS_OK, "ds_comm_abort", "failed");
  } else {
    test_lost(&f);
  }
  f.comm = NULL; /* borrowed */
  close_fixture(&f);
  return DS_OK;
}

int main(void) {
  fixture f, dead;
  ds_log_sink quiet = DS_LOG_SINK_INIT;
  quiet.level = DS_LOG_OFF; /* destroying twice is told to the log */
  /* No module is found: a right call of ds_comm_create_mpi() would start MPI here. */
  setenv("DS_MODULE_PATH", "/nonexistent", 1);
  check(ds_log_set_sink(&quiet) == DS_OK, "ds_log_set_sink", "failed");
  test_nothing();
  open_fixture(&f, NULL);
  open_fixture(&dead, NULL);
  close_fixture(&dead);
  test_null(&f);
  test_sizes(&f);
  test_dead(&f, &dead);
  close_fixture(&f);
  (void)!ds_comm_run_threads(2, NULL, lose_a_rank, NULL);
  ds_error_destroy(ds_error_take());
  printf("%d failures\n", failure_count());
  return failure_count() != 0;
}
