/* task/pool.h: what all kinds of pools have in common, and the interface behind which they differ.
 *
 * Ordering of results, futures, waiting, deadlock detection, options and errors live above a
 * backend; queues, workers, deaths and deadlines of running items live in it. */
#ifndef AURI_TASK_POOL_H
#define AURI_TASK_POOL_H

#include "base/atomic.h"
#include "task/task.h"

#define AURI_POOL_MAGIC 0x61757230u

enum { AURI_OPEN = 0, AURI_DRAINING, AURI_STOPPING, AURI_STOPPED, AURI_BROKEN };

/* Items [lo, hi) of a map, which body(ctx, lo, hi) runs; false: no more of the map shall be run. */
struct auri_stretch {
    bool (*body)(void *ctx, uint64_t lo, uint64_t hi);
    void *ctx;
    uint64_t lo;
    uint64_t hi;
};

/* One map: n items of fn over args into out.  It lives until its root task is done, no longer. */
struct auri_map {
    const aur_fn *fn;
    const void *args;   /* records; for a range body its one context; for bytes: aur_bytes[] */
    void *out;          /* results, aur_bytes[] for bytes, or NULL */
    aur_err *item_errs; /* or NULL */
    uint64_t n;
    uint64_t first; /* number of item 0 (aur_for: lo) */
    const struct auri_limits *limits;
    const char *site;
    bool all_errors; /* AUR_CALL_ALL_ERRORS */
    /* NULL, or: in a thread, runs a piece and sees what that costs. */
    bool (*gauge)(const auri_task *root, const struct auri_stretch *piece);
};

/* The backends.  All functions may be called from any thread. */
struct auri_backend {
    const char *name;

    /* submit() copies a long byte string to a place of its own: until then the task's arguments may be the
     * caller's bytes. */
    bool borrows_bytes;

    /* Makes pool->impl and starts the workers.  On error nothing is left. */
    aur_err (*start)(aur_pool *pool, const aur_options *opts, aur_diag *diag);

    /* Takes over the queue's reference of a QUEUED task.  On error the task is still the caller's.
     * For the root of a map, the backend runs the map and finishes the task when every item is
     * accounted for.  May refuse with the errors of aur_fn_submit(). */
    aur_err (*submit)(aur_pool *pool, auri_task *task);

    /* The workers are threads of this process: a worker counts in advance what its tasks submit
     * (auri_record.credit). */
    bool threaded;

    /* Nothing but a queue names a task, or what one thread has from a queue, under one lock: so a call without
     * a handle is made SOLE (task/task.h). */
    bool sole;

    /* NULL, or: called by a thread that waits for `task`, instead of a plain sleep.  Returns when the
     * task is done, the deadline has passed, or for no reason. */
    void (*progress)(aur_pool *pool, auri_task *task, aur_deadline deadline);

    /* NULL, or: somebody waits for `task` by other means than progress() (continuation, wait_any):
     * its completion must be noticed promptly without any waiter's help. */
    void (*attend)(aur_pool *pool, auri_task *task);

    /* NULL, or: nothing is noticed without a waiter's help, tasks are done when somebody has asked for them by
     * progress(), and there is no attend(); so whoever waits for any of several asks for all of them by this.
     * Looks at those of `tasks` that are of such a pool.  AUR_OK: one is done now, *word is not `value`, or for no
     * reason; AUR_END: none is left to ask for, the others are about to be done; else as aur_future_wait(), with
     * aur_last_error() filled for AUR_EDEADLK. */
    aur_err (*await_any)(auri_task *const *tasks, size_t n, _Atomic(uint32_t) *word, uint32_t value,
                         aur_deadline deadline);
    /* With await_any: `word` of somebody's await_any has changed, or the wait graph has.  Threads: any, without the
     * locks of sched. */
    void (*recall)(void);

    /* Cancels a task that is not QUEUED any more, and ends the worker that runs it if `kill` and if it
     * takes that; returns AUR_CANCEL_*.  Called with a reference. */
    int (*cancel)(aur_pool *pool, auri_task *task, bool kill);

    /* NULL, or: the last reference to a task of a backend with progress() is gone, unless it was SOLE: lets go of what
     * `priv` stands for.  Arguments and result are freed by others, if they are no longer the backend's then. */
    void (*drop)(auri_task *task);

    /* Whether a thread that waits for `task` may run it itself. */
    bool (*may_help)(aur_pool *pool, auri_task *task);

    /* A worker of this pool (the calling thread) is about to sleep, or goes on.  NULL: nothing to do.
     * block: AUR_OK, or AUR_EAGAIN / AUR_E2DEEP when a spare was needed and could not be had. */
    aur_err (*block)(aur_pool *pool);
    void (*unblock)(aur_pool *pool);

    /* pool->state is already DRAINING or later.  Called again, from any thread, each time everything
     * accepted is done (auri_pool_is_idle): then the workers may end. */
    void (*close)(aur_pool *pool);
    void (*terminate)(aur_pool *pool);                      /* pool->state is already STOPPING */
    aur_err (*join)(aur_pool *pool, aur_deadline deadline); /* AUR_OK: no worker is left */
    /* NULL, or: the user's last reference is gone and nobody will join: the workers end by themselves. */
    void (*abandon)(aur_pool *pool);
    /* Frees impl.  Called once, when the last hold is dropped: by then no worker, no future that holds
     * the pool and no user is left.  A backend keeps a hold while its threads run. */
    void (*destroy)(aur_pool *pool);

    void (*stats)(aur_pool *pool, aur_stats *stats); /* adds what it knows */
    size_t (*explain)(aur_pool *pool, char *text, size_t size);
    /* As aur_pool_pids().  NULL: the workers are no processes. */
    size_t (*pids)(aur_pool *pool, int32_t *pids, size_t room, aur_deadline deadline);
    /* As aur_pool_exit_status().  NULL: the same. */
    aur_err (*exit_status)(aur_pool *pool, int32_t pid, aur_deadline deadline, int32_t *ret_status);

    /* Shared buffers.  NULL: plain heap memory does. */
    aur_err (*buf_new)(aur_pool *pool, size_t size, unsigned flags, void **ret_data,
                       uint64_t *ret_key);
    void (*buf_free)(aur_pool *pool, void *data, size_t size, uint64_t key);
};

struct aur_pool {
    uint32_t magic;
    uint32_t generation;                /* I: auri_process_generation() at the start */
    const struct auri_backend *backend; /* I */
    void *impl;                         /* I: the backend's */
    uint64_t number;                    /* I: of this pool and of no other; 0: not enlisted */
    struct aur_pool *next_listed;       /* list lock (task/pool.c) */
    int32_t kind;                       /* I */
    uint32_t workers;                   /* I */
    uint32_t flags;                     /* I */
    /* I: a call or map without options of its own is run by who asks for it; of an AUR_AUTO pool: if nothing of it
     * is measured */
    bool runs_here;
    bool takes_all;   /* I: and if not, its queue takes it, and a thread runs it as it is */
    aur_options opts; /* I: defaults resolved, name is ours */
    struct auri_limits limits; /* I: the defaults of its calls */
    char name[32];             /* I */
    _Atomic(uint32_t) refs;    /* A: the user's */
    _Atomic(uint32_t) holds; /* A: reasons to keep this struct: users (1), workers, failed tasks */
    _Atomic(uint32_t) state; /* A: AURI_OPEN ... */
    _Atomic(uint32_t) reported;                           /* A: unseen failures were logged */
    alignas(AURI_CACHE_LINE) _Atomic(uint64_t) submitted; /* A: by submitters */
    alignas(
        AURI_CACHE_LINE) _Atomic(uint64_t) finished; /* A: by runners, in batches; futex low half */
    _Atomic(uint64_t) unused; /* A: counted in advance (auri_record.credit), then not submitted; as
                               * finished, too, since joiners sleep on that word */
    _Atomic(uint64_t) failed; /* A, and so on: rare */
    _Atomic(uint64_t) cancelled;
    _Atomic(uint64_t) seen;
    _Atomic(uint64_t) items;
    _Atomic(uint64_t) retried;
    _Atomic(uint64_t) helped;
    _Atomic(uint64_t) deadlocks;
    _Atomic(uint32_t) queued;      /* A: exact only if opts.queue_max != 0: calls not started */
    _Atomic(uint32_t) queue_waits; /* A: submitters that wait for room; futex is `queued` */
};

/* What the task may do; NULL: it is of no pool. */
static inline const struct auri_limits *auri_task_limits(const auri_task *task)
{
    return (task->traits & AURI_T_LIMITS) != 0 ? auri_task_cold(task)->limits
           : task->pool != NULL                ? &task->pool->limits
                                               : NULL;
}

/* A reason to keep the struct and the backend's memory (not the workers): the user's references
 * together (1), each thread of the pool, tasks with AURI_F_HOLDS, failures nobody asked about. */
void auri_pool_hold(aur_pool *pool);
void auri_pool_drop(aur_pool *pool);

/* Makes the pool known to auri_pool_by_number() until its memory goes.  Once, before it is used. */
void auri_pool_enlist(aur_pool *pool);
/* The pool of this process with that number, with a hold; NULL: it is gone, or never was.  For numbers
 * that come from elsewhere, where a pointer could not be trusted. */
aur_pool *auri_pool_by_number(uint64_t number);

/* Says something through the pool's log hook, if it has one. */
void auri_pool_log(aur_pool *pool, int level, const char *format, ...) AUR_PRINTF(3, 4);

/* n tasks of the pool are done (counts them; wakes joiners when all are).  The caller has a hold. */
void auri_pool_finished(aur_pool *pool, uint64_t n);

/* True when everything accepted is done. */
bool auri_pool_is_idle(aur_pool *pool);

/* A task of a pool with queue_max left the queue. */
void auri_pool_dequeued(aur_pool *pool);

#endif /* AURI_TASK_POOL_H */
