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
    d->top_seen = 0;
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

bool auri_deque_grow_(struct auri_deque *d, int64_t end)
{
    struct auri_deque_array *old = auri_load_rlx(&d->array); /* relaxed: owner's own */
    struct auri_deque_array *wide = array_new((old->mask + 1) * 2);

    if (wide == NULL) {
        return false;
    }
    for (int64_t i = d->top_seen; i < end; i++) {
        /* relaxed: the owner wrote these slots itself; thieves see them by the release below. */
        struct aur_future *task = auri_load_rlx(&old->slot[i & old->mask]);
        auri_store_rlx(&wide->slot[i & wide->mask], task);
    }
    wide->older = old;
    /* release [G1]; pairs with the acquire load [G2] in auri_deque_steal_at(): whoever sees the new
     * array sees the slots copied into it. */
    auri_store_rel(&d->array, wide);
    return true;
}

int64_t auri_deque_top(struct auri_deque *d)
{
    /* acquire [S1], the first half; also pairs with [B1] in auri_deque_pass(). */
    return auri_load_acq(&d->top);
}

auri_steal auri_deque_steal_at(struct auri_deque *d, int64_t top, struct aur_future **ret_task)
{
    auri_fence_sc(); /* [S1], see [T1] */
    /* acquire [S1]; pairs with the release store [P1] in auri_deque_push(). */
    int64_t bottom = auri_load_acq(&d->bottom);
    if (top >= bottom) {
        return AURI_STEAL_EMPTY;
    }
    /* acquire [G2]; pairs with [G1] in auri_deque_grow_(). */
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

auri_steal auri_deque_steal(struct auri_deque *d, struct aur_future **ret_task)
{
    return auri_deque_steal_at(d, auri_deque_top(d), ret_task);
}

bool auri_deque_forget(struct auri_deque *d, struct aur_future *task)
{
    /* relaxed: only the owner writes bottom, the array and the slots. */
    int64_t bottom = auri_load_rlx(&d->bottom);
    struct auri_deque_array *array = auri_load_rlx(&d->array);
    int64_t top = auri_deque_top(d);
    struct aur_future *got = NULL;

    if (top >= bottom) {
        return false;
    }
    if (auri_load_rlx(&array->slot[(bottom - 1) & array->mask]) == task) {
        return auri_deque_take(d) != NULL; /* this one, if no thief is faster */
    }
    return auri_load_rlx(&array->slot[top & array->mask]) == task &&
           auri_deque_steal_at(d, top, &got) == AURI_STEAL_TOOK;
}

void auri_deque_pass(struct auri_deque *d)
{
    int64_t bottom = auri_load_rlx(&d->bottom); /* relaxed: owner's own */

    /* Empty, so top is bottom, and no thief's CAS can succeed meanwhile: one that has read this top
     * finds no bottom above it until the second store, and then fails by the first.
     * release [B1]; pairs with the acquire load in auri_deque_top(). */
    auri_store_rel(&d->top, bottom + 1);
    /* release: a thief that sees this bottom sees the top before it, or holds an older top. */
    auri_store_rel(&d->bottom, bottom + 1);
}

bool auri_deque_looks_empty(struct auri_deque *d)
{
    /* acquire: a caller that scans before it sleeps has a fence before this (sched/threads.c). */
    int64_t top = auri_load_acq(&d->top);
    int64_t bottom = auri_load_acq(&d->bottom);

    return top >= bottom;
}
