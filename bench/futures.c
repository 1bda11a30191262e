/* futures: what a task costs that returns a value, when one thread outside submits many, each with a
 * future, waits for all of them and asks each for its value. */
#include "pools.h"

static long add_one(long x)
{
    return x + 1;
}
AUR_FN(long, add_one, long);

static void run(aur_pool *pool, aur_future **futures, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        check_aur(aur_apply_async(pool, &futures[i], add_one, (long)i), "submit");
    }
    check_aur(aur_wait_all(futures, n, AUR_NO_DEADLINE), "wait");
    for (uint64_t i = 0; i < n; i++) {
        long value;
        check_aur(aur_future_result(futures[i], &value, AUR_NO_DEADLINE), "result");
        check(value == (long)i + 1, "result");
        aur_future_unref(futures[i]);
    }
}

int main(int argc, char **argv)
{
    uint64_t n = option(argc, argv, "n", 1000000);
    AUR_SCOPED(aur_pool) *pool = pool_of(argc, argv);
    aur_future **futures = (aur_future **)calloc(n, sizeof(aur_future *));

    check(futures != NULL, "calloc");
    run(pool, futures, n / 100); /* warms up */
    uint64_t start = now_ns();
    run(pool, futures, n);
    figure("task with future", "ns", (double)(now_ns() - start) / (double)n);
    free(futures);
    return 0;
}
