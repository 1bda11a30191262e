/* for_loop.c: aur_for runs one loop on all threads of the pool.
 *
 * The body gets sub-ranges, so inside it is an ordinary loop that the compiler can vectorise.  A loop
 * that is too short to gain anything stays in the calling thread: nobody is woken for it.
 */
#include <auriga.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define N 1000000

struct work {
    uint32_t *values;
    _Atomic(uint64_t) sum;
};

static void fill(uint64_t lo, uint64_t hi, struct work *work)
{
    for (uint64_t i = lo; i < hi; i++) {
        work->values[i] = (uint32_t)(i % 10); /* each index belongs to exactly one call */
    }
}
AUR_RANGE_FN(fill, struct work);

static void add_up(uint64_t lo, uint64_t hi, struct work *work)
{
    uint64_t sum = 0;

    for (uint64_t i = lo; i < hi; i++) {
        sum += work->values[i];
    }
    atomic_fetch_add(&work->sum, sum); /* once per sub-range, not per index */
}
AUR_RANGE_FN(add_up, struct work);

int main(void)
{
    AUR_SCOPED(aur_pool) *pool = NULL;
    struct work work = { .values = malloc(N * sizeof(uint32_t)) };

    if (work.values == NULL || aur_pool_new(NULL, &pool, NULL) != AUR_OK ||
        aur_for(pool, 0, N, fill, &work) != AUR_OK ||
        aur_for(pool, 0, N, add_up, &work) != AUR_OK) {
        return 1;
    }
    printf("sum of the last digits of 0..%d: %llu\n", N - 1, (unsigned long long)work.sum);
    free(work.values);
    return 0;
}
