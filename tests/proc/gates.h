/* gates.h: calls that begin, end and tell by events which workers share with the test. */
#ifndef AURT_GATES_H
#define AURT_GATES_H

#include "pools.h"

static struct gates {
    aurt_event ready; /* the numbers of the futures are there */
    aurt_event begun; /* what was put before says_begun() in a pool of one worker waits */
    aurt_event go;    /* slow calls may end */
} * gates;            /* in memory that workers inherit */

static int slow(int x)
{
    aurt_event_wait(&gates->go);
    return x;
}
AUR_FN(int, slow, int);

static int fast(int x)
{
    return x;
}
AUR_FN(int, fast, int);

/* These two begin only when all workers of their pool wait. */
static int lets_go(int x)
{
    aurt_event_set(&gates->go);
    return x;
}
AUR_FN(int, lets_go, int);

static int says_begun(int x)
{
    aurt_event_set(&gates->begun);
    return x;
}
AUR_FN(int, says_begun, int);

/* The result of an int call; drops the future. */
static int result_of(aur_future *future)
{
    int v = -1;

    AURT_OK(aur_future_result(future, &v, AUR_NO_DEADLINE));
    aur_future_unref(future);
    return v;
}

/* ---- the fixture --------------------------------------------------------------------------- */

static aur_pool *others;    /* of the parent, inherited by the workers of later pools */
static size_t shared_bytes; /* of the gates and what follows them */

/* Memory for a struct of that size, which begins with the gates. */
static inline void *gates_new(size_t bytes)
{
    gates = aurt_shared(bytes);
    shared_bytes = bytes;
    return gates;
}

/* All gates are shut, and all that follows them is zero. */
static inline void gates_reset(void)
{
    memset(gates, 0, shared_bytes);
}

static inline int gates_setup(void **state)
{
    (void)state;
    gates_reset();
    others = aurt_pool_new(AUR_PROCESSES, 3, AUR_START_FORK, 0);
    return 0;
}

static inline int gates_teardown(void **state)
{
    (void)state;
    aurt_event_set(&gates->go);
    aurt_pool_end(others);
    return 0;
}

#endif /* AURT_GATES_H */
