/* DS_FAILPOINTS is read when the first point is passed, and a mistake in it is told by every call.
 */
#define _POSIX_C_SOURCE 200112L
#include <deepspeed/deepspeed.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int failures = 0;

static void check(int condition, int line, const char *what) {
  if (condition) return;
  fprintf(stderr, "failpoint_test.c:%d: %s (%s)\n", line, what, ds_error_peek_message());
  ++failures;
}
#define CHECK(condition) check((condition) ? 1 : 0, __LINE__, #condition)

static void second_call_fails(void) {
  ds_comm *first = NULL, *second = NULL;
  CHECK(ds_comm_create_self(NULL, &first) == DS_OK);
  CHECK(ds_comm_create_self(NULL, &second) == DS_ERR_OUT_OF_MEMORY && second == NULL);
  CHECK(ds_comm_create_self(NULL, &second) == DS_OK);
  ds_comm_destroy(first);
  ds_comm_destroy(second);
}

static void every_call_says_why(void) {
  ds_comm *comm = NULL;
  int i;
  for (i = 0; i < 2; ++i) {
    CHECK(ds_comm_create_self(NULL, &comm) == DS_ERR_CONFIG && comm == NULL);
    CHECK(strcmp(ds_error_peek_message(),
                 "DS_FAILPOINTS: failpoint 'entri=1:oom': there is no "
                 "'entri', the nearest is 'entry'") == 0);
  }
}

/* In a process of its own, in which no point was passed yet. */
static void with(const char *plans, void (*test)(void)) {
  int status = 0;
  const pid_t child = fork();
  if (child == 0) {
    CHECK(setenv("DS_FAILPOINTS", plans, 1) == 0);
    test();
    exit(failures != 0);
  }
  CHECK(child > 0 && waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(void) {
  with("entry=2:oom", second_call_fails);
  with("entri=1:oom", every_call_says_why);
  printf("%d failures\n", failures);
  return failures != 0;
}
