/* What libdeepspeed_mpi.so exports: messages between the processes of an MPI job, none of which
 * blocks. C, because the module and the library are built apart. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DS_MPI_MODULE_VERSION 1

typedef struct ds_mpi_group ds_mpi_group;

typedef struct ds_mpi_module {
  int32_t version; /* DS_MPI_MODULE_VERSION */
  /* The MPI library and its version. */
  const char* (*describe)(void);
  /* A group with the ranks of *comm, an MPI_Comm, or of all processes where it is NULL. Starts MPI
   * when the program did not. Collective. 0, or else `why` says why not. */
  int32_t (*open)(const void* comm, double timeout_seconds, ds_mpi_group** group, char* why,
                  size_t why_bytes);
  int32_t (*rank)(const ds_mpi_group* group);
  int32_t (*size)(const ds_mpi_group* group);
  /* Tags are below this. */
  int32_t (*tags)(const ds_mpi_group* group);
  /* Whether it may be called by several threads, one at a time. */
  int32_t (*threads)(const ds_mpi_group* group);
  /* Starts a message; its bytes stay untouched until test() says it is over. 0: started. */
  int32_t (*send)(ds_mpi_group* group, int32_t to, int32_t tag, const void* data, size_t bytes,
                  void** request);
  int32_t (*receive)(ds_mpi_group* group, int32_t from, int32_t tag, void* data, size_t bytes,
                     void** request);
  /* 1: over, and the request is gone; 0: not yet; -1: failed. */
  int32_t (*test)(void** request);
  /* Gives a request up that may never be over. 1: it is gone; 0: its bytes are still in use. */
  int32_t (*cancel)(void** request);
  /* At its last use. `healthy`: 0 when a rank was lost; the end of the program does not wait for
   * all of them then. */
  void (*close)(ds_mpi_group* group, int32_t healthy);
} ds_mpi_module;

/* The symbol that the library looks up. */
typedef const ds_mpi_module* (*ds_mpi_entry_fn)(void);
#define DS_MPI_ENTRY "ds_mpi_entry"

#ifdef __cplusplus
}
#endif
