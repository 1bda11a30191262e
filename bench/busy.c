/* busy: tasks of 10 us and 100 us, one future each, against the plain loop over the same work, in turn.
 *
 * 1 would be the loop's time shared out among the workers without any loss. */
#include "loops.h"
#include "pools.h"

static uint64_t work(uint64_t x, uint64_t steps)
{
    return chain(x, steps);
}
AUR_FN(uint64_t, work, uint64_t, uint64_t);

static uint64_t by_loop(uint64_t n, uint64_t steps, uint64_t *ret_sum)
{
    uint64_t start = now_ns(), sum = 0;

    for (uint64_t i = 0; i < n; i++) {
        sum += chain(i, steps);
    }
    *ret_sum = sum;
    return now_ns() - start;
}

static uint64_t by_pool(aur_pool *pool, aur_future **futures, uint64_t n, uint64_t steps,
                        uint64_t *ret_sum)
{
    uint64_t start = now_ns(), sum = 0, value;

    for (uint64_t i = 0; i < n; i++) {
        check_aur(aur_apply_async(pool, &futures[i], work, i, steps), "submit");
    }
    for (uint64_t i = 0; i < n; i++) {
        check_aur(aur_future_result(futures[i], &value, AUR_NO_DEADLINE), "result");
        aur_future_unref(futures[i]);
        sum += value;
    }
    *ret_sum = sum;
    return now_ns() - start;
}

int main(int argc, char **argv)
{
    uint64_t workers = option(argc, argv, "workers", 2), most = option(argc, argv, "n", 20000);
    size_t repeats = option(argc, argv, "repeats", 3);
    AUR_SCOPED(aur_pool) *pool = pool_of(argc, argv);
    aur_future **futures = (aur_future **)calloc(most, sizeof(aur_future *));
    uint64_t loops[101], pools[101], expected, got;

    check(futures != NULL && repeats >= 1 && repeats <= 101, "options");
    for (uint64_t us = 10; us <= 100; us *= 10) {
        uint64_t steps = steps_of(us * 1000), n = most * 10 / us;
        char name[16];

        by_pool(pool, futures, n / 10, steps, &got); /* warms up */
        for (size_t i = 0; i < repeats; i++) {
            loops[i] = by_loop(n, steps, &expected);
            pools[i] = by_pool(pool, futures, n, steps, &got);
            check(got == expected, "sum of the results");
        }
        snprintf(name, sizeof(name), "%u us", (unsigned)us);
        figure(name, "x",
               (double)percentile(pools, repeats, 50) * (double)workers /
                   (double)percentile(loops, repeats, 50));
    }
    free(futures);
    return 0;
}
