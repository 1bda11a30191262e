/* proc/worker.h: a worker process, seen from inside.
 *
 * A worker is one thread that takes entries from its control segment (wire/ctl.h), runs them, and
 * answers each before it looks at the next.  It keeps nothing that the parent would need if it died:
 * its allocator and all else is in private memory, and the segments hold payload and words.
 *
 * Descriptors.  A task may close any of them, and open files of its own that then have their numbers.
 * So a worker closes all that it was given as soon as the segments are mapped, and keeps two at most:
 * the bell, and, where the kernel cannot commit memory through a mapping (before 5.14), the result
 * segment.  Each use of these looks first whether the number still means that file.  Between the look
 * and the use another thread of a task could still put a file there; the bell then does nothing to it,
 * unless it is the writing end of a pipe (plat/process.h).
 *
 * A worker that finds the bell gone ends once the entry at hand is answered (hello becomes 3), and a
 * fresh one takes its place; one that cannot get memory for a result ends at once.
 *
 * How the parent fills the list of descriptors, in this order: */
#ifndef AURI_PROC_WORKER_H
#define AURI_PROC_WORKER_H

#include <pthread.h>

#include "plat/process.h"
#include "proc/module.h"
#include "proc/nursery.h"
#include "task/pool.h"
#include "wire/arena.h"
#include "wire/ring.h"

enum {
    AURI_WORKER_FD_CTL,    /* control segment, AURI_CTL_BYTES, with ctl->setup filled */
    AURI_WORKER_FD_ARGS,   /* argument arena, a descriptor that cannot be mapped writable */
    AURI_WORKER_FD_RESULT, /* result segment: new, or that of a dead predecessor */
    AURI_WORKER_FD_SHARED, /* shared buffers; any descriptor if setup.shared_bytes is 0 */
    AURI_WORKER_FD_BELL,   /* the end of the parent's bell that is rung (plat/process.h) */
    AURI_WORKER_FDS
};

/* Exit statuses of a worker that ends by itself before it was told to. */
enum {
    AURI_WORKER_EXIT_INIT = 116,   /* init refused, or the segments cannot be had; hello is 2 if it
                                      could still be told */
    AURI_WORKER_EXIT_BAD = 117,    /* the control segment is not one, or of another epoch */
    AURI_WORKER_EXIT_THREAD = 118, /* a task ended the worker's thread (pthread_exit) */
    AURI_WORKER_EXIT_FDS = 120,    /* a task closed the worker's descriptors */
};
_Static_assert(AURI_WORKER_EXIT_THREAD != 119, "AURI_IMAGE_EXIT_STALE");

/* The entry function for auri_nursery_new(); ctx is not used.  Returns 0 after QUIT, else one of the
 * statuses above.  Says hello and rings the bell once init is through.  Owns the descriptors.
 * Called by: a process that becomes a worker, once. */
auri_worker_fn auri_worker_main;

/* ---- for the rest of the library, inside a worker -------------------------------------------- */

/* The worker that this process is. */
struct auri_worker_self {
    struct auri_ctl *ctl;
    auri_arena *results;
    auri_window *args;
    auri_window *shared;
    int bell;
    aurp_file_id bell_file;   /* what `bell` meant at the start */
    _Atomic(uint32_t) maimed; /* A: the bell is gone: ends after the entry at hand */
    unsigned slot;
    uint32_t generation; /* auri_process_generation(): a child that a task forks is no worker */
    uint64_t head;       /* entry that is being run, or looked for */
    uint64_t rung;       /* last bell target that was rung for */
    bool apart;          /* it has just left the CPU of the leader, who is about to wake */
    bool follows;        /* entries follow each other closely, one by one: see await_entry() */
    bool single;         /* the last one was not there at once */
    pthread_mutex_t alloc_lock; /* guards free_head; a task may have threads of its own */
    uint32_t free_head;         /* freed extents taken so far */
    uint32_t turned;            /* the last `shrink` that began a period of the arena */
    uint32_t shrunk;            /* the last one that is dealt with */
    auri_task *task; /* what frames name as their task: RUNNING for ever, of no pool's count */
    unsigned inner;  /* tasks that run in place of waits, one inside the other */
    struct auri_remote *remote; /* proc/remote.c */
    const aur_fn **fns;         /* spawn: descriptors found so far, by fn_ref - 1 */
    uint32_t fns_n;
};

/* NULL in every process that is no worker, and in children that a worker's task forks. */
struct auri_worker_self *auri_worker_self(void);

/* Whether what runs now should end early (aur_checkpoint() looks at frame.stop, and that is this
 * worker's `stop` word; this looks at the entry's own cancellation too).  False outside a worker. */
bool auri_worker_should_stop(void);

/* The parent's number of the task that runs now, or UINT64_MAX. */
uint64_t auri_worker_task_id(void);

/* Where the bytes of an extent are in this worker (ARGS and RESULT: read only, please), or NULL if
 * the extent is not one, is empty, or this is no worker. */
void *auri_worker_at(struct auri_extent extent);

/* Wakes the parent, unless a task took the bell away; then the parent finds what there is to find when
 * this worker ends, or at its next tick.  Threads: any. */
void auri_worker_ring(struct auri_worker_self *self);

/* Room in the result segment, after what the parent gave back was taken in.  Threads: any.
 * Errors: as auri_arena_alloc(). */
aur_err auri_worker_alloc(struct auri_worker_self *self, uint64_t size,
                          struct auri_extent *ret_extent);
void auri_worker_free(struct auri_worker_self *self, struct auri_extent extent);

/* The address that a reference in the parent's memory (ARGS segment) names.  Errors: as
 * auri_module_decode(); AUR_ENOFUNC also if its path is not where it says. */
aur_err auri_worker_find(const struct auri_fn_entry *entry, const void **ret_addr);

#endif /* AURI_PROC_WORKER_H */
