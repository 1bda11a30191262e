/* apply.c: apply_async in a loop, with the results collected outside of it.
 *
 * In Python:   for param in params: res = pool.apply_async(add, param)   and res.get() afterwards
 *
 * A wait inside the loop is the classic mistake: then the next call is not even submitted before
 * the last one is done, and never more than one runs.  No clock is needed to show it: the calls
 * count themselves.
 */
#include <auriga.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#define CALLS 10

static atomic_int running;       /* calls that have begun and not ended */
static atomic_int most;          /* the highest value that `running` ever had */
static pthread_barrier_t couple; /* opens when two calls are at it */

static int add(int x, int y)
{
    int now = atomic_fetch_add(&running, 1) + 1;

    if (now > atomic_load(&most)) {
        atomic_store(&most, now);
    }
    atomic_fetch_sub(&running, 1);
    return x + y;
}
AUR_FN(int, add, int, int);

/* Goes on only once a second call runs beside this one. */
static int add_beside_another(int x, int y)
{
    pthread_barrier_wait(&couple);
    return x + y;
}
AUR_FN(int, add_beside_another, int, int);

int main(void)
{
    AUR_SCOPED(aur_pool) *pool = NULL; /* closed and joined when main ends */
    aur_options opts = AUR_OPTIONS_INIT;

    opts.workers = 2;
    pthread_barrier_init(&couple, NULL, 2);
    if (aur_pool_new(&opts, &pool, NULL) != AUR_OK) {
        return 1;
    }

    /* The mistake: the wait is in the loop. */
    for (int i = 0; i < CALLS; i++) {
        AUR_SCOPED(aur_future) *res = NULL;
        int sum;

        if (aur_apply_async(pool, &res, add, i, 2) != AUR_OK ||
            aur_future_result(res, &sum, AUR_NO_DEADLINE) != AUR_OK || sum != i + 2) {
            return 1;
        }
    }
    printf("waiting inside the loop: at most %d call ran at a time\n", atomic_load(&most));

    /* The right way: submit all, then collect.  The results are in the order of the futures. */
    aur_future *futures[CALLS];
    for (int i = 0; i < CALLS; i++) {
        if (aur_apply_async(pool, &futures[i], add_beside_another, i, 2) != AUR_OK) {
            return 1;
        }
    }
    printf("waiting outside: each call ran beside another one; results");
    for (int i = 0; i < CALLS; i++) {
        int sum;

        if (aur_future_result(futures[i], &sum, AUR_NO_DEADLINE) != AUR_OK) {
            return 1;
        }
        printf(" %d", sum);
        aur_future_unref(futures[i]);
    }
    printf("\n");
    return 0;
}
