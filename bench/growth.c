/* growth: whether an empty task from outside costs the same whatever the number of tasks, of workers and
 * of submitting threads; growth.h says how. */
#include "growth.h"
#include "pools.h"

static void nothing(int x)
{
    (void)x;
}
AUR_FN_VOID(nothing, int);

static void *start(unsigned workers)
{
    aur_options opts = AUR_OPTIONS_INIT;
    aur_pool *pool = NULL;

    opts.workers = workers;
    check_aur(aur_pool_new(&opts, &pool, NULL), "pool");
    check_aur(aur_apply(pool, NULL, nothing, 0), "apply");
    return pool;
}

static void submit(void *pool, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        check_aur(aur_apply_async((aur_pool *)pool, NULL, nothing, (int)i), "submit");
    }
}

static void finish(void *pool, uint64_t n)
{
    aur_stats stats = { .size = sizeof(stats) };

    check_aur(aur_pool_join((aur_pool *)pool, AUR_NO_DEADLINE), "join");
    check_aur(aur_pool_stats((aur_pool *)pool, &stats), "stats");
    check(stats.failed + stats.cancelled == 0 && stats.done >= n, "number of tasks done");
    aur_pool_unref((aur_pool *)pool);
}

int main(int argc, char **argv)
{
    static const struct grower grower = { start, submit, finish };

    measure_growth(argc, argv, &grower);
    return 0;
}
