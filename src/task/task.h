/* task/task.h: one call, from submit to outcome.  A task and its future are the same object.
 *
 * Tasks live in process-wide slabs that are never returned to the system, so a pointer to a task can
 * always be read; whether it still means the same call is told by the generation in its word.
 *
 * The word (64 bits; the futex that waiters sleep on is its low half)
 *   bits 0-7    state       see below
 *   bits 8-15   flags       see below
 *   bits 16-31  owner       id of the record (task/record.h) that runs it; 0 unless RUNNING, for a map in the
 *                           hands of worker processes, and once such a worker has answered a call
 *   bits 32-63  generation  +1 each time the slot is freed
 *
 *   state      meaning                                   left by
 *   FREE       on a free list                            auri_task_new
 *   NEW        being filled by its creator               auri_task_queue
 *   QUEUED     may be claimed by anybody                 auri_task_claim, auri_task_cancel_queued
 *   RUNNING    exactly one runner, named by owner        auri_task_finish, auri_task_requeue
 *   DONE       outcome fixed                             the last unref -> FREE
 *
 *   flag       meaning                                   set by            cleared by
 *   WAITERS    somebody may sleep on the futex; may be   waiter            finish
 *              set in vain, never missing
 *   CONTS      conts is or was not empty                 auri_cont_add     finish
 *   CANCEL     the runner should stop early              canceller         finish
 *   SEEN       somebody asked for the error              any               never
 *   HOLDS      the task keeps its pool's memory alive    queue             never
 *   HELP       a thread that waits for it may run it     queue             never
 *   POKE       no meaning; it changes, so that a waiter  detector          finish
 *              that is about to sleep looks again
 *   SOLE       nobody got a handle: see below            new               never
 *
 * The right to run a task is the CAS QUEUED -> RUNNING and nothing else: queues are hints.  A queue
 * holds one reference for the pointer in it, dropped by whoever takes the pointer out, whether it
 * won the claim or not.
 *
 * SOLE: the pointer in the queue is the only one there is, and whoever takes it out is alone with the
 * task.  So claim and finish are plain stores, ordered by the queue that passes the pointer on, and there
 * is no count: refs is 0 from new to free, so that no stale id ever gets a reference (tryref), and
 * auri_task_unref_queued() frees.  For queues that give each pointer to one taker (struct auri_backend,
 * `sole`). */
#ifndef AURI_TASK_TASK_H
#define AURI_TASK_TASK_H

#include <string.h>

#include "task/layout.h"

enum { AURI_FREE = 0, AURI_NEW, AURI_QUEUED, AURI_RUNNING, AURI_DONE };

#define AURI_STATE_MASK UINT64_C(0xff)
#define AURI_FLAGS_MASK UINT64_C(0xff00)
#define AURI_F_WAITERS UINT64_C(0x100)
#define AURI_F_CONTS UINT64_C(0x200)
#define AURI_F_CANCEL UINT64_C(0x400)
#define AURI_F_SEEN UINT64_C(0x800)
#define AURI_F_HOLDS UINT64_C(0x1000)
#define AURI_F_HELP UINT64_C(0x2000)
#define AURI_F_POKE UINT64_C(0x4000)
#define AURI_F_SOLE UINT64_C(0x8000)
#define AURI_OWNER_SHIFT 16
#define AURI_GEN_SHIFT 32
#define AURI_GEN_MASK (~UINT64_C(0) << AURI_GEN_SHIFT)

#define auri_word_state(w) ((unsigned)((w)&AURI_STATE_MASK))
#define auri_word_owner(w) ((unsigned)((w) >> AURI_OWNER_SHIFT) & 0xffffu)
#define auri_word_gen(w) ((uint32_t)((w) >> AURI_GEN_SHIFT))
/* What auri_task_tells() is about; not what fresh memory says in generation 0. */
#define auri_word_told(w) ((uint8_t)(auri_word_gen(w) + 1))

/* The line that running or refilling a small task writes, if another thread had it last. */
static inline void auri_task_prefetch(const auri_task *task)
{
    auri_prefetch_write(task);
}

/* A list of tasks that another thread has made is a chain of cache misses: the next link is not known
 * before the one before it has come.  So each task in such a list names another one, some AURI_AHEAD links
 * further on, in `other`; who goes along the list fetches that one early.  It is a hint: it may be any task of
 * any time, or NULL, and nothing is read there.  bench/submit chose the distance. */
#define AURI_AHEAD 16u
struct auri_ahead {
    auri_task *last
        [AURI_AHEAD]; /* the thread's own: what it has put into such lists lately; the first n */
    uint32_t n;
};

/* The task goes into such a list, in front of what the thread put there before.  Nobody else knows it, or it
 * is SOLE: any other that a queue names may be claimed at any time, and then `other` is the runner's. */
static inline void auri_ahead_note(struct auri_ahead *ahead, auri_task *task)
{
    uint32_t n = ahead->n++;
    auri_task **place = &ahead->last[n % AURI_AHEAD];

    auri_store_rlx(&task->other, n >= AURI_AHEAD ? *place : NULL); /* relaxed: a hint */
    *place = task;
}

static inline auri_task *auri_ahead_of(auri_task *task)
{
    return auri_load_rlx(&task->other); /* relaxed: a hint */
}

static inline bool auri_task_is_bytes(const auri_task *task)
{
    return task->fn != NULL && (task->fn->flags & AUR_FN_BYTES) != 0;
}

/* A task in state NEW with `refs` references, all other fields but the store zero; NULL: no memory.  refs 0: a SOLE one,
 * which counts as one reference. */
auri_task *auri_task_new(uint32_t refs);

/* Room for an argument record of fn (copied from args) and for its result.  AUR_ENOMEM. */
aur_err auri_task_fill(auri_task *task, const aur_fn *fn, const void *args);

/* Whether record and result fit as most do, so that auri_task_fill() has nothing to decide. */
static inline bool auri_fn_is_small(const aur_fn *fn)
{
    return fn->args_align <= alignof(uint64_t) && fn->args_size <= AURI_INLINE_BYTES &&
           fn->ret_align <= 16 && fn->ret_size <= AURI_INLINE_BYTES &&
           auri_ret_at(fn, AURI_ARGS_FIRST) + fn->ret_size <= sizeof(auri_task);
}

/* The same for such a one, whose size the compiler may know. */
static inline void auri_task_fill_small(auri_task *task, const aur_fn *fn, const void *args)
{
    task->fn = fn;
    if (fn->args_size == sizeof(uint64_t)) {
        memcpy(task->store.bytes, args, sizeof(uint64_t));
    } else if (fn->args_size == sizeof(uint32_t)) {
        memcpy(task->store.bytes, args, sizeof(uint32_t));
    } else {
        memcpy(task->store.bytes, args, fn->args_size);
    }
}

/* NEW -> QUEUED, by the creator, before the task is put into any queue; task->pool is set.  If the pool's
 * backend has progress(), the task holds the pool from now on, so that a waiter can always call it; a SOLE one
 * has no waiter. */
void auri_task_queue(auri_task *task);

/* The same where it is known which of AURI_F_HOLDS and AURI_F_HELP the task gets; the hold was taken. */
static inline void auri_task_queue_as(auri_task *task, uint64_t flags)
{
    uint64_t word = auri_load_rlx(&task->word); /* relaxed: still the creator's alone */

    /* release [Q1]; pairs with the acquire of the claim [Q2]: the runner sees fn and args. */
    auri_store_rel(&task->word, (word & (AURI_GEN_MASK | AURI_F_SOLE)) | flags | AURI_QUEUED);
}

/* QUEUED -> RUNNING owned by `owner` (a record id).  True: the caller must run and finish it. */
bool auri_task_claim(auri_task *task, unsigned owner);

/* The same for a SOLE one, which is QUEUED and the caller's alone; not for a pool with queue_max. */
static inline uint64_t auri_word_claimed(uint64_t word, unsigned owner)
{
    return (word & ~(AURI_STATE_MASK | (UINT64_C(0xffff) << AURI_OWNER_SHIFT))) | AURI_RUNNING |
           ((uint64_t)owner << AURI_OWNER_SHIFT);
}
static inline void auri_task_claim_sole(auri_task *task, unsigned owner)
{
    /* relaxed: nobody else has the pointer.  The queue that passed it on, [P1] and [S1] of the deque
     * or [I1] and [I2] of the inbox, or the lock of a process pool, has shown us what the creator wrote. */
    auri_store_rlx(&task->word, auri_word_claimed(auri_load_rlx(&task->word), owner));
}

/* RUNNING, and nobody runs it any more: its outcome is here, and is about to be published.  So whatever its runner
 * does now does not keep it from ending.  Before the runner's next wait edge is published (sched/detect.h). */
void auri_task_disown(auri_task *task);

/* RUNNING -> QUEUED, by the runner, for another attempt. */
void auri_task_requeue(auri_task *task);

/* RUNNING -> DONE, by the runner, after err, error and ret are set: wakes waiters, runs the
 * continuations, counts the outcome in the pool (auri_pool_finished).  Does not drop a reference, but
 * the caller must hold one across the call. */
void auri_task_finish(auri_task *task);
/* The same without the count that join waits for: the caller owes auri_pool_finished(pool, 1), and may
 * pay several together. */
void auri_task_finish_uncounted(auri_task *task);

/* QUEUED -> DONE with AUR_ECANCELED.  False: too late. */
bool auri_task_cancel_queued(auri_task *task);

/* Fills error (malloc'ed) and err.  Runner only.  The text is cut at 511 bytes. */
aur_error *auri_task_fail(auri_task *task, aur_err err, const char *format, ...) AUR_PRINTF(3, 4);

static inline bool auri_task_is_done(const auri_task *task)
{
    /* acquire: pairs with the exchange in auri_task_finish(): outcome and result are visible. */
    uint64_t word = auri_load_acq(&((auri_task *)task)->word);
    return auri_word_state(word) == AURI_DONE;
}

void auri_task_ref(auri_task *task);
void auri_task_unref(auri_task *task); /* not of a SOLE one */

/* The queue's reference, by whoever took the task out, or has not put it in.  sole: asked while nobody
 * works on the task, since afterwards its word may be on its way to a waiter. */
void auri_task_unref_queued(auri_task *task, bool sole);
static inline bool auri_task_is_sole(const auri_task *task)
{
    /* relaxed: the flag is constant for who has a reference. */
    return (auri_load_rlx(&((auri_task *)task)->word) & AURI_F_SOLE) != 0;
}

/* A reference to whatever call the slot holds now; false if it holds none.  The caller must then
 * compare generations: the slot may have been reused. */
bool auri_task_tryref(auri_task *task);

/* The task that id (aur_future_id) names, with a new reference; NULL: none. */
auri_task *auri_task_from_id(uint64_t id);
static inline uint64_t auri_task_id(const auri_task *task)
{
    uint64_t word =
        auri_load_rlx(&((auri_task *)task)->word); /* relaxed: gen is constant for a ref */
    return (word & AURI_GEN_MASK) | task->index;
}

/* The futex of the task. */
static inline _Atomic(uint32_t) *auri_task_futex(auri_task *task)
{
    _Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the low half comes first");
    return (_Atomic(uint32_t) *)(void *)&task->word;
}

/* ---- continuations (task/cont.c) ----------------------------------------------------------- */

/* Runs once the task is done, in the thread that finished it (or in the adder, if it was done).
 * Embedded in its user's object.  `fire` may free the node. */
struct auri_cont {
    struct auri_cont *next; /* L */
    void (*fire)(struct auri_cont *self, auri_task *task);
};

/* False: the task was done already and the node was not added (the caller fires it).  The caller has a
 * reference to the task. */
bool auri_cont_add(auri_task *task, struct auri_cont *cont);
/* False: it has fired or is firing. */
bool auri_cont_remove(auri_task *task, struct auri_cont *cont);
/* By auri_task_finish() only. */
void auri_conts_run(auri_task *task);

#endif /* AURI_TASK_TASK_H */
