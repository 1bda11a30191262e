/* sched/detect.h: the wait graph: publishing what a node waits for, and the deadlock verdict.
 *
 * Nodes are records: threads and worker processes.  A node that waits has one out-edge, to a task
 * (and so to the node that runs it), to any of several tasks, or to the helpers of a range job.
 * Publish the edge (seq_cst), then detect: of the nodes of a cycle, the one whose edge comes last in
 * the total order sees all of it. */
#ifndef AURI_SCHED_DETECT_H
#define AURI_SCHED_DETECT_H

#include "task/record.h"

/* Publish or clear the edge of `node`.  Only by the node's own thread, or for the node of a worker
 * process by whoever holds its pool's lock.  The caller keeps a reference to each task meanwhile. */
void auri_edge_task(struct auri_record *node, auri_task *task, bool timed);
void auri_edge_any(struct auri_record *node, auri_task *const *tasks, size_t n,
                   _Atomic(uint32_t) *futex, bool timed);
/* Whether the word has changed since: then such a wait ends, and its node must not sleep.  For the word of a wait for
 * any of several, which only counts up.  Any thread, with any node. */
bool auri_edge_any_is_over(struct auri_record *node);
/* Not of any one of the tasks, but of what the formula says: of its first formula->ids. */
void auri_edge_needs(struct auri_record *node, auri_task *const *tasks,
                     struct auri_formula *formula, _Atomic(uint32_t) *futex);
void auri_edge_job(struct auri_record *node, struct auri_helpers *helpers);
/* For a worker process that may need any of them, or may not.  That is no edge to the verdict, but counts as one
 * where a dry pool has nobody left to run anything (auri_detect_dry): there a wait that ends is no loss. */
void auri_edge_perhaps(struct auri_record *node, auri_task *const *tasks, size_t n);
void auri_edge_clear(struct auri_record *node);
/* Before the edge of a worker process: the maps in whose items it waits, which cannot end before the wait has
 * (they name no runner of their own, since many run them).  n: of more than AURI_WAIT_MAPS the first count. */
void auri_edge_maps(struct auri_record *node, auri_task *const *maps, size_t n);

/* After publishing: AUR_OK, or AUR_EDEADLK if the wait is part of a cycle; then *ret_error (if not NULL)
 * is filled with one line per edge of the cycle, and the node counts as able to go on: the caller has
 * to end the wait.  A node that waits for helpers cannot; then another thread of the cycle is chosen
 * (its sleep is interrupted, and it finds `victim` set), and the caller just goes on waiting.
 * Who asks elsewhere is told to ask again, since what it says there may have changed. */
aur_err auri_detect(struct auri_record *node, aur_error *reterr_error);
/* The same for a node that waits for helpers, and cannot give up: returns when the node that was chosen in its
 * place, if it waits for a task, has seen that.  Blocks: for that.  Without any lock. */
void auri_detect_owner(struct auri_record *self);

/* What a node needs of those who ask elsewhere: gates as in sched/formula.h.  Gate 0 is the node's own. */
struct auri_need {
    uint32_t need;
    uint32_t n;               /* gates among its inputs ... */
    size_t first;             /* ... of these the first */
    struct auri_record *asks; /* NULL, or one more input: an answer to this one */
};
struct auri_needs {
    size_t gates; /* 0: any of the answers frees the node, or there was no memory to say more */
    struct auri_need *gate;
    size_t inputs;
    uint32_t *input;
};
void auri_needs_free(struct auri_needs *needs);

/* Whether the node can only go on if somebody who asks elsewhere (struct auri_record, `asks`) gets an answer: it
 * asks itself, or waits for such in the end.  Then `needed` is set in the records of all nodes that it waits for so,
 * and in no other, and *ret_needs is how it does.  The caller keeps `asks` of all records as they are meanwhile, and
 * holds the lock of `needed`. */
bool auri_detect_needs_answer(struct auri_record *node, struct auri_needs *ret_needs);

/* The wait of the calling thread's node, put away while it runs something in place of it. */
struct auri_edge {
    uint32_t kind; /* AURI_WAIT_NONE: it did not wait */
    auri_task *task;
    auri_task *const *any;
    size_t any_n;
    _Atomic(uint32_t) *futex;
};
struct auri_edge auri_edge_take(struct auri_record *self);
void auri_edge_put(struct auri_record *self, const struct auri_edge *edge);

/* A queued task that a wait comes down to.  It is this one as long as its waiter's wait_seq is the same. */
struct auri_stuck {
    /* From the caller: whether a task, which may be a stale pointer, is in the queue of its pool. */
    bool (*takes)(const void *pool, const auri_task *task);
    const void *pool;
    auri_task *task;
    struct auri_record *waiter;
    uint64_t seq;
};

enum auri_dry_verdict {
    AURI_DRY_LIVE,   /* it can go on */
    AURI_DRY_RUN,    /* it has to run *ret first, which is in its pool's queue */
    AURI_DRY_OTHERS, /* another worker of a dry pool has to run something first */
    AURI_DRY_NOBODY, /* nobody can: it has to give up its wait */
};

/* Held from a look at dry pools until what it asks for is done.  Else one pool may run something in place of a wait
 * which another pool, that acts at the same time, brings to its end: tests/spin/dry.pml. */
void auri_dry_lock(void);
void auri_dry_unlock(void);

/* For the worker processes of dry pools: what a wait needs so as to end.  With the pool's lock held, and the one
 * above.  Marks (record.h) first, then this: of several pools the one that is marked last sees all of them. */
enum auri_dry_verdict auri_detect_dry(struct auri_record *node, struct auri_stuck *ret);

/* Why the calling thread's record was chosen by another node. */
void auri_victim_error(struct auri_record *self, aur_error *ret_error);

/* Of a node whose wait was refused, or to which auri_detect_dry() said NOBODY: which of its tasks that is about. */
size_t auri_victim_at(struct auri_record *node);

#endif /* AURI_SCHED_DETECT_H */
