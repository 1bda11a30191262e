/* submit KIND WORKERS: what an empty call costs when many are submitted from outside, without futures,
 * until all are done and the pool is joined. */
#include "bench.h"
#include "pools.h"

#define CALLS 1000000

static void nothing(int x)
{
    (void)x;
}
AUR_FN_VOID(nothing, int);

int main(int argc, char **argv)
{
    aur_pool *pool = pool_of(argc, argv);
    int warm = 0;

    for (int i = 0; i < CALLS / 100; i++) {
        if (pool == NULL || aur_apply_async(pool, NULL, nothing, i) != AUR_OK) {
            return give_up("warm-up");
        }
    }
    while (warm < 10) { /* until what was queued for warming is done */
        if (aur_apply(pool, NULL, nothing, warm++) != AUR_OK) {
            return give_up("apply");
        }
    }
    uint64_t start = now_ns();
    for (int i = 0; i < CALLS; i++) {
        if (aur_apply_async(pool, NULL, nothing, i) != AUR_OK) {
            return give_up("submit");
        }
    }
    if (aur_pool_join(pool, AUR_NO_DEADLINE) != AUR_OK) {
        return give_up("join");
    }
    figure("empty call", "ns", (double)(now_ns() - start) / CALLS);
    aur_pool_unref(pool);
    return 0;
}
