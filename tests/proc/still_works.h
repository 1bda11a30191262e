/* still_works.h: the end of a pool whose workers were mistreated: it still works, and ends. */
#ifndef AURT_STILL_WORKS_H
#define AURT_STILL_WORKS_H

#include "pools.h"

static inline int twice(int x)
{
    return 2 * x;
}
AUR_FN(int, twice, int);

static inline void aurt_pool_works_and_ends(aur_pool *pool)
{
    int in[40], out[40];

    for (int i = 0; i < 40; i++) {
        in[i] = i;
    }
    AURT_OK(aur_map(pool, twice, in, 40, out));
    for (int i = 0; i < 40; i++) {
        assert_int_equal(out[i], 2 * i);
    }
    aurt_pool_end(pool);
}

#endif /* AURT_STILL_WORKS_H */
