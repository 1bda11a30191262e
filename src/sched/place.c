/* See place.h. */
#include "sched/place.h"

enum { AWAKE = 0, CHANGING, CHANGED, ASLEEP };

void auri_place_asleep(struct auri_place *place)
{
    auri_place_awake(place); /* a change that was under way when it last woke */
    if (auri_load_rlx(&place->state) == AWAKE) {
        /* release [P1]; pairs with [P2]: a waker writes `before` after our last read of it. */
        auri_store_rel(&place->state, ASLEEP + (uint32_t)aurp_thread_self());
    }
}

void auri_place_awake(struct auri_place *place)
{
    uint32_t seen = auri_load_acq(&place->state); /* acquire; pairs with [P3]: sees `before` */

    if (seen >= ASLEEP) {
        (void)auri_cas_acq(&place->state, &seen, AWAKE); /* lost: seen is CHANGING or CHANGED */
    }
    if (seen == CHANGED) {
        aurp_cpus_allow(&place->before);
        auri_store_rlx(&place->state, AWAKE); /* relaxed: only this thread leaves AWAKE */
    }
}

void auri_place_end(struct auri_place *place)
{
    auri_place_awake(place);
    /* Until the word says AWAKE, which only this thread leaves; hence relaxed.  No other state will do: a
     * change that was refused leaves ASLEEP, and the next waker may be at it before we look again. */
    while (auri_load_rlx(&place->state) != AWAKE) {
        /* CHANGING is two system calls, which do not sleep, of one who wakes workers of this pool. */
        auri_cpu_relax();
        auri_place_awake(place);
    }
}

bool auri_place_leave(struct auri_place *place, int cpu)
{
    /* relaxed: in AWAKE, which nobody else ends, nobody else changes where we may run. */
    return auri_load_rlx(&place->state) == AWAKE && cpu == aurp_cpu_here() &&
           aurp_cpus_leave(aurp_thread_self(), cpu);
}

bool auri_place_elsewhere(struct auri_place *place)
{
    uint32_t seen = auri_load_rlx(&place->state);

    /* acquire [P2]; pairs with [P1]. */
    if (seen < ASLEEP || !auri_cas_acq(&place->state, &seen, CHANGING)) {
        return false;
    }
    bool changed = aurp_cpus_keep_off((int)(seen - ASLEEP), aurp_cpu_here(), &place->before);
    /* release [P3].  Unchanged: the worker may sleep on, and is offered again next time. */
    auri_store_rel(&place->state, changed ? (uint32_t)CHANGED : seen);
    return changed;
}
