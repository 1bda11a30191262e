/* sync/deque.h: a worker's deque of tasks: the owner pushes and takes at the bottom, thieves steal
 * at the top.  See deque.c for the algorithm and its proof. */
#ifndef AURI_SYNC_DEQUE_H
#define AURI_SYNC_DEQUE_H

#include "base/atomic.h"
#include <stdalign.h>
#include <stddef.h>

struct aur_future;

struct auri_deque_array {
    int64_t mask;                        /* capacity - 1, a power of two minus one */
    struct auri_deque_array *older;      /* smaller arrays that thieves may still read */
    _Atomic(struct aur_future *) slot[]; /* task i lives at slot[i & mask] */
};

struct auri_deque {
    alignas(AURI_CACHE_LINE) _Atomic(int64_t) top;    /* A: next index a thief takes */
    alignas(AURI_CACHE_LINE) _Atomic(int64_t) bottom; /* O: one past the newest task */
    _Atomic(struct auri_deque_array *) array;         /* O: release-published when it grows */
    int64_t top_seen; /* O, and read by it only: top at some earlier moment */
};

typedef enum auri_steal { AURI_STEAL_EMPTY = 0, AURI_STEAL_LOST, AURI_STEAL_TOOK } auri_steal;

/* All fields zero is an empty deque without an array.  Returns false: no memory. */
bool auri_deque_init(struct auri_deque *d);
void auri_deque_fini(struct auri_deque *d);

/* end: one past the last slot in use. */
bool auri_deque_grow_(struct auri_deque *d, int64_t end);

/* Owner only, and here since they are the price of each fork and each nested submit.  push: false if
 * it had to grow and there is no memory. */
static inline bool auri_deque_is_clear(struct auri_deque *d) /* empty: nothing left to steal */
{
    /* relaxed: thieves only ever make it emptier, and the caller does not touch what they took. */
    return auri_load_rlx(&d->top) >= auri_load_rlx(&d->bottom);
}

/* Whether there is a slot for the item `end` without growth. */
static inline bool auri_deque_has_slot_(struct auri_deque *d, int64_t end)
{
    struct auri_deque_array *array = auri_load_rlx(&d->array); /* relaxed: owner's own */

    if (end - d->top_seen > array->mask) {
        /* acquire [P2]; pairs with the CAS [S2] in auri_deque_steal_at(): a slot is reused only after
         * its thief has read it. */
        d->top_seen = auri_load_acq(&d->top);
    }
    return end - d->top_seen <= array->mask;
}

/* Whether a push needs no growth. */
static inline bool auri_deque_has_room(struct auri_deque *d)
{
    return auri_deque_has_slot_(d,
                                auri_load_rlx(&d->bottom)); /* relaxed: only the owner writes it */
}

static inline bool auri_deque_push(struct auri_deque *d, struct aur_future *task)
{
    int64_t bottom = auri_load_rlx(&d->bottom); /* relaxed, both: owner's own */

    if (!auri_deque_has_slot_(d, bottom) && !auri_deque_grow_(d, bottom)) {
        return false;
    }
    struct auri_deque_array *array = auri_load_rlx(&d->array);
    /* relaxed: published by the store to bottom. */
    auri_store_rlx(&array->slot[bottom & array->mask], task);
    /* release [P1]; pairs with the acquire load of bottom [S1] in auri_deque_steal_at(): bottom > top
     * means that slot[top] and its task are fully written. */
    auri_store_rel(&d->bottom, bottom + 1);
    return true;
}

/* Owner only: the place of the next push; grows with each push, and is less by one after each take. */
static inline int64_t auri_deque_end(struct auri_deque *d)
{
    return auri_load_rlx(&d->bottom); /* relaxed: owner's own */
}

/* Owner only: how many it can hold without growth. */
static inline size_t auri_deque_room(struct auri_deque *d)
{
    return (size_t)auri_load_rlx(&d->array)->mask + 1; /* relaxed: owner's own */
}

static inline struct aur_future *auri_deque_take(struct auri_deque *d)
{
    int64_t bottom = auri_load_rlx(&d->bottom) - 1; /* relaxed: owner's own */
    struct auri_deque_array *array = auri_load_rlx(&d->array);

    /* Store, fence, relaxed load [T1]; pairs with load of top, fence, load of bottom [S1] in
     * auri_deque_steal_at().  Either this load of top sees every earlier steal, or the thief's load of
     * bottom sees this store: no task is both taken without a CAS and stolen.
     * release [P3], where the listing is relaxed; pairs with [S1] as [P1] does: a thief that reads this
     * value steals an older task, and must see it written.  C11 lets a relaxed store carry on what
     * [P1] published, C++20 no longer does. */
    auri_store_rel(&d->bottom, bottom);
    auri_fence_sc();
    int64_t top = auri_load_rlx(&d->top);
    if (top > bottom) {
        /* Empty.  relaxed: thieves only compare. */
        auri_store_rlx(&d->bottom, bottom + 1);
        return NULL;
    }
    struct aur_future *task = auri_load_rlx(&array->slot[bottom & array->mask]);
    if (top == bottom) {
        /* The last one: seq_cst [T2] decides against the CAS [S2] of a thief. */
        if (!auri_cas_sc(&d->top, &top, top + 1)) {
            task = NULL;
        }
        auri_store_rlx(&d->bottom, bottom + 1);
    }
    return task;
}

/* Owner only: takes the task out if it is the newest or the oldest.  False: it is neither, or a thief
 * has it. */
bool auri_deque_forget(struct auri_deque *d, struct aur_future *task);

/* Owner only, while it is empty: every steal whose top was read before fails, whatever is pushed
 * later.  So a thief that reads top, then finds that a condition holds which the owner ends before
 * this call, gets what was pushed while it held (sched/join.c). */
void auri_deque_pass(struct auri_deque *d);

/* Any thread.  LOST: another thread took a task just now; try again or elsewhere. */
auri_steal auri_deque_steal(struct auri_deque *d, struct aur_future **ret_task);
/* The same in two steps. */
int64_t auri_deque_top(struct auri_deque *d);
auri_steal auri_deque_steal_at(struct auri_deque *d, int64_t top, struct aur_future **ret_task);

/* Any thread: whether it looked empty at some moment during the call. */
bool auri_deque_looks_empty(struct auri_deque *d);

#endif /* AURI_SYNC_DEQUE_H */
