/* start KIND WORKERS: from nothing to the first result, and until the pool is gone. */
#include "bench.h"
#include "pools.h"

#define TIMES 40

static long add_one(long x)
{
    return x + 1;
}
AUR_FN(long, add_one, long);

int main(int argc, char **argv)
{
    uint64_t first[TIMES], whole[TIMES];

    for (int i = 0; i < TIMES; i++) {
        AUR_SCOPED(aur_future) *f = NULL;
        long value;
        uint64_t start = now_ns();
        aur_pool *pool = pool_of(argc, argv);

        if (pool == NULL || aur_apply_async(pool, &f, add_one, 1) != AUR_OK ||
            aur_future_result(f, &value, AUR_NO_DEADLINE) != AUR_OK) {
            return give_up("first result");
        }
        first[i] = now_ns() - start;
        if (aur_pool_join(pool, AUR_NO_DEADLINE) != AUR_OK) {
            return give_up("join");
        }
        aur_pool_unref(pool);
        whole[i] = now_ns() - start;
    }
    figure("first result", "ms", (double)percentile(first, TIMES, 50) / 1e6);
    figure("first result and stop", "ms", (double)percentile(whole, TIMES, 50) / 1e6);
    return 0;
}
