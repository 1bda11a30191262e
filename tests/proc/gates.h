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

#endif /* AURT_GATES_H */
