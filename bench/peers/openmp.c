/* openmp submit THREADS | granularity: the same work by gcc's OpenMP. */
#include "granularity.h"

#include <omp.h>

#define CALLS 1000000

static void nothing(int x)
{
    (void)x;
}

static void submit(int threads)
{
    uint64_t start = 0;

    for (int calls = CALLS / 100; calls <= CALLS; calls *= 100) { /* the first round warms up */
        start = now_ns();
#pragma omp parallel num_threads(threads)
#pragma omp single
        for (int i = 0; i < calls; i++) {
#pragma omp task
            nothing(i);
        }
    }
    figure("empty call", "ns", (double)(now_ns() - start) / CALLS);
}

static void map(void *ctx, const uint64_t *in, size_t n, uint64_t *out)
{
    (void)ctx;
#pragma omp parallel for schedule(guided)
    for (size_t i = 0; i < n; i++) {
        out[i] = item(in[i]);
    }
}

int main(int argc, char **argv)
{
    if (argc > 2 && strcmp(argv[1], "submit") == 0) {
        submit(atoi(argv[2]));
        return 0;
    }
    return measure_granularity(map, NULL);
}
