/* auto_rig.h: verdicts of AUR_AUTO that tests make up. */
#ifndef AURT_AUTO_RIG_H
#define AURT_AUTO_RIG_H

#include "kinds.h"

#include "pool/auto.h"

static inline void wait_idle(aur_pool *pool)
{
    while (!auri_pool_is_idle(pool)) { /* the last call is counted out after its waiter knows */
        sched_yield();
    }
}

/* Feeds the verdict on fn with what such a function costs, until it is that. */
static inline void decide(aur_pool *pool, const aur_fn *fn, uint32_t choice)
{
    static const struct auri_measure measure = { .cheap_ns = 1000,
                                                 .may_loop = true,
                                                 .side_by_side = true };
    static const struct auri_outcome alone[] = {
        [AURI_TO_LOOP] = { .wall_ns = 200, .cpu_ns = 200 },
        [AURI_TO_THREADS] = { .wall_ns = 100000, .cpu_ns = 100000 },
        [AURI_WAITS] = { .wall_ns = 100000, .cpu_ns = 3000, .slept = true },
        [AURI_TO_PROCESSES] = { .wall_ns = 100000, .cpu_ns = 100000 },
    };
    struct auri_outcome beside = alone[choice];
    struct auri_verdict *verdict = auri_auto_verdict(pool, fn);

    assert_non_null(verdict);
    beside.beside = 3;
    if (choice == AURI_TO_PROCESSES) {
        beside.wall_ns *= 3;
        beside.slept = true;
    }
    wait_idle(pool);
    for (int i = 0; atomic_load(&verdict->choice) != choice; i++) {
        assert_true(i < 1000);
        auri_verdict_count(verdict, &measure, i % 16 < 4 ? &alone[choice] : &beside);
    }
}

#endif /* AURT_AUTO_RIG_H */
