/* handoff: one task that another thread must run (AUR_POOL_NO_HELP), and its result: hot, and after 1 ms
 * in which nothing happened. */
#include "pools.h"

static long add_one(long x)
{
    return x + 1;
}
AUR_FN(long, add_one, long);

static void trip(void *pool)
{
    AUR_SCOPED(aur_future) *f = NULL;
    long value = 0;

    check_aur(aur_apply_async((aur_pool *)pool, &f, add_one, 1), "submit");
    check_aur(aur_future_result(f, &value, AUR_NO_DEADLINE), "wait");
    check(value == 2, "result");
}

int main(int argc, char **argv)
{
    aur_options opts = AUR_OPTIONS_INIT;
    AUR_SCOPED(aur_pool) *pool = NULL;

    opts.workers = (uint32_t)option(argc, argv, "workers", 2);
    opts.flags = AUR_POOL_NO_HELP;
    check_aur(aur_pool_new(&opts, &pool, NULL), "pool");
    measure_hot_and_idle(argc, argv, "parked", trip, pool);
    return 0;
}
