/* task/record.h: everything the library knows about one thread, or about one worker process.
 *
 * Records are process-global and immortal: a record whose thread has ended is given to a later one.
 * So a pointer to a record, and its range slots, can always be read.  Record
 * ids (1 .. 65535) are the owners in task words, and the nodes of the wait graph.
 *
 * Wait edge: what the node waits for, for the deadlock walk (sched/detect.h).  wait_seq is even while
 * the node does not wait and odd while it does; a reader takes an edge for real only if wait_seq was
 * the same odd number before and after it looked. */
#ifndef AURI_TASK_RECORD_H
#define AURI_TASK_RECORD_H

#include <auriga/join.h>

#include "base/atomic.h"
#include "plat/plat.h"
#include "sync/deque.h"
#include "task/task.h"

/* What a node waits for. */
enum {
    AURI_WAIT_NONE = 0,
    AURI_WAIT_TASK,      /* one task, no deadline: the only kind that the lock-free walk follows */
    AURI_WAIT_ANY,       /* the first of several (wait_any, as_completed) */
    AURI_WAIT_JOB,       /* the helpers of a range job that still hold items */
    AURI_WAIT_TIMED,     /* has a deadline: breaks itself, counts as progress */
    AURI_WAIT_TIMED_ANY, /* likewise, for the first of several */
    AURI_WAIT_PERHAPS, /* a worker process, of whose task nobody knows whether it waits for any of several */
};

/* The records that hold items of one range job, for the deadlock walk: ids, 0 is free. */
#ifndef AURI_HELPERS_MAX /* a test makes it small */
#define AURI_HELPERS_MAX 64
#endif
struct auri_helpers {
    _Atomic(uint32_t) id[AURI_HELPERS_MAX];
};

struct auri_formula; /* sched/formula.h */

#define AURI_WAIT_MAPS 8   /* maps whose items one worker process runs on top of each other */
#define AURI_RANGE_DEPTH 4 /* maps nested deeper than this run serially in their caller */

/* A range job's share in the hands of one thread (sched/share.c).  Immortal with its record; `word` is
 * the only thing a thief may rely on before it holds items (sched/range.h).  One cache line. */
struct auri_range_slot {
    alignas(AURI_CACHE_LINE) _Atomic(uint64_t) word; /* A: lo:32 | hi:32, lo < hi: items to take */
    struct auri_range_job *job; /* valid for whoever took items, until it counts */
    uint64_t base;              /* them in fetched; item number of relative 0 */
    _Atomic(uint64_t) fetched;  /* A: items whose takers have read the two above */
    uint64_t given;             /* O: items that thieves took, or still may take */
    bool busy;                  /* O: published */
    _Atomic(uint32_t) cut;      /* A: where the first thief should begin, a hint; 0: unknown */
    _Atomic(struct auri_range_job *) job_hint; /* A: whose items these may be */
    _Atomic(uint64_t) item_ps;                 /* A: cost of an item so far, a hint */
};

/* One call frame: a task, or a chunk of a map, being run by this thread. */
struct auri_frame {
    struct auri_frame *up;
    auri_task *task;       /* the task, or NULL inside a range job */
    struct aur_pool *pool; /* the pool it belongs to */
    union {
        uint64_t item;   /* index being run, kept up to date by aur_fn.range ... */
        void *item_note; /* ... which may write it so: AUR_NOTE_ in auriga/fn.h */
    };
    uint64_t item_base;   /* ... counted from here */
    uint64_t deadline_ns; /* of the item; AUR_NO_DEADLINE */
    aur_error *error;     /* first failure marked by aur_fail(), or NULL */
    aur_err bare;         /* the code of one that no memory was left to describe, or AUR_OK */
    const _Atomic(uint32_t) *stop; /* worker process: nonzero means stop early; or NULL */
    /* Takes over a failure mark (a map keeps one per item), or NULL: the first goes to error.  Its
     * error is NULL for want of memory. */
    void (*failed)(struct auri_frame *frame, aur_err err, aur_error *error);
    void *failed_ctx;
    bool in_map;       /* item is meaningful */
    auri_task *awaits; /* what it waits for while it runs something else in its place */
};

struct auri_record {
    /* the thread's own business; the first line is all that a short loop needs (bench/granularity) */
    alignas(AURI_CACHE_LINE) struct auri_frame *frame; /* innermost call */
    struct aur_pool *pool;                             /* whose worker this thread is, or NULL */
    auri_task *running;                           /* innermost task; older ones by task->other */
    void (*thread_end)(struct auri_record *self); /* the thread ends with a task running, or NULL */
    uintptr_t stack_low;                          /* 0: unknown */
    uint64_t loop_tick;      /* the counter when its last loop was last looked at ... */
    uint32_t loop_tail_ns;   /* ... and about how long it took from there */
    uint32_t loop_series_ns; /* sched/pace.h: series_ns */
    unsigned blocking;       /* nesting of aur_blocking_begin() */
    uint16_t depth;          /* calls nested by helping */
    uint8_t range_depth;     /* range slots in use */
    bool forked;             /* a task forked, and this is the child */
    aur_lane_ *open_lane;    /* what programs see of the next; not NULL */
    struct auri_lane *lane;  /* where its forks lie (sched/join.c), or NULL */
    /* identity */
    unsigned id;                   /* I for ever */
    struct auri_record *next_free; /* records lock */
    bool in_use;                   /* records lock */
    /* the wait edge */
    alignas(AURI_CACHE_LINE) _Atomic(uint64_t) wait_seq; /* A */
    /* A: the wait_seq of the wait that was chosen last to get AUR_EDEADLK.  So a mark that comes when that wait
     * is over, since a worker process died, is none for the next one, and none has to be taken back. */
    _Atomic(uint64_t) victim;
    _Atomic(uint32_t) wait_kind;    /* A */
    aur_error victim_error;         /* detect lock: why, if another node chose it */
    size_t victim_at;               /* detect lock: which of what it waited for is on the circle */
    _Atomic(uint32_t) *wait_futex;  /* detect lock: AURI_WAIT_ANY and TIMED_ANY sleep on it ... */
    uint32_t wait_value;            /* detect lock: ... as long as it has this value */
    _Atomic(auri_task *) wait_task; /* A: AURI_WAIT_TASK; AURI_WAIT_TIMED, NULL: for no task */
    /* A: maps that cannot end before this wait has: a worker process waits inside an item of each.  NULL:
     * no more.  Part of the edge. */
    _Atomic(auri_task *) wait_maps[AURI_WAIT_MAPS];
    auri_task *const *wait_any;        /* detect lock: AURI_WAIT_ANY */
    size_t wait_any_n;                 /* detect lock */
    struct auri_formula *wait_formula; /* detect lock: what it needs of these; NULL: any one */
    struct auri_helpers *wait_job;     /* detect lock: AURI_WAIT_JOB */
    /* A: a worker process of this pool, which has nobody left to take from its queue: all its workers wait,
     * and there will be no spare.  NULL: there may be one.  Written under the pool's lock. */
    _Atomic(struct aur_pool *) dry;
    _Atomic(uint32_t) dry_room; /* A: with dry: it could run a queued task in place of its wait */
    /* A: it waits for an answer from elsewhere (task/pool.h, await_any): who gives it, or NULL.  Written under a
     * lock of theirs. */
    _Atomic(const struct auri_backend *) asks;
    bool needed; /* by those who ask, under their lock: see auri_detect_needs_answer() */
    /* the rest of the thread's own business */
    alignas(AURI_CACHE_LINE) void (*worker_end)(struct auri_record *self); /* the pool's part of
                                                                            * thread_end(), or NULL */
    int worker;           /* index in that pool, or -1 */
    uint64_t loop_end_ns; /* when its last loop ended, if that was timed by the clock */
    bool blocking_counts; /* the pool was told about the outermost aur_blocking_begin() */
    bool woke;            /* its last submit woke a worker */
    bool apart; /* sched/worker.c: it has just left the CPU of a waiter, who is about to wake */
    bool rests; /* sched/worker.c: work is rare, so it does not spin for more */
    uint8_t spin_misses;   /* sched/wait.c: waits that spun in vain, in a row */
    uint8_t spin_rests;    /* and since then waits that did not spin */
    uint16_t sleeps;       /* sched/wait.c: waits that slept, each soon after the one before */
    uint8_t sleeps_fails;  /* and how often in a row it did not help to say so */
    bool spins_long;       /* ... which may help the next one */
    uint64_t slept_ns;     /* when the last of them began */
    uint64_t random;       /* state of xorshift */
    aur_error *last_error; /* malloc'ed; aur_last_error() */
    uint32_t finished_unflushed; /* tasks done, not yet told to the pool */
    _Atomic(uint32_t) credit; /* A, written by the thread only: calls that the pool has counted as
                                  * submitted, and that its tasks have not made yet */
    uint32_t ticks;           /* tasks run, for fairness */
    int64_t outside_end; /* in its deque: below lie tasks from outside, above those of its tasks */
    /* slab cache: sched of task/slab.c */
    auri_task *slab_free;         /* own free tasks */
    auri_task *block;             /* slabs not made yet, in a block */
    struct auri_cold *block_cold; /* and the second parts of their tasks */
    uint32_t block_slabs;         /* how many */
    uint32_t slabs_made;
    auri_task *chain_first; /* foreign tasks being collected for one home */
    auri_task *chain_last;
    uint32_t chain_length;
    uint16_t chain_home;
    struct auri_ahead freed;                                /* of those */
    struct auri_ahead pushed;                               /* into inboxes */
    alignas(AURI_CACHE_LINE) _Atomic(auri_task *) handback; /* A: freed by other threads */
    /* work that others may take */
    struct auri_deque *deque; /* of its place in the pool; NULL: no worker of a thread pool */
    struct auri_range_slot range[AURI_RANGE_DEPTH];
};
/* Programs read these two: auriga/join.h. */
_Static_assert(offsetof(struct auri_record, frame) == offsetof(struct aur_self_, frame_),
               "aur_fork_push_() reads it");
_Static_assert(offsetof(struct auri_record, open_lane) == offsetof(struct aur_self_, lane_),
               "and this");

/* Of a thread that has none: all its forks and joins go the long way. */
extern const aur_lane_ auri_no_lane;

static inline void auri_record_set_lane(struct auri_record *record, struct auri_lane *lane)
{
    record->lane = lane;
    record->open_lane = lane != NULL ? (aur_lane_ *)(void *)lane : (aur_lane_ *)&auri_no_lane;
}

/* Whether what the node waits for now was refused.  Only where its edge cannot change. */
static inline bool auri_record_is_victim(const struct auri_record *node)
{
    uint64_t seq =
        auri_load_rlx(&node->wait_seq); /* relaxed: the caller's own, or under its lock */

    /* acquire; pairs with the release stores in judge() and interrupt() (sched/detect.c), and in
     * note_deadlock() (proc/ask.c): what was said about it is there. */
    return (seq & 1) != 0 && auri_load_acq(&node->victim) == seq;
}

/* How the call failed so far, or AUR_OK. */
static inline aur_err auri_frame_err(const struct auri_frame *frame)
{
    return frame->error != NULL ? frame->error->err : frame->bare;
}

/* task/record.c.  initial-exec: one load instead of a call, in the shared library too; the 8 bytes
 * come from the reserve that the C library keeps for libraries that are loaded later.  Declared in
 * auriga/join.h, under the name that programs are linked with. */
#define auri_self_ aur_self_2_
struct auri_record *auri_self_slow_(void);

/* The calling thread's record; made or adopted on first use.  NULL: no memory or 65535 in use. */
static inline struct auri_record *auri_self(void)
{
    struct auri_record *self = auri_self_;
    return self != NULL ? self : auri_self_slow_();
}

/* A record that is no thread: a node of the wait graph for a worker process. */
struct auri_record *auri_record_take(void);
void auri_record_give(struct auri_record *record);

/* Record `id`, or NULL if there never was one; and one past the highest id ever used. */
struct auri_record *auri_record_at(unsigned id);
unsigned auri_record_end(void);

/* Gives the calling thread's record back now (a worker that ends). */
void auri_self_release(void);

/* Threads that the library itself runs in this process. */
void auri_own_threads_add(int n);
unsigned auri_own_threads(void);
/* Whether one may be counted off but not ended yet, if that takes `most_ns`: a thread is counted off as its
 * last act, and then ended by the kernel.  now_ns: of aurp_now_ns(); others may be counted off after it was
 * read. */
bool auri_own_threads_leaving(uint64_t now_ns, uint64_t most_ns);

/* Generation of this process: +1 in each fork child.  An object that remembers another one belongs to
 * an ancestor. */
uint32_t auri_process_generation(void);
/* The same, one load, for whoever has an object that remembers one: so somebody has asked before. */
extern _Atomic(uint32_t) auri_generation_;
static inline uint32_t auri_process_generation_now(void)
{
    return auri_load_rlx(&auri_generation_); /* relaxed: changes in single-threaded children only */
}

#endif /* AURI_TASK_RECORD_H */
