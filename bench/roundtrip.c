/* roundtrip KIND WORKERS: from the call to its result, hot and after 1 ms in which nothing happened.
 *
 * "apply" is the call that waits; the library may run it in the calling thread.  "submit + result" is a
 * future and a wait for it. */
#include "bench.h"
#include "pools.h"

static long add_one(long x)
{
    return x + 1;
}
AUR_FN(long, add_one, long);

static void apply(void *pool)
{
    long value = 0;

    if (aur_apply((aur_pool *)pool, &value, add_one, 1) != AUR_OK || value != 2) {
        exit(give_up("apply"));
    }
}

static void submit(void *pool)
{
    AUR_SCOPED(aur_future) *f = NULL;
    long value = 0;

    if (aur_apply_async((aur_pool *)pool, &f, add_one, 1) != AUR_OK ||
        aur_future_result(f, &value, AUR_NO_DEADLINE) != AUR_OK || value != 2) {
        exit(give_up("submit"));
    }
}

int main(int argc, char **argv)
{
    AUR_SCOPED(aur_pool) *pool = pool_of(argc, argv);

    if (pool == NULL) {
        return give_up("pool");
    }
    measure_round_trips("apply, hot", apply, pool, HOT_TRIPS, 0);
    measure_round_trips("submit + result, hot", submit, pool, HOT_TRIPS, 0);
    measure_round_trips("apply, after 1 ms idle", apply, pool, IDLE_TRIPS, IDLE_US);
    measure_round_trips("submit + result, after 1 ms idle", submit, pool, IDLE_TRIPS, IDLE_US);
    return 0;
}
