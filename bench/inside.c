/* inside: what an empty task costs that another task submits to its own pool, without futures, from the
 * first submit until all are done and the pool is joined. */
#include "pools.h"

static void nothing(int x)
{
    (void)x;
}
AUR_FN_VOID(nothing, int);

static long submit_all(long n)
{
    for (long i = 0; i < n; i++) {
        check_aur(aur_apply_async(aur_pool_current(), NULL, nothing, (int)i), "submit");
    }
    return n;
}
AUR_FN(long, submit_all, long);

int main(int argc, char **argv)
{
    long n = (long)option(argc, argv, "n", 1000000), value = 0;
    AUR_SCOPED(aur_future) *future = NULL;
    aur_pool *pool = pool_of(argc, argv);

    check_aur(aur_apply(pool, &value, submit_all, n / 100), "warm-up");
    uint64_t start = now_ns();
    check_aur(aur_apply_async(pool, &future, submit_all, n), "submit");
    check_aur(aur_pool_join(pool, AUR_NO_DEADLINE), "join");
    figure("empty task", "ns", (double)(now_ns() - start) / (double)n);
    check_aur(aur_future_result(future, &value, AUR_NO_DEADLINE), "result");
    aur_stats stats = { .size = sizeof(stats) };
    check_aur(aur_pool_stats(pool, &stats), "stats");
    check(value == n && stats.failed + stats.cancelled == 0, "number of tasks done");
    aur_pool_unref(pool);
    return 0;
}
