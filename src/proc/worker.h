/* proc/worker.h: a worker process, seen from inside.
 *
 * A worker is one thread that takes entries from its control segment (wire/ctl.h), runs them, and
 * answers each before it looks at the next.  It keeps nothing that the parent would need if it died:
 * its allocator and all else is in private memory, and the segments hold payload and words.
 *
 * How the parent fills the list of descriptors, in this order: */
#ifndef AURI_PROC_WORKER_H
#define AURI_PROC_WORKER_H

#include <pthread.h>

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
    AURI_WORKER_FD_BELL,   /* eventfd that wakes the parent */
    AURI_WORKER_FDS
};

/* Exit statuses of a worker that ends by itself before it was told to. */
enum {
    AURI_WORKER_EXIT_INIT = 116,   /* init refused, or the segments cannot be had; hello is 2 if it
                                      could still be told */
    AURI_WORKER_EXIT_BAD = 117,    /* the control segment is not one, or of another epoch */
    AURI_WORKER_EXIT_THREAD = 118, /* a task ended the worker's thread (pthread_exit) */
};
_Static_assert(AURI_WORKER_EXIT_THREAD != 119, "AURI_IMAGE_EXIT_STALE");

/* The entry function for auri_nursery_new(); ctx is not used.  Returns 0 after QUIT, else one of the
 * statuses above.  Says hello and rings the bell once init is through.  The descriptors stay open
 * until the process ends.  Called by: a process that becomes a worker, once. */
auri_worker_fn auri_worker_main;

/* ---- for the rest of the library, inside a worker -------------------------------------------- */

/* The worker that this process is. */
struct auri_worker_self {
    struct auri_ctl *ctl;
    auri_arena *results;
    auri_window *args;
    auri_window *shared;
    int bell;
    unsigned slot;
    uint32_t generation; /* auri_process_generation(): a child that a task forks is no worker */
    uint64_t head;       /* entry that is being run, or looked for */
    uint64_t rung;       /* last bell target that was rung for */
    pthread_mutex_t alloc_lock; /* guards free_head; a task may have threads of its own */
    uint32_t free_head;         /* freed extents taken so far */
    auri_task *task; /* what frames name as their task: RUNNING for ever, of no pool's count */
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

/* Room in the result segment, after what the parent gave back was taken in.  Threads: any.
 * Errors: as auri_arena_alloc(). */
aur_err auri_worker_alloc(struct auri_worker_self *self, uint64_t size,
                          struct auri_extent *ret_extent);
void auri_worker_free(struct auri_worker_self *self, struct auri_extent extent);

/* The address that a reference in the parent's memory (ARGS segment) names.  Errors: as
 * auri_module_decode(); AUR_ENOFUNC also if its path is not where it says. */
aur_err auri_worker_find(const struct auri_fn_entry *entry, const void **ret_addr);

#endif /* AURI_PROC_WORKER_H */
