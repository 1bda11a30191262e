/* skew, memory: uneven loops, and one that the memory limits, by aur_for(); see uneven.h.
 *
 * One source, two programs: BENCH_MEASURE is measure_skew or measure_memory. */
#include "uneven.h"
#include "pools.h"

static void range(uint64_t lo, uint64_t hi, struct loop *loop)
{
    loop_range(loop, lo, hi);
}
AUR_RANGE_FN(range, struct loop);

static void by_for(void *pool, const struct loop *loop)
{
    struct loop copy = *loop;

    check_aur(aur_for((aur_pool *)pool, 0, loop->n, range, &copy), "for");
}

int main(int argc, char **argv)
{
    AUR_SCOPED(aur_pool) *pool = pool_of(argc, argv);

    return BENCH_MEASURE(argc, argv, by_for, pool);
}
