/* A work-stealing deque after Chase and Lev, "Dynamic circular work-stealing deque" (SPAA 2005), with
 * the C11 orders of Le, Pop, Cohen and Zappa Nardelli, "Correct and efficient work-stealing for weak
 * memory models" (PPoPP 2013).  Changes: a grown array is published with release and read with
 * acquire (a checker found the relaxed form of the listing wrong); replaced arrays are kept until the
 * deque dies, which costs at most as much memory again and needs no reclamation protocol.
 *
 * Invariant: top never decreases, and 0 <= bottom - top <= mask + 1, except that the owner may hold
 * bottom at top - 1 for the length of one auri_deque_take().
 * Progress: push and take are wait-free but for growth; steal is lock-free. */
#include "sync/deque.h"

#include <stdlib.h>

#ifndef AURI_DEQUE_FIRST /* a test makes it small */
#define AURI_DEQUE_FIRST 256
#endif

static struct auri_deque_array *array_new(int64_t capacity)
{
    struct auri_deque_array *array =
        malloc(sizeof(*array) + (size_t)capacity * sizeof(array->slot[0]));

    if (array != NULL) {
        array->mask = capacity - 1;
        array->older = NULL;
    }
    return array;
}

bool auri_deque_init(struct auri_deque *d)
{
    struct auri_deque_array *array = array_new(AURI_DEQUE_FIRST);

    if (array == NULL) {
        return false;
    }
    /* relaxed: the deque becomes known to other threads later, through a release store. */
    auri_store_rlx(&d->top, 0);
    auri_store_rlx(&d->bottom, 0);
    auri_store_rlx(&d->array, array);
    return true;
}

void auri_deque_fini(struct auri_deque *d)
{
    struct auri_deque_array *array = auri_load_rlx(&d->array); /* relaxed: no other user is left */

    while (array != NULL) {
        struct auri_deque_array *older = array->older;
        free(array);
        array = older;
    }
    auri_store_rlx(&d->array, NULL);
}

/* Doubles the array.  Owner only. */
static struct auri_deque_array *grow(struct auri_deque *d, struct auri_deque_array *old,
                                     int64_t top, int64_t bottom)
{
    struct auri_deque_array *wide = array_new((old->mask + 1) * 2);

    if (wide == NULL) {
        return NULL;
    }
    for (int64_t i = top; i < bottom; i++) {
        /* relaxed: the owner wrote these slots itself; thieves see them by the release below. */
        struct aur_future *task = auri_load_rlx(&old->slot[i & old->mask]);
        auri_store_rlx(&wide->slot[i & wide->mask], task);
    }
    wide->older = old;
    /* release [G1]; pairs with the acquire load [G2] in auri_deque_steal(): whoever sees the new
     * array sees the slots copied into it. */
    auri_store_rel(&d->array, wide);
    return wide;
}

bool auri_deque_push(struct auri_deque *d, struct aur_future *task)
{
    /* relaxed: only the owner writes bottom. */
    int64_t bottom = auri_load_rlx(&d->bottom);
    /* acquire [P2]; pairs with the CAS [S2] in auri_deque_steal(): a slot is reused only after its
     * thief has read it. */
    int64_t top = auri_load_acq(&d->top);
    struct auri_deque_array *array = auri_load_rlx(&d->array); /* relaxed: owner's own */

    if (bottom - top > array->mask) {
        array = grow(d, array, top, bottom);
        if (array == NULL) {
            return false;
        }
    }
    /* relaxed: published by the store to bottom. */
    auri_store_rlx(&array->slot[bottom & array->mask], task);
    /* release [P1]; pairs with the acquire load of bottom [S1] in auri_deque_steal(): bottom > top
     * means that slot[top] and its task are fully written. */
    auri_store_rel(&d->bottom, bottom + 1);
    return true;
}

struct aur_future *auri_deque_take(struct auri_deque *d)
{
    int64_t bottom = auri_load_rlx(&d->bottom) - 1; /* relaxed: owner's own */
    struct auri_deque_array *array = auri_load_rlx(&d->array);

    /* Store, fence, relaxed load [T1]; pairs with load of top, fence, load of bottom [S1] in
     * auri_deque_steal().  Either this load of top sees every earlier steal, or the thief's load of
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

auri_steal auri_deque_steal(struct auri_deque *d, struct aur_future **ret_task)
{
    int64_t top = auri_load_acq(&d->top);
    auri_fence_sc(); /* [S1], see [T1] */
    /* acquire [S1]; pairs with the release store [P1] in auri_deque_push(). */
    int64_t bottom = auri_load_acq(&d->bottom);
    if (top >= bottom) {
        return AURI_STEAL_EMPTY;
    }
    /* acquire [G2]; pairs with [G1] in grow(). */
    struct auri_deque_array *array = auri_load_acq(&d->array);
    /* relaxed: visible by [P1] or [G1].  The owner may be overwriting this very slot if top has moved
     * on; then the CAS fails and the value is never used. */
    struct aur_future *task = auri_load_rlx(&array->slot[top & array->mask]);
    /* seq_cst [S2]: decides the race for the last task against [T2].  Its release part pairs with
     * [P2]. */
    if (!auri_cas_sc(&d->top, &top, top + 1)) {
        return AURI_STEAL_LOST;
    }
    *ret_task = task;
    return AURI_STEAL_TOOK;
}

bool auri_deque_looks_empty(struct auri_deque *d)
{
    /* acquire: a caller that scans before it sleeps has a fence before this (sched/threads.c). */
    int64_t top = auri_load_acq(&d->top);
    int64_t bottom = auri_load_acq(&d->bottom);

    return top >= bottom;
}
