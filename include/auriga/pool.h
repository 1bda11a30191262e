/* auriga/pool.h: pools of threads and pools of processes.
 *
 * A pool runs calls (auriga/call.h) on its workers and hands out futures (auriga/future.h).  Its
 * life: OPEN, then close() -> DRAINING (no new work, all accepted work finishes), or terminate()
 * -> STOPPING (queued work is cancelled, running work is asked or made to stop), then STOPPED.
 * A process pool whose workers cannot be started any more is BROKEN: every future gets an answer
 * and submits are refused.
 */
#ifndef AURIGA_POOL_H
#define AURIGA_POOL_H

#include <auriga/base.h>

AUR_BEGIN_DECLS

typedef struct aur_pool aur_pool; /* opaque, counted: aur_pool_ref(), aur_pool_unref() */

/* aur_options.kind */
enum {
    AUR_THREADS = 0,   /* threads of this process: share everything, cheapest */
    AUR_PROCESSES = 1, /* worker processes: a crash costs one task, memory is not shared */
    AUR_SERIAL = 2,    /* no workers: each call runs at once in its caller, a process worker too */
    AUR_AUTO = 3,      /* measured: for each function, one of the three above; see below */
};

/* AUR_AUTO measures calls, and pieces of maps, of each function and chooses: cheap single calls run
 * at once in the thread that submits them; what computes for 20 us and more alone, but in threads
 * keeps its like waiting (a lock, an interpreter), goes to worker processes; all else, and where it
 * is in doubt, to threads.  aur_for() always runs in threads.  aur_pool_explain() says what was found.
 * The user promises that a call may run in any of these: it shares no variables with its caller, as
 * with AUR_PROCESSES, and waits for nothing that its submitter does after the submit.  Processes are
 * started when first needed; with a fork, when no call is under way.  If that is refused, calls stay
 * in threads.  While buffers live that were made before, they do too.  worker_init runs in both;
 * queue_max holds for threads and for processes, each. */

/* aur_options.start: how worker processes come to life */
enum {
    AUR_START_DEFAULT = 0, /* AUR_START_FORK, refused while foreign threads run */
    AUR_START_FORK = 1,  /* forked from a small helper that is forked in aur_pool_new(): workers see
                              the program as it was then */
    AUR_START_SPAWN = 2, /* forked from a fresh image of the program that never reaches main(); if
                              an initialiser has started a thread there, an image each */
    AUR_START_EXEC = 3,  /* forked from a program of the caller's choice, which aur_pool_new()
                              executes (exec_argv) and which calls aur_nursery_run(), or which
                              runs already and calls aur_nursery_serve(): for interpreters and
                              other hosts that load this library late */
};

/* aur_options.queue_policy: what a submit does once queue_max calls wait.  Submits of tasks in worker
 * processes, to whichever pool, go beyond queue_max instead: the parent, which submits for them, must
 * not wait for room. */
enum {
    AUR_QUEUE_BLOCK = 0,       /* waits for room; inside a task of the same pool: runs the call */
    AUR_QUEUE_FAIL = 1,        /* AUR_EBUSY */
    AUR_QUEUE_CALLER_RUNS = 2, /* runs the call in the submitting thread (thread pools only) */
};

/* aur_options.retry_on: which failures of an item `retries` applies to; 0 means AUR_RETRY_WORKER */
enum {
    AUR_RETRY_WORKER = 1,   /* the worker process died */
    AUR_RETRY_DEADLINE = 2, /* the item ran past its deadline */
    AUR_RETRY_ERROR = 4,    /* the task called aur_fail() or threw */
};

/* aur_options.flags */
enum {
    AUR_POOL_NO_HELP = 1, /* waits never run tasks in the waiting thread; spare workers do it */
    AUR_POOL_FIXED =
        2, /* thread pools: a worker that sleeps in a task for reasons of its own keeps its
                             place.  Without this it is seen to block, and while calls are queued another
                             one stands in, up to 64 and spares_max; so more than `workers` tasks may be
                             under way.  Waits for futures and aur_blocking_begin() are not concerned */
    AUR_POOL_KEEP_FDS = 4, /* fork start: workers keep the descriptors that the program had, those
                                of its other pools included, whose memory then lives as long */
    AUR_POOL_BREAK_ON_DEATH = 8, /* process pools: a worker that dies unasked breaks the pool, as
                                      if no worker could be started any more */
    AUR_POOL_FIFO = 16, /* thread pools: calls begin in the order of their submits, those of tasks
                            included; only what a task waits for comes first.  Without this a worker
                            takes several at once, of which others may begin the last first, and
                            begins the newest of what its tasks submit; that is cheaper where calls
                            take less than a microsecond */
};

#define AUR_NO_SPARES UINT32_MAX

/* Log levels of aur_log_fn */
enum { AUR_LOG_WARN = 1, AUR_LOG_INFO = 2 };
typedef void aur_log_fn(void *ctx, int level, const char *text);

/* Runs in each worker before its first and after its last task.  A nonzero result of init fails
 * the worker: for threads aur_pool_new() returns AUR_EINIT; a process worker counts as a death
 * before its first task, and 10 of those in a row break the pool. */
typedef int aur_worker_init_fn(void *ctx, int worker);
typedef void aur_worker_fini_fn(void *ctx, int worker);

/* Every field but size may stay zero.  Fields are only ever appended and padding is always named,
 * so an older caller and a newer library agree on the meaning of each byte. */
typedef struct aur_options {
    size_t size;                   /* sizeof(aur_options) as the caller compiled it */
    int32_t kind;                  /* AUR_THREADS, ... */
    int32_t start;                 /* AUR_START_*; process pools only */
    uint32_t workers;              /* 0: aur_cpu_count(); at most 4096 */
    uint32_t spares_max;           /* extra workers that may stand in for blocked ones; 0: 256 for
                                      threads, 16 for processes; AUR_NO_SPARES: none; at most 4096.
                                      Without one a waiting worker runs what it waits for itself, on
                                      top of the task that waits.  In a process they then share one
                                      fate: a crash, a kill at a time limit or a cancel of one is a
                                      death for the others; once it runs so, a task is not cancelled */
    uint32_t queue_max;            /* calls accepted but not started; 0: no limit */
    int32_t queue_policy;          /* AUR_QUEUE_* */
    uint32_t retries;              /* further attempts of a failed item; at most 65534 */
    uint32_t retry_on;             /* AUR_RETRY_* */
    uint32_t tasks_per_worker_max; /* a process worker is replaced after so many items; 0: never */
    uint32_t flags;                /* AUR_POOL_* */
    uint64_t item_timeout_ns;  /* an item may run so long from its start; 0: for ever.  Processes:
                                      the worker is killed.  Threads: aur_checkpoint() tells it, and
                                      its outcome is AUR_EDEADLINE when it returns */
    uint64_t memory_max_bytes; /* private memory (RLIMIT_DATA: heap, stacks, private maps, those it
                                      was forked with included) of each process worker; 0: no limit */
    aur_worker_init_fn *worker_init;
    aur_worker_fini_fn *worker_fini;
    void *worker_ctx; /* passed to both; NULL with AUR_START_SPAWN and AUR_START_EXEC */
    const char *name; /* in messages and thread names, copied; NULL: "aur" */
    aur_log_fn *log;  /* may be called from any thread of the pool; NULL: silence */
    void *log_ctx;
    const char *const *exec_argv; /* AUR_START_EXEC: the program's path, its arguments, NULL;
                                       or NULL for one that runs already */
    const int *exec_fds;          /* AUR_START_EXEC: descriptors that it and the workers get, under
                                       these numbers; they have no other but stdio.  Without
                                       exec_argv the first, which must be there, is a socket
                                       (AF_UNIX, SOCK_SEQPACKET) to a program that runs already; it
                                       gets the rest, 7 at most, as aur_nursery_serve() says */
    uint64_t exec_fds_n;
} aur_options;

#ifdef __cplusplus
static inline aur_options aur_options_init_(void)
{
    aur_options opts = aur_options();
    opts.size = sizeof(aur_options);
    return opts;
}
#define AUR_OPTIONS_INIT aur_options_init_()
#else
#define AUR_OPTIONS_INIT                                                                           \
    {                                                                                              \
        .size = sizeof(aur_options)                                                                \
    }
#endif

/* Starts a pool.
 *
 * opts         NULL for defaults; read during the call only.
 * reterr_diag  may be NULL; else says which step failed, with the system's error number.
 * Threads: any.  Blocks: until each worker has started, or one could not.
 * Owns:    *ret_pool holds one reference; drop it with aur_pool_unref().
 * Errors:  AUR_EINVAL   opts->size is too small or above 4096, or the bytes that this library does
 *                       not know are not zero; an unknown kind, start, policy or flag; too many
 *                       workers, spares or retries; start or tasks_per_worker_max or
 *                       memory_max_bytes set for a pool without processes; CALLER_RUNS for a pool
 *                       with; worker_ctx with AUR_START_SPAWN or AUR_START_EXEC; exec_argv without
 *                       AUR_START_EXEC, or it with neither exec_argv nor exec_fds, or with more
 *                       of these than fit; AUR_START_EXEC for AUR_AUTO; KEEP_FDS without a fork
 *                       start; BREAK_ON_DEATH without processes; ret_pool NULL
 *          AUR_ENOMEM   no memory, or no address space for stacks or arenas
 *          AUR_EAGAIN   the system refused a thread or process; those already started are ended
 *          AUR_ETHREADS default start and threads that are not Auriga's run in this process
 *          AUR_EINIT    worker_init returned nonzero in a thread
 *          AUR_ENOTSUP  AUR_START_SPAWN, and a fresh image of this program cannot be taken over: it loaded
 *                       libauriga late, is setuid, or is linked so that main() would run
 *          AUR_ESTALE   AUR_START_SPAWN, and the file of libauriga was replaced since this program started
 *          AUR_ESYS     another system call failed; see the diagnosis
 */
AUR_API AUR_NODISCARD aur_err aur_pool_new(const aur_options *opts, aur_pool **ret_pool,
                                           aur_diag *reterr_diag);

/* In a program that aur_pool_new() has executed (AUR_START_EXEC): makes this process the helper that
 * forks the pool's workers, which see it as it is now, and does not return.  The pool's functions and
 * its worker_init must lie in modules that are loaded here.  Called while no other thread runs.
 * Errors: AUR_EINVAL this process was not started so; AUR_ESYS what it was told makes no sense, or
 *         the pool is gone. */
AUR_API aur_err aur_nursery_run(void);

/* The same in a program that was there before the pool (no exec_argv).  For each pool that asks it, the
 * program's socket has a message of one byte with descriptors: first the pool's, then exec_fds from
 * the second on, under other numbers.  The program forks; the child calls this with the first, and
 * closes what it has of the program's own; the program closes all that it got.  It may do this for
 * many pools, and is the parent of what it forks: it must take their statuses, or ignore SIGCHLD.
 * Errors: AUR_EINVAL fd is below 3; AUR_ESYS as above. */
AUR_API aur_err aur_nursery_serve(int fd);

/* One more reference; returns pool.  Threads: any.  Blocks: never. */
AUR_API aur_pool *aur_pool_ref(aur_pool *pool);

/* Drops a reference; NULL is allowed; returns NULL.  The last one closes the pool and lets its
 * workers finish on their own: it does not wait for them.  Threads: any.  Blocks: never. */
AUR_API aur_pool *aur_pool_unref(aur_pool *pool);

/* No new calls from now on; what was accepted still runs.  Tasks that run may go on submitting to
 * their own pool, so that nested work completes.  Closing twice is allowed.
 * Threads: any.  Blocks: never.
 * Errors: AUR_EINVAL pool is NULL; AUR_EFORKED; AUR_ENOTSUP in a process worker, for its parent's
 *         pool. */
AUR_API aur_err aur_pool_close(aur_pool *pool);

/* Cancels what has not started, asks running tasks to stop (aur_checkpoint; process workers are
 * killed) and refuses new calls.  Every future gets an answer.
 * Threads: any.  Blocks: never.
 * Errors: AUR_EINVAL pool is NULL; AUR_EFORKED; AUR_ENOTSUP as for aur_pool_close(). */
AUR_API aur_err aur_pool_terminate(aur_pool *pool);

/* Closes, then waits until all accepted work is done and every worker has ended.  Failures that
 * nobody asked about are then counted in one line of the log.
 * Threads: any, but not inside a task of the same pool.  Blocks: to deadline.
 * Orders:  everything the tasks did happens before the return of AUR_OK.
 * Errors:  AUR_EINVAL pool is NULL; AUR_ETIMEDOUT; AUR_EFORKED;
 *          AUR_EDEADLK inside a task of this pool, or in one of its process workers */
AUR_API aur_err aur_pool_join(aur_pool *pool, aur_deadline deadline);

/* The pool whose task the calling thread runs, or NULL.  In a process worker this is the worker's
 * view of the parent's pool: calls made on it are run by the parent's workers.  Not a new
 * reference.  Threads: any.  Blocks: never. */
AUR_API aur_pool *aur_pool_current(void);

/* Index of the worker that the calling thread is, or -1.  Threads: any.  Blocks: never. */
AUR_API int aur_worker_index(void);

/* Tell the pool that the calling task blocks outside the library's sight (a mutex, a read): while
 * it does, a spare worker takes its place.  Calls nest.  Outside a task they do nothing.
 * Threads: any.  Blocks: never. */
AUR_API void aur_blocking_begin(void);
AUR_API void aur_blocking_end(void);

/* Counters since the start; each is exact once the pool is joined, and may lag while it runs. */
typedef struct aur_stats {
    size_t size;        /* in: sizeof(aur_stats) */
    uint64_t submitted; /* calls accepted; a map counts as one call */
    uint64_t done;      /* calls that succeeded */
    uint64_t failed;    /* calls that failed */
    uint64_t cancelled;
    uint64_t unseen;    /* failed calls whose error nobody asked for */
    uint64_t items;     /* items of maps and loops that were run */
    uint64_t retried;   /* attempts after the first */
    uint64_t helped;    /* calls run by the thread that waited for them */
    uint64_t stolen;    /* tasks and ranges taken from another worker */
    uint64_t parks;     /* times a worker went to sleep */
    uint64_t wakes;     /* times one was woken */
    uint64_t deadlocks; /* waits answered with AUR_EDEADLK */
    uint64_t deaths;    /* worker processes that died unasked */
    uint64_t workers;   /* workers alive now, spares included */
    uint64_t spares;    /* spare workers started */
    /* Memory that the processes of the pool share now: arguments, results, buffers, and what is kept for those to
     * come.  What was not in use for 5 to 10 seconds goes back to the system, but for 16 MiB of each worker and as
     * much of each of the two arenas of the program. */
    uint64_t shared_bytes;
} aur_stats;

/* Errors: AUR_EINVAL pool or ret_stats is NULL, or its size is not known; AUR_EFORKED.
 * Threads: any.  Blocks: never. */
AUR_API aur_err aur_pool_stats(aur_pool *pool, aur_stats *ret_stats);

/* The process ids of the workers, spares included: pids[i] is that of the one that
 * aur_worker_index() calls i, 0 if there is none now.  Writes at most `room` of them, and to *ret_n
 * how many there are.  Waits for workers that are being started, until the deadline; then their ids
 * are 0.  A process may have ended by the time that its id is read, and the id be another one's.
 * Errors: AUR_EINVAL pool or ret_n is NULL, or pids is and room is not 0; AUR_ENOTSUP the workers
 * are no processes, or the pool is AUR_AUTO, or the caller is a process worker; AUR_EFORKED.
 * Threads: any.  Blocks: until the deadline. */
AUR_API aur_err aur_pool_pids(aur_pool *pool, int32_t *pids, size_t room, aur_deadline deadline,
                              size_t *ret_n);

/* How the worker process of this id ended: its status as waitpid() has it (WIFEXITED() and so on).  Known is
 * that of the last one that ended in each worker's place, also after the end of the pool.  Waits until it has
 * ended, or for the deadline.
 * Errors: AUR_EPENDING it has not ended; AUR_EINVAL a pointer is NULL, or no worker of this id is known;
 * AUR_ENOTSUP as of aur_pool_pids(); AUR_EFORKED.  Threads: any.  Blocks: until the deadline. */
AUR_API aur_err aur_pool_exit_status(aur_pool *pool, int32_t pid, aur_deadline deadline,
                                     int32_t *ret_status);

/* Sentences about what the pool is and what it learned: workers and why that many, costs of a
 * wake, limits.  Writes at most size bytes, which end in a zero byte unless size is 0.  Returns the
 * length that the whole text has; 0 for NULL or in a forked child.
 * Threads: any.  Blocks: never. */
AUR_API size_t aur_pool_explain(aur_pool *pool, char *text, size_t size);

/* For AUR_SCOPED: closes, joins without a deadline, and drops the reference. */
AUR_API void aur_pool_scoped_(aur_pool **pool);

AUR_END_DECLS

#endif /* AURIGA_POOL_H */
