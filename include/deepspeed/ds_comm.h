/**
 * @file ds_comm.h
 * Groups of ranks. A group is one rank alone, threads of one process, or processes of an MPI job.
 *
 * Every wait ends: in the result, in the error of a rank that failed or left, or in a time-out that
 * names the missing ranks and the operation. After such an error the group is lost and each call
 * says why (DS_SCOPE_GROUP).
 */
#ifndef DEEPSPEED_DS_COMM_H
#define DEEPSPEED_DS_COMM_H

#include "ds_base.h"

#ifdef __cplusplus
extern "C" {
#endif

/** One rank's membership of a group. Used by one thread at a time. */
typedef struct ds_comm ds_comm;

typedef struct ds_comm_options {
  size_t struct_size;
  double timeout_seconds; /**< longest wait for a peer; 0: 300 */
  int32_t threads;        /**< CPU threads that its ranks on one host share; 0: one a core */
} ds_comm_options;
#define DS_COMM_OPTIONS_INIT \
  { sizeof(ds_comm_options), 0.0, 0 }

/** A group of one.
 *  thread: any; collective: no; blocking: no; null: options; owns: out_comm -> ds_comm_destroy. */
DS_API DS_NODISCARD ds_status ds_comm_create_self(const ds_comm_options *options,
                                                  ds_comm **out_comm);
/** A group of `world_size` (1 to 1024) ranks that are threads of this process: out_comms[r] is for
 *  the thread that will be rank r.
 *  thread: any; collective: no; blocking: no; null: options; owns: out_comms -> ds_comm_destroy. */
DS_API DS_NODISCARD ds_status ds_comm_create_threads(int32_t world_size,
                                                     const ds_comm_options *options,
                                                     ds_comm **out_comms);
/** This process's rank in a group of processes that a launcher such as mpirun or srun started.
 *  `mpi_comm` points to an MPI_Comm, whose ranks they are; NULL: MPI_COMM_WORLD. It is only used in
 *  this call. MPI is started when the program did not, and then also ended, as the program ends; an
 *  error of MPI is an error here and never ends the program. Ranks on several hosts need an MPI
 * that was started with MPI_THREAD_SERIALIZED or more. Needs the module libdeepspeed_mpi.so, built
 * for the MPI of the program; DS_ERR_NOT_FOUND, DS_ERR_UNSUPPORTED when there is none that can be
 * loaded. The `threads` of the options are shared by the ranks on one host. thread: any;
 * collective: yes; blocking: yes; null: options, mpi_comm; owns: out_comm -> ds_comm_destroy. */
DS_API DS_NODISCARD ds_status ds_comm_create_mpi(const ds_comm_options *options,
                                                 const void *mpi_comm, ds_comm **out_comm);
/** Leaves the group: peers that wait for this rank get DS_ERR_RANK_LOST. An engine made from it
 *  keeps it alive.
 *  thread: driver; collective: no; blocking: no; takes: comm. */
DS_API void ds_comm_destroy(ds_comm *comm);

/** One rank of ds_comm_run_threads(). `comm` is borrowed for the call. Any answer but DS_OK aborts
 *  the group. */
typedef ds_status (*ds_rank_fn)(ds_comm *comm, void *user_data);
/** Makes a group of threads, runs `fn` once per rank, each on a thread of its own, and joins them.
 *  thread: any; collective: no; blocking: yes; null: options, user_data.
 *  @return the status of the rank that failed first; the message begins with its rank. */
DS_API DS_NODISCARD ds_status ds_comm_run_threads(int32_t world_size,
                                                  const ds_comm_options *options, ds_rank_fn fn,
                                                  void *user_data);

/** From 0.
 *  thread: any; collective: no; blocking: no. */
DS_API DS_NODISCARD ds_status ds_comm_get_rank(const ds_comm *comm, int32_t *out_rank);
/** How many ranks the group has.
 *  thread: any; collective: no; blocking: no. */
DS_API DS_NODISCARD ds_status ds_comm_get_size(const ds_comm *comm, int32_t *out_size);

/** Returns when every rank has called it.
 *  thread: driver; collective: yes; blocking: yes. */
DS_API DS_NODISCARD ds_status ds_comm_barrier(ds_comm *comm);
/** Replaces values[0..count) by their sums over the ranks, added in rank order: the same bits on
 *  every rank.
 *  thread: driver; collective: yes; blocking: yes. */
DS_API DS_NODISCARD ds_status ds_comm_all_reduce(ds_comm *comm, double *values, size_t count);
/** Tells the peers that this rank will not come again; their calls fail with DS_ERR_RANK_LOST and
 *  `message`.
 *  thread: driver; collective: no; blocking: no. */
DS_API DS_NODISCARD ds_status ds_comm_abort(ds_comm *comm, const char *message);

#ifdef __cplusplus
}
#endif
#endif
