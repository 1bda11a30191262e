/* auriga/future.h: the outcome of one call, and waiting for one, all, any.
 *
 * A future is done once; then its outcome never changes.  It may outlive its pool.
 *
 * A wait inside a task never blocks the pool: the waiting thread runs what it waits for, or a
 * spare worker takes its place.  A wait that could never end, because the tasks involved wait for
 * each other, returns AUR_EDEADLK to the waiter that closed the cycle; aur_last_error() lists the
 * edges.  The futures themselves stay valid.
 */
#ifndef AURIGA_FUTURE_H
#define AURIGA_FUTURE_H

#include <auriga/base.h>

AUR_BEGIN_DECLS

typedef struct aur_future aur_future; /* opaque, counted: aur_future_ref(), aur_future_unref() */

/* One more reference; returns future.  Threads: any.  Blocks: never. */
AUR_API aur_future *aur_future_ref(aur_future *future);

/* Drops a reference; NULL is allowed; returns NULL.  Dropping the last one does not cancel the
 * call.  Threads: any.  Blocks: never. */
AUR_API aur_future *aur_future_unref(aur_future *future);

/* Waits until the future is done, whatever its outcome.
 *
 * Threads: any.  Blocks: to deadline; signals do not cut the wait short.
 * Orders:  all writes of the task happen before the return of AUR_OK.  (A process worker shares
 *          no memory but its result and its AUR_BUF_INOUT buffers.)
 * Errors:  AUR_EINVAL     future is NULL
 *          AUR_ETIMEDOUT  the deadline passed first
 *          AUR_EDEADLK    the wait would never end
 *          AUR_E2DEEP     helping would overflow the stack and no spare worker could be started
 *          AUR_EAGAIN     a spare worker was needed and the system refused it
 *          AUR_EFORKED    called in a forked child of the process that made the future, and it was
 *                         not done at the fork
 */
AUR_API AUR_NODISCARD aur_err aur_future_wait(aur_future *future, aur_deadline deadline);

/* Waits, then returns the outcome: AUR_OK, or why the call failed (AUR_ETASK, AUR_EWORKER,
 * AUR_EDEADLINE, AUR_ECANCELED, AUR_EEXITED, AUR_EDEADLK if the body returned it, ...); else the
 * errors of aur_future_wait().  Details: aur_future_error(). */
AUR_API AUR_NODISCARD aur_err aur_future_outcome(aur_future *future, aur_deadline deadline);

/* Waits, then copies the result to *out, a variable of the function's own return type:
 *     double v;
 *     aur_err e = aur_future_result(f, &v, AUR_NO_DEADLINE);
 * Errors: those of aur_future_outcome(); AUR_EINVAL out is NULL; AUR_ESIZE if sizeof *out is not
 * the size of the result (of a map, or of a function that returns nothing: any).  *out is written
 * on AUR_OK only. */
#define aur_future_result(future, out, deadline)                                                   \
    aur_future_result_sized((future), (out), sizeof(*(out)), (deadline))
AUR_API AUR_NODISCARD aur_err aur_future_result_sized(aur_future *future, void *ret_value,
                                                      size_t size, aur_deadline deadline);

/* A view of a byte-string result (auriga/buf.h) or of a typed one, valid until the future's last
 * reference is dropped; size 0 if there is none.  Errors: those of aur_future_outcome(); AUR_EINVAL
 * ret_data or ret_size is NULL; AUR_ENOTSUP in a process worker, for a future it inherited.  In another
 * forked child AUR_EFORKED also if it was done at the fork, unless the result was short: it is in the
 * memory of a worker process. */
AUR_API AUR_NODISCARD aur_err aur_future_view(aur_future *future, const void **ret_data,
                                              size_t *ret_size, aur_deadline deadline);

/* Whether the outcome is known.  NULL: false.  Threads: any.  Blocks: never.
 * Orders: as aur_future_wait() when it returns true. */
AUR_API bool aur_future_done(aur_future *future);

/* Details of a failure, or NULL while not done or if it succeeded.  Marks the failure as seen.
 * Valid until the future's last reference is dropped.  Threads: any.  Blocks: never. */
AUR_API const aur_error *aur_future_error(aur_future *future);

/* What a cancel did. */
enum {
    AUR_CANCEL_DROPPED = 1,   /* it had not started, and never will */
    AUR_CANCEL_SIGNALLED = 2, /* it runs in a thread; aur_checkpoint() tells it to stop */
    AUR_CANCEL_KILLED = 3,    /* it ran in a process, which was killed */
    AUR_CANCEL_TOO_LATE = 4, /* it was done already; or it runs in a worker process on top of a task
                                 that waits for it, which a kill would hit too (AUR_NO_SPARES) */
};

/* Cancels a call at whatever stage it is.  The outcome becomes AUR_ECANCELED, for a signalled
 * one only if the task returns early with aur_fail() or aur_checkpoint()'s answer unheeded makes
 * no difference: a task that finishes normally keeps its result.
 *
 * ret_what  may be NULL.
 * Threads: any.  Blocks: never.
 * Errors: AUR_EINVAL future is NULL; AUR_EFORKED. */
AUR_API aur_err aur_future_cancel(aur_future *future, int *ret_what);

/* Cancels a call that has not started; one that has goes on.  True: it never will run, and its
 * outcome is AUR_ECANCELED.  False: it has started or is done; for a future of another process, or
 * NULL, too.  A map can be withdrawn until its first items have started.
 * Threads: any.  Blocks: never. */
AUR_API bool aur_future_withdraw(aur_future *future);

/* Whether a worker has taken the call and it is not done.  A process worker takes calls a little
 * before it runs them, and may give them back: then it is false again.  NULL: false.
 * Threads: any.  Blocks: never. */
AUR_API bool aur_future_running(aur_future *future);

/* Calls fn(ctx, future) once the future is done: at once in the calling thread if it is done
 * already, else in the thread that completes it.  fn must not block; it may submit, and it may
 * use the future, whose reference is kept until fn returns.
 * Threads: any.  Blocks: never.
 * Errors: AUR_EINVAL future or fn is NULL; AUR_ENOMEM; AUR_EFORKED. */
typedef void aur_done_fn(void *ctx, aur_future *future);
AUR_API AUR_NODISCARD aur_err aur_future_on_done(aur_future *future, aur_done_fn *fn, void *ctx);

/* Adds 1 to the eventfd once the future is done.  The descriptor stays the caller's and must stay
 * open until then.  Errors: as aur_future_on_done(), AUR_EINVAL also for a negative fd. */
AUR_API AUR_NODISCARD aur_err aur_future_eventfd(aur_future *future, int fd);

/* A number that names the future, and the way back.  The number can travel to a process worker as
 * an argument or in a shared buffer; there the way back gives a proxy on which wait, result, done,
 * error and cancel work.  The numbers of released futures are never valid again (32 bits of
 * generation).  UINT64_MAX names none: it is the number of NULL, and in a process worker of futures that
 * only that process knows (of a serial call, a map, a pool of its own) or that were done when it was forked.
 * aur_future_open  Threads: any.  Blocks: never.  Owns: *ret_future holds one reference.
 *                  Errors: AUR_EINVAL no such future, or NULL; AUR_ENOMEM. */
AUR_API uint64_t aur_future_id(aur_future *future);
AUR_API AUR_NODISCARD aur_err aur_future_open(uint64_t id, aur_future **ret_future);

/* ---- several futures ----------------------------------------------------------------------- */

/* Waits until all n are done.  NULL entries count as done.
 * Errors: those of aur_future_wait(); AUR_EINVAL futures is NULL and n is not 0. */
AUR_API AUR_NODISCARD aur_err aur_wait_all(aur_future *const *futures, size_t n,
                                           aur_deadline deadline);

/* Waits until one of n is done; *ret_index (may be NULL) is the lowest index that is.
 * Errors: those of aur_future_wait(); AUR_EINVAL futures is NULL, n is 0 or all are NULL. */
AUR_API AUR_NODISCARD aur_err aur_wait_any(aur_future *const *futures, size_t n, size_t *ret_index,
                                           aur_deadline deadline);

/* Waits until one has failed or all are done.  *ret_index (may be NULL): the index of a failed
 * one, or n if all succeeded.  Errors: as aur_wait_all(). */
AUR_API AUR_NODISCARD aur_err aur_wait_first_error(aur_future *const *futures, size_t n,
                                                   size_t *ret_index, aur_deadline deadline);

/* Hands out futures as they complete, at O(1) each.  (In a process worker the parent is asked for all that
 * are left each time.)
 *
 *     AUR_SCOPED(aur_completed) *c = NULL;
 *     aur_as_completed(futures, n, &c);
 *     size_t i;
 *     while (aur_completed_next(c, &i, AUR_NO_DEADLINE) == AUR_OK)
 *         use(futures[i]);
 */
typedef struct aur_completed aur_completed; /* opaque; owner use */

/* Errors: AUR_EINVAL NULL arguments (futures may be NULL if n is 0); AUR_ENOMEM; AUR_EFORKED.
 * Owns: *ret_c is released with aur_completed_free(); it keeps references to the futures. */
AUR_API AUR_NODISCARD aur_err aur_as_completed(aur_future *const *futures, size_t n,
                                               aur_completed **ret_c);
/* One more future, which gets the next free index; callable while the set is being read. */
AUR_API AUR_NODISCARD aur_err aur_completed_add(aur_completed *c, aur_future *future);
/* The index of the next future that is done.
 * Blocks: to deadline.  Errors: AUR_END when each was handed out; AUR_EINVAL c is NULL; else those
 * of aur_future_wait(). */
AUR_API AUR_NODISCARD aur_err aur_completed_next(aur_completed *c, size_t *ret_index,
                                                 aur_deadline deadline);
/* NULL is allowed; returns NULL. */
AUR_API aur_completed *aur_completed_free(aur_completed *c);

/* For AUR_SCOPED. */
AUR_API void aur_future_scoped_(aur_future **future);
AUR_API void aur_completed_scoped_(aur_completed **c);

AUR_END_DECLS

#endif /* AURIGA_FUTURE_H */
