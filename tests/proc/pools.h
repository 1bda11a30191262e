/* pools.h: a pool with the options that most tests need, and its end; checks inside tasks. */
#ifndef AURT_POOLS_H
#define AURT_POOLS_H

#include "aurt.h"

#include <auriga.h>

/* In a task that returns an int: the line that does not hold is its result. */
#define MUST(...)                                                                                  \
    if (!(__VA_ARGS__)) {                                                                          \
        return __LINE__;                                                                           \
    }

/* start counts for AUR_PROCESSES only. */
static inline aur_pool *aurt_pool_new(int kind, uint32_t workers, int start, uint32_t spares)
{
    aur_options opts = AUR_OPTIONS_INIT;
    aur_pool *pool = NULL;

    opts.kind = kind;
    opts.start = kind == AUR_PROCESSES ? start : AUR_START_DEFAULT;
    opts.workers = workers;
    opts.spares_max = spares;
    AURT_OK(aur_pool_new(&opts, &pool, NULL));
    return pool;
}

static inline void aurt_pool_end(aur_pool *pool)
{
    AURT_OK(aur_pool_join(pool, AUR_NO_DEADLINE));
    aur_pool_unref(pool);
}

#endif /* AURT_POOLS_H */
