/* start: from nothing to the first result of each worker, and until the pool is gone.
 *
 * Each task waits until as many run as there are workers, so every worker has to answer.  They meet in
 * memory that forked workers share; spawned ones find no such memory, and any worker may then answer
 * for another.  parent_mib: so much of this process's memory is in use before. */
#include "pools.h"

#include <stdatomic.h>
#include <sys/mman.h>

static atomic_uint *arrived; /* shared */

static long meet(unsigned workers)
{
    if (arrived != NULL) {
        atomic_fetch_add_explicit(arrived, 1, memory_order_acq_rel);
        while (atomic_load_explicit(arrived, memory_order_acquire) < workers) {
            idle_us(20);
        }
    }
    return (long)workers + 1;
}
AUR_FN(long, meet, unsigned);

static void fill(size_t mib)
{
    volatile char *block = (volatile char *)malloc(mib << 20);

    check(mib == 0 || block != NULL, "malloc");
    for (size_t i = 0; i < mib << 20; i += 4096) { /* volatile, or the compiler leaves it all out */
        block[i] = 1;
    }
}

static uint64_t first_results(aur_pool *pool, unsigned workers, uint64_t start)
{
    aur_future *futures[256];
    long value;

    for (unsigned i = 0; i < workers; i++) {
        check_aur(aur_apply_async(pool, &futures[i], meet, workers), "submit");
    }
    for (unsigned i = 0; i < workers; i++) {
        check_aur(aur_future_result(futures[i], &value, AUR_NO_DEADLINE), "first result");
        check(value == (long)workers + 1, "result");
        aur_future_unref(futures[i]);
    }
    return now_ns() - start;
}

int main(int argc, char **argv)
{
    unsigned workers = (unsigned)option(argc, argv, "workers", 2);
    size_t repeats = option(argc, argv, "repeats", 20);
    uint64_t first[101], whole[101];

    check(workers >= 1 && workers <= 256 && repeats >= 1 && repeats <= 101, "options");
    fill(option(argc, argv, "parent_mib", 0));
    arrived = (atomic_uint *)mmap(NULL, sizeof(*arrived), PROT_READ | PROT_WRITE,
                                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    check(arrived != MAP_FAILED, "mmap");
    for (size_t i = 0; i < repeats; i++) {
        atomic_store(arrived, 0);
        uint64_t start = now_ns();
        aur_pool *pool = pool_of(argc, argv);
        first[i] = first_results(pool, workers, start);
        check_aur(aur_pool_join(pool, AUR_NO_DEADLINE), "join");
        aur_pool_unref(pool);
        whole[i] = now_ns() - start;
    }
    figure("first results", "ms", (double)percentile(first, repeats, 50) / 1e6);
    figure("start to stop", "ms", (double)percentile(whole, repeats, 50) / 1e6);
    return 0;
}
