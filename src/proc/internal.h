/* proc/internal.h: what the files of the process engine's parent side share.
 *
 * One lock per pool guards everything here that is marked L.  It is never held while a thread sleeps,
 * while user code runs (tasks are finished after it is released: a continuation may submit), or
 * while payload of more than a cache line is copied.  Locks taken inside it: the arena's, a
 * segment's.
 *
 * Keys: I constant after the start, A atomic, L under the pool's lock, G the guardian thread only. */
#ifndef AURI_PROC_INTERNAL_H
#define AURI_PROC_INTERNAL_H

#include <pthread.h>

#include "plat/plat.h"
#include "plat/process.h"
#include "proc/engine.h"
#include "proc/module.h"
#include "proc/nursery.h"
#include "task/record.h"
#include "wire/arena.h"
#include "wire/ctl.h"
#include "wire/ring.h"

#define AURI_NO_EXTENT UINT64_MAX

/* Where no bench is named they are reckoned, after the price of a wake (bench/floors), and not swept. */
#define AURI_TICK_NS UINT64_C(100000000)      /* a stopped worker may owe a bell: look so often */
#define AURI_QUEUE_AHEAD_NS UINT64_C(1200000) /* work that a worker has in its ring: bench/busy */
#define AURI_FILL_NS UINT64_C(100000)     /* 2 wakes: a second worker is worth waking from here */
#define AURI_SPIN_NS UINT64_C(50000)      /* the price of a wake */
#define AURI_UNKNOWN_NS UINT64_C(1000000) /* a function nobody has measured yet */
#define AURI_DEATHS_MAX 10                /* in a row before hello: the pool is broken */
#define AURI_UNCLAIMED_MAX 3              /* deaths with the same entry at the head, not begun */
#define AURI_FNS_MAX 4096u                /* functions that spawned workers are told about */
/* A period: memory that was not in use for two goes back. */
#define AURI_SHRINK_NS UINT64_C(5000000000)

/* ---- a worker's result segment, which views may outlive -------------------------------------- */

struct auri_segment {
    _Atomic(uint32_t) refs; /* A: the worker, and each view */
    pthread_mutex_t lock;   /* guards back and back_bytes */
    uint64_t *back;         /* offsets that were given back, on their way to the free ring */
    uint32_t back_room;
    uint64_t back_bytes;        /* of these, at the least: see remember() */
    _Atomic(uint32_t) back_n;   /* A: written under the lock */
    _Atomic(uint32_t) back_due; /* A: likewise: 1: they are worth the way */
    int fd;                     /* L: to hand to a successor, or -1 */
    uint64_t bytes;             /* I */
    auri_window *window;        /* I */
};

/* ---- one entry without an answer ------------------------------------------------------------- */

struct auri_flight {
    auri_task *task;  /* the call, or the root of the map */
    uint64_t item;    /* maps: first item of the chunk, counted from 0 */
    uint64_t count;   /* maps: items; 0: an ordinary call */
    uint32_t attempt; /* maps: how often the first item was lost already */
    uint32_t cost_ns; /* what it was expected to take */
    bool awaited;     /* another worker waits for it */
    bool revoked;     /* its task has moved on; only the answer is awaited */
    bool lost;        /* its worker died in it; waits for the exit status */
    aur_err verdict;  /* lost: what it becomes */
};

/* A task that a worker runs in place of a wait.  It has no entry; where a verdict asks for the number of one
 * it goes by AURI_INNER_SEQ(its index). */
struct auri_inner {
    struct auri_flight flight;
    uint64_t late_ns; /* when its time limit is over; UINT64_MAX: it has none */
};
#define AURI_INNER_SEQ(i) (UINT64_MAX - (i))
#define AURI_INNER_SEQ_MIN (UINT64_MAX - UINT32_MAX)

/* ---- one worker process (one epoch of a slot) ------------------------------------------------- */

enum {
    AURI_W_ASKED = 1, /* the nursery was asked for it */
    AURI_W_LIVE,
    AURI_W_QUITTING, /* got QUIT, or was killed: nothing more is dispatched to it */
    AURI_W_DEAD,     /* judged; waits for its exit status */
};

/* Why we killed it. */
enum { AURI_KILL_NONE = 0, AURI_KILL_CANCEL, AURI_KILL_DEADLINE, AURI_KILL_STOP, AURI_KILL_WILD };

struct auri_worker {
    struct auri_proc *proc;   /* I */
    struct auri_worker *next; /* L: in the list of the dead */
    unsigned slot;            /* I */
    uint64_t epoch;           /* I */
    int state;                /* L */
    unsigned refs;            /* L: the slot or the dead list; a continuation; a deliverer */
    int pid;                  /* L */
    int pidfd;                /* L */
    bool exited;              /* L: status and peak are known */
    int status;
    uint64_t maxrss_bytes;
    int ctl_fd;
    struct auri_ctl *ctl;         /* L: NULL once judged */
    struct auri_segment *segment; /* L: NULL once a successor has it */
    struct auri_record *record;   /* I: its node in the wait graph */
    /* the ring */
    uint64_t head;          /* L: oldest entry without an answer */
    uint64_t tail;          /* L: next entry to put */
    uint64_t revoked;       /* L: entries in it that were taken back */
    uint64_t general;       /* L: entries in it that nobody was known to wait for */
    uint32_t free_tail;     /* L: extents given back so far */
    uint64_t queued_ns;     /* L: expected work in it */
    uint64_t busy_since_ns; /* L: since when the head has been the head */
    uint64_t armed;         /* L: our copy of wake_at */
    uint64_t left_tail;     /* L: tail when a leader last left while each CPU had its worker */
    uint64_t items;         /* L: for tasks_per_worker_max */
    bool rang;              /* L: it slept when its last entry was put */
    bool told;              /* L: ... and was told to leave the caller's CPU */
    bool wild;              /* L: gave an answer that makes no sense: none is taken any more */
    bool asked_to_quit;     /* L */
    int kill_reason;        /* L */
    uint64_t kill_seq;      /* L: the entry it was killed for */
    uint64_t killed_ns;     /* L */
    /* memory that goes back: shrink.c */
    uint32_t shrink;  /* L: our copy of ctl->shrink */
    uint32_t turns;   /* L: how often it was asked since something has changed */
    uint64_t stirred; /* L: entries put and extents given back, when it was asked last */
    /* the mailbox */
    uint32_t req_seen;                /* L */
    struct auri_segment *req_segment; /* of whoever serves */
    bool serving;                     /* L: a thread deals with its request */
    bool blocked;                     /* L: it sleeps in a WAIT */
    bool edge;                        /* L: its wait edge is published */
    bool cont_armed;                  /* L: cont is in awaited's list, or firing */
    auri_task *awaited;               /* L: with a reference; NULL: it waits for any of several */
    struct auri_any *any;             /* L: these (any.c), or NULL */
    _Atomic(uint32_t) any_word; /* A: counted up for a victim; the guardian looks at its ticks */
    uint64_t wait_deadline;     /* L */
    struct auri_cont cont;
    bool room; /* L: the wait may be answered with a task to run in place */
    uint32_t
        needs;   /* L: of what it waits for the first so many are its edge; 0: its task can go on */
    bool unsure; /* L: ... or perhaps can */
    struct auri_inner *inner; /* L: tasks that it runs in place of waits, the innermost last */
    uint32_t inner_n, inner_room;
    uint64_t reply_extent; /* L: of the last answer, in the argument arena */
    auri_task **held;      /* L: futures that its tasks hold a reference of */
    uint32_t held_n, held_room;
    struct auri_flight flights[AURI_RING];
};

static inline uint64_t auri_unanswered(const struct auri_worker *w)
{
    return w->tail - w->head;
}
static inline struct auri_flight *auri_flight_at(struct auri_worker *w, uint64_t seq)
{
    return &w->flights[seq % AURI_RING];
}

/* ---- a map under way -------------------------------------------------------------------------- */

/* A part of a map that comes back: the rest of a chunk, or a lost item. */
struct auri_piece {
    struct auri_piece *next;
    uint64_t item;
    uint64_t count;
    uint32_t attempt; /* of its only item; pieces of several have 0 */
};

struct auri_mapjob {
    auri_task *prev;           /* L: link of the pool's queue (task->next is the other) */
    bool queued;               /* L: is in the pool's queue */
    bool claimed;              /* L: the root is RUNNING */
    bool stopped;              /* L: no more chunks */
    bool cancelled;            /* L */
    uint64_t next;             /* L: first item that was never dispatched */
    struct auri_piece *pieces; /* L: come before next */
    uint64_t flying;           /* L: chunks without a final answer */
    uint64_t done;             /* L: items with an outcome */
    uint64_t failures;         /* L */
    uint64_t item_ns;          /* L: measured; 0: not yet */
    uint64_t args;             /* I: extent in the argument arena */
    uint64_t first_bad;        /* L: lowest failed item, or UINT64_MAX */
    aur_err first_err;         /* L */
    aur_error *error;          /* L: details of first_bad */
};

/* ---- work that is done outside the lock ------------------------------------------------------- */

/* An answer whose bytes are still in the worker's segment, or a request. */
struct auri_parcel {
    struct auri_worker *worker;   /* with a reference */
    struct auri_segment *segment; /* with a reference */
    struct auri_flight flight;
    aur_err err;
    struct auri_extent out;
    struct auri_chunk_end end; /* chunks */
};

#define AURI_PARCELS 16
struct auri_harvest {
    auri_task *first, *last; /* done but for auri_task_finish(), linked through next */
    uint64_t n;
    struct auri_parcel parcels[AURI_PARCELS + 1]; /* the last is for a judge */
    unsigned parcel_n;
    struct auri_worker *asking[AURI_PARCELS]; /* with a reference: have a request */
    unsigned asking_n;
    bool more; /* there was no room for all */
};
#define AURI_HARVEST_INIT(h)                                                                       \
    ((h)->first = (h)->last = NULL, (h)->n = 0, (h)->parcel_n = (h)->asking_n = 0,                 \
     (h)->more = false)

/* A thread that sleeps for a task while another one leads. */
struct auri_parked {
    struct auri_parked *next;
    auri_task *task;
};

struct auri_cost { /* what calls of one function take */
    const aur_fn *fn;
    uint64_t ns;
    uint64_t said;        /* by the answers that were taken last together */
    uint64_t said_before; /* and by those before */
    uint64_t said_at;     /* when: aurp_now_ns() */
};
#define AURI_COSTS 16

/* A head entry that was there, not begun, when its worker died. */
struct auri_suspect {
    uint64_t task_id;
    uint64_t item;
    unsigned deaths;
};
#define AURI_SUSPECTS 32

/* ---- the pool ---------------------------------------------------------------------------------- */

struct auri_slot {
    struct auri_worker *worker; /* L: NULL while it has none */
    bool wanted;                /* L: shall have one */
    bool refused;               /* L: ... but the system had no room for the last one */
    uint64_t start_ns;          /* L: not before */
    struct auri_segment *warm;  /* L: a dead predecessor's, without views */
    int ended_pid;              /* L: the last that ended here; 0: none */
    int ended_status;           /* L: as waitpid() has it */
};

struct auri_proc {
    aur_pool *pool;            /* I */
    bool spawn;                /* I: AUR_START_SPAWN or AUR_START_EXEC: addresses do not travel */
    unsigned slots_max;        /* I: workers and spares */
    unsigned cpus;             /* L: by affinity alone until the guardian has counted them */
    int bell;                  /* L: workers ring it; -1 at the end, as the next three */
    int rope;                  /* L: the end of the bell that is rung */
    int kick;                  /* L: wakes the guardian */
    int epoll;                 /* L */
    auri_arena *args;          /* I: arguments, and buffers that workers only read */
    auri_arena *shared;        /* I: AUR_BUF_INOUT buffers */
    unsigned char *args_base;  /* I: where args is mapped */
    uint64_t args_bytes;       /* I */
    unsigned bufs;             /* L: buffers that live */
    auri_modules *modules;     /* I: fork: the modules that workers know */
    auri_committer *committer; /* I */
    auri_nursery *nursery;     /* G, and before the guardian starts; but for kills */
    aurp_thread guardian;      /* I */
    pthread_mutex_t lock;
    _Atomic(const aur_fn *) checked; /* A: the last function that passed the module check */

    /* spawn: the functions that workers were told about */
    uint64_t fns;            /* I: extent in args: array of struct auri_fn_entry */
    const aur_fn **fn_table; /* L */
    uint32_t fn_n;           /* L */

    /* the queue: through task->next and prev_of() */
    auri_task *queue_first, *queue_last; /* L */
    uint64_t queued;                     /* L */
    auri_task *settled; /* L: maps that ended where nobody could finish them; through next */

    /* the workers */
    struct auri_slot *slots;  /* I: array; contents L */
    unsigned slots_end;       /* L: one past the highest slot that was ever wanted */
    unsigned busy;            /* L: workers with unanswered entries */
    unsigned blocked;         /* L: workers that sleep in a WAIT */
    bool nests;               /* L: a task has waited for another one */
    bool dry;                 /* L: the records of its workers say so */
    uint64_t landing;         /* L: chunks and maps in harvests: such a map needs no worker */
    unsigned cursor;          /* L: slot that is being filled */
    uint64_t epochs;          /* L */
    uint64_t flying;          /* L: unanswered entries of all workers */
    struct auri_worker *dead; /* L: wait for their exit status */
    unsigned firing;          /* L: continuations of dead workers that are about to run */
    struct auri_cost costs[AURI_COSTS];          /* L */
    struct auri_suspect suspects[AURI_SUSPECTS]; /* L */
    unsigned suspect_next;                       /* L */

    /* who looks after the rings */
    bool leading;             /* L: a waiting thread does */
    _Atomic(uint32_t) asleep; /* A: ... and sleeps on the bell, which the guardian does not hear */
    bool attended;            /* L: each answer must be noticed at once */
    auri_task *led;           /* L: what the leader waits for */
    const struct auri_record *left_by; /* L: the thread that led last */
    bool collects; /* L: the leader is that thread: it may be woken some entries later */
    bool late;     /* L: ... and will be */
    struct auri_parked *parked; /* L */
    unsigned sleeps;            /* L: calls in a row, each soon after the one before, with a wake */
    unsigned long_fails;        /* L: long spins in vain in a row */
    unsigned spin_fails;        /* L: spins in vain in a row */
    unsigned spin_skip;         /* L: so many waits do not spin */
    bool bell_added;            /* L: the bell is in the epoll set */
    unsigned armed_n;           /* L: workers whose `armed` is not 0 */
    uint64_t guardian_wakes_ns; /* L: when its sleep ends at the latest */
    uint64_t flew_ns;           /* L: when the guardian last saw something in flight */

    /* memory that goes back: shrink.c */
    _Atomic(uint64_t) shrink_period_ns; /* A: AURI_SHRINK_NS but in tests */
    uint64_t shrink_ns;                 /* G: when the period ends; 0: none goes on */
    bool shrinking;                     /* G: not through with the arenas in this period */

    /* the end */
    bool stopping;           /* L: terminate */
    bool broken;             /* L */
    const char *broken_why;  /* L: not logged yet; a text that lives for ever */
    bool quitting;           /* L: the QUITs are out */
    bool nursery_dead;       /* L */
    unsigned deaths_in_row;  /* L: before hello */
    unsigned refusals;       /* L: in a row: workers that could not be made */
    uint64_t spares_ns;      /* L: one of them was a spare: none is asked for before */
    _Atomic(uint32_t) ended; /* A: futex: 1 once no worker is left */
    _Atomic(uint32_t) looks; /* A: futex: the guardian's, while somebody is */
    unsigned asking;         /* L: who waits for workers to come or to end */
    bool joined;             /* L: somebody joins, or has joined, the guardian thread */

    uint64_t deaths; /* L: statistics from here */
    uint64_t spares;
    uint64_t parks;
    uint64_t wakes;
    uint64_t revoked;
    uint64_t leads;
};

static inline struct auri_proc *auri_proc_of(const aur_pool *pool)
{
    return pool->impl;
}
static inline struct auri_mapjob *auri_mapjob_of(const auri_task *task)
{
    return auri_task_map(task) != NULL ? task->priv : NULL;
}
static inline bool auri_in_arena(const struct auri_proc *p, const void *at)
{
    return (uintptr_t)at - (uintptr_t)p->args_base < p->args_bytes;
}
static inline uint64_t auri_arena_offset(const struct auri_proc *p, const void *at)
{
    return (uint64_t)((const unsigned char *)at - p->args_base);
}
static inline const struct auri_limits *auri_limits_of(const auri_task *task)
{
    const struct auri_map *map = auri_task_map(task);

    return map != NULL && map->limits != NULL ? map->limits : auri_task_limits(task);
}
/* Whether entry seq has its answer. */
static inline bool auri_answered(const struct auri_worker *w, uint64_t seq)
{
    /* acquire: as auri_ring_take() [C3]. */
    return auri_load_acq(&((struct auri_ctl *)w->ctl)->comp[auri_ring_at(seq)].seq) == seq;
}

#include "proc/steps.h"

#endif /* AURI_PROC_INTERNAL_H */
