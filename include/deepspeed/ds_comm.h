/**
 * @file ds_comm.h
 * Groups of ranks. A group is one rank alone, threads of one process, or processes of an MPI job.
 *
 * Every wait ends: in the result, in the error of a rank that failed or left, or in a time-out that
 * names the missing ranks and the operation. After such an error the group is lost and each call
 * says why (DS_SCOPE_GROUP).
 *
 * Collectives that take a `ds_ticket *out_ticket` have two forms. With NULL they return when they
 * are done. Else they return at once with a ticket, and run beside the caller, on one thread of the
 * communicator and in the order in which they were called; a call without a ticket waits for those
 * before it. Until ds_comm_wait(), or ds_comm_test() that says so, what is sent must not be
 * written, and what is received not be touched; arrays of counts may go when the call returns.
 * What is refused (DS_SCOPE_CALL) is refused by the call itself, on this rank alone. What goes
 * wrong later (a peer that is late, fails, or comes with another operation or size: the message has
 * both) is told by ds_comm_wait(), and loses the group. After an error the contents of what was to
 * be received, or was reduced in place, are undefined.
 */
#ifndef DEEPSPEED_DS_COMM_H
#define DEEPSPEED_DS_COMM_H

#include "ds_tensor.h"

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
 *  keeps it alive. Collectives that were begun and not waited for are finished first, in success
 *  or error, which nobody hears; ds_comm_abort() before it ends them at once.
 *  thread: driver; collective: no; blocking: yes; takes: comm. */
DS_API void ds_comm_destroy(ds_comm *comm);

/** One rank of ds_comm_run_threads(). `comm` is borrowed for the call. Any answer but DS_OK aborts
 *  the group. It returns: to end its thread (pthread_exit()) ends the process. */
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
/** A collective that was begun, of one communicator; above 0. It holds nothing: there is nothing to
 *  free, and a ticket that nobody waits for is no leak. */
typedef int64_t ds_ticket;

/** Returns when that collective is done, and so all before it: DS_OK, or why it failed. A ticket
 * may be waited for more than once. thread: driver; collective: no; blocking: yes.
 *  @return DS_ERR_INVALID_ARGUMENT: no such ticket was given out. */
DS_API DS_NODISCARD ds_status ds_comm_wait(ds_comm *comm, ds_ticket ticket);
/** Whether it is done (1) or under way (0); where it failed, the error, as of ds_comm_wait().
 *  thread: driver; collective: no; blocking: no. */
DS_API DS_NODISCARD ds_status ds_comm_test(ds_comm *comm, ds_ticket ticket, int32_t *out_done);

/** data[0..count) becomes `scale` times the sum over the ranks, added in rank order: the same bits
 *  on every rank. F32, BF16 and F16 are added in fp32 and rounded once, F64 in fp64. A `scale` of 1
 *  is the sum, 1 / ranks the mean; it is alike on all ranks, else all of them get
 *  DS_ERR_RANK_MISMATCH.
 *  thread: driver; collective: yes; blocking: yes; null: out_ticket.
 *  @return DS_ERR_UNSUPPORTED: another dtype. */
DS_API DS_NODISCARD ds_status ds_comm_all_reduce_typed(ds_comm *comm, ds_dtype dtype, double scale,
                                                       void *data, size_t count,
                                                       ds_ticket *out_ticket);
/** Cuts the sum over the ranks: recv[0..count) is that of send[rank * count, (rank + 1) * count) of
 *  all ranks, times `scale`, as above. `send` has count elements for each rank; `recv` may be this
 *  rank's part of it, and overlaps it in no other way. F32, BF16, F16.
 *  thread: driver; collective: yes; blocking: yes; null: out_ticket. */
DS_API DS_NODISCARD ds_status ds_comm_reduce_scatter(ds_comm *comm, ds_dtype dtype, double scale,
                                                     const void *send, void *recv, size_t count,
                                                     ds_ticket *out_ticket);
/** What rank r sends, send[0..count), lands at recv[r * count, (r + 1) * count) of every rank.
 * `send` may be this rank's part of `recv`, and overlaps it in no other way. Any dtype. thread:
 * driver; collective: yes; blocking: yes; null: out_ticket. */
DS_API DS_NODISCARD ds_status ds_comm_all_gather(ds_comm *comm, ds_dtype dtype, const void *send,
                                                 void *recv, size_t count, ds_ticket *out_ticket);
/** data[0..count) of every rank becomes that of rank `root`. Any dtype.
 *  thread: driver; collective: yes; blocking: yes; null: out_ticket. */
DS_API DS_NODISCARD ds_status ds_comm_broadcast(ds_comm *comm, ds_dtype dtype, int32_t root,
                                                void *data, size_t count, ds_ticket *out_ticket);
/** send[r * count, (r + 1) * count) goes to rank r, and what rank r sends to this one lands at
 *  recv[r * count, (r + 1) * count). The two do not overlap. Any dtype.
 *  thread: driver; collective: yes; blocking: yes; null: out_ticket. */
DS_API DS_NODISCARD ds_status ds_comm_all_to_all(ds_comm *comm, ds_dtype dtype, const void *send,
                                                 void *recv, size_t count, ds_ticket *out_ticket);
/** The same with send_counts[r] elements to and recv_counts[r] from rank r, one behind the other:
 *  what a rank sends to another is what that one receives. `send` or `recv` may be NULL where
 *  nothing goes or comes. Any dtype.
 *  thread: driver; collective: yes; blocking: yes; null: send, recv, out_ticket. */
DS_API DS_NODISCARD ds_status ds_comm_all_to_all_v(ds_comm *comm, ds_dtype dtype, const void *send,
                                                   const size_t *send_counts, void *recv,
                                                   const size_t *recv_counts,
                                                   ds_ticket *out_ticket);
/** data[0..count) to rank `to`, which calls ds_comm_recv() with the same count. It is done when it
 *  was received: of two ranks that send to each other one receives first, or each begins one of the
 *  two on a communicator of its own. Any dtype.
 *  thread: driver; collective: no; blocking: yes; null: out_ticket. */
DS_API DS_NODISCARD ds_status ds_comm_send(ds_comm *comm, ds_dtype dtype, int32_t to,
                                           const void *data, size_t count, ds_ticket *out_ticket);
/** What rank `from` sends. Any dtype.
 *  thread: driver; collective: no; blocking: yes; null: out_ticket. */
DS_API DS_NODISCARD ds_status ds_comm_recv(ds_comm *comm, ds_dtype dtype, int32_t from, void *data,
                                           size_t count, ds_ticket *out_ticket);
/** The ranks that give the same `color` as a group of their own, numbered by `key`, then by rank.
 *  With a color below 0 a rank is in none, and gets NULL. Its errors name a rank by its number in
 *  the first group, whose loss is its own too. With one color for all and key 0 it is a second
 *  communicator of the same ranks, whose collectives are ordered on their own.
 *  thread: driver; collective: yes; blocking: yes; owns: out_comm -> ds_comm_destroy. */
DS_API DS_NODISCARD ds_status ds_comm_split(ds_comm *comm, int32_t color, int32_t key,
                                            ds_comm **out_comm);
/** Tells the peers that this rank will not come again; their calls fail with DS_ERR_RANK_LOST and
 *  `message`, and so do collectives of this rank that are under way.
 *  thread: driver; collective: no; blocking: no. */
DS_API DS_NODISCARD ds_status ds_comm_abort(ds_comm *comm, const char *message);

#ifdef __cplusplus
}
#endif
#endif
