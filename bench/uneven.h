/* uneven.h: loops whose items cost very different times (skew), and a loop that the memory limits.
 *
 * skew: 2,000 items of 10 us, of which one takes 1,000 times as long: a third of the whole.  The ideal
 * is that all CPUs end at once, or the dear item alone decides: max(longest, total / workers).  A dear
 * item at the end cannot be known before; there the ideal is (total - longest) / workers + longest.
 * Log-normal: 20,000 items, median 1 us, sigma 1.5, always the same ones.
 */
#ifndef BENCH_UNEVEN_H
#define BENCH_UNEVEN_H

#include "loops.h"

#include <math.h>

#define UNEVEN_MAX 20000

/* Always the same numbers in (0, 1). */
static inline double uniform_of(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return ((double)(*state >> 11) + 0.5) / 9007199254740992.0;
}

static inline void log_normal_costs(uint64_t *costs, size_t n, double median_steps)
{
    uint64_t state = 42;

    for (size_t i = 0; i < n; i++) { /* Box and Muller */
        double r = sqrt(-2.0 * log(uniform_of(&state)));
        double normal = r * cos(6.283185307179586 * uniform_of(&state));
        costs[i] = (uint64_t)(median_steps * exp(1.5 * normal)) + 1;
    }
}

/* Ideal time / time, in percent, each by the median of the repeats. */
static inline void measure_uneven(const char *name, loop_fn *run, void *ctx, struct loop *loop,
                                  size_t repeats, unsigned workers)
{
    uint64_t plain[101], taken[101], longest = 0, all = 0;

    repeats = repeats > 101 ? 101 : repeats;
    for (size_t i = 0; i < loop->n; i++) {
        longest = loop->costs[i] > longest ? loop->costs[i] : longest;
        all += loop->costs[i];
    }
    run(ctx, loop);
    check_loop(loop);
    for (size_t i = 0; i < repeats; i++) {
        taken[i] = time_of(run, ctx, loop);
        plain[i] = time_of(plain_loop, NULL, loop);
    }
    double total = (double)percentile(plain, repeats, 50);
    double dear = total * (double)longest / (double)all;
    double ideal = total / workers > dear ? total / workers : dear;
    if (strcmp(name, "last") == 0) {
        ideal = (total - dear) / workers + dear;
    }
    figure(name, "%", 100 * ideal / (double)percentile(taken, repeats, 50));
}

/* Options: repeats=5, workers=2 (by which the ideal is reckoned). */
static inline int measure_skew(int argc, char **argv, loop_fn *run, void *ctx)
{
    static uint64_t costs[UNEVEN_MAX], in[UNEVEN_MAX], out[UNEVEN_MAX];
    static const char *const names[] = { "first", "middle", "last" };
    static const size_t places[] = { 0, 1000, 1999 };
    struct loop loop = { LOOP_VARIED, 2000, 1, costs, in, out, NULL, NULL };
    size_t repeats = option(argc, argv, "repeats", 5);
    unsigned workers = (unsigned)option(argc, argv, "workers", 2);
    uint64_t item = steps_of(10000);

    for (int p = 0; p < 3; p++) {
        for (size_t i = 0; i < loop.n; i++) {
            costs[i] = i == places[p] ? item * 1000 : item;
        }
        measure_uneven(names[p], run, ctx, &loop, repeats, workers);
    }
    loop.n = UNEVEN_MAX;
    log_normal_costs(costs, loop.n, (double)steps_of(1000));
    measure_uneven("log-normal", run, ctx, &loop, repeats, workers);
    return 0;
}

/* Options: repeats=9, n=10000000. */
static inline int measure_memory(int argc, char **argv, loop_fn *run, void *ctx)
{
    struct loop loop = { LOOP_MEMORY, option(argc, argv, "n", 10000000), 1, NULL, NULL, NULL, NULL,
                         NULL };
    size_t repeats = option(argc, argv, "repeats", 9);
    uint64_t plain[101], taken[101];
    double *x = (double *)malloc(loop.n * sizeof(*x));

    loop.y = (double *)malloc(loop.n * sizeof(*x));
    check(x != NULL && loop.y != NULL, "malloc");
    for (size_t i = 0; i < loop.n; i++) {
        x[i] = (double)i;
        loop.y[i] = 0;
    }
    loop.x = x;
    run(ctx, &loop);
    check_loop(&loop);
    repeats = repeats > 101 ? 101 : repeats;
    for (size_t i = 0; i < repeats; i++) {
        taken[i] = time_of(run, ctx, &loop);
        plain[i] = time_of(plain_loop, NULL, &loop);
    }
    double best = (double)percentile(plain, repeats, 50);
    double mine = (double)percentile(taken, repeats, 50);
    figure("speed-up", "x", best / mine);
    figure("loop", "ms", best / 1e6);
    free(x);
    free(loop.y);
    return 0;
}

#endif /* BENCH_UNEVEN_H */
