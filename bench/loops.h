/* loops.h: the loops of granularity, skew and memory: one body for every implementation.
 *
 * An item is a chain of dependent steps, each 3 to 4 cycles, so that no compiler makes it cheaper.  The
 * chains of neighbours overlap in a CPU that looks far enough ahead: in one of 2023, items of 7 steps
 * each take half the time of a chain seven times as long as a step.  So what an item of a loop costs is
 * measured on a loop.
 */
#ifndef BENCH_LOOPS_H
#define BENCH_LOOPS_H

#include "bench.h"

#ifdef __cplusplus
#define RESTRICT __restrict__
#else
#define RESTRICT restrict
#endif

enum loop_kind {
    LOOP_EQUAL,  /* out[i] = chain(in[i], steps) */
    LOOP_VARIED, /* out[i] = chain(in[i], costs[i]) */
    LOOP_MEMORY, /* y[i] = x[i] * x[i] + 1 */
};

struct loop {
    enum loop_kind kind;
    size_t n;
    uint64_t steps;        /* at least 1 */
    const uint64_t *costs; /* steps of each item, at least 1 */
    const uint64_t *in;
    uint64_t *out;
    const double *x;
    double *y;
};

/* Runs the whole loop by whatever is measured: loop_range() over sub-ranges that together are
 * [0, loop->n), each index once. */
typedef void loop_fn(void *ctx, const struct loop *loop);

static inline uint64_t chain(uint64_t x, uint64_t steps)
{
    do { /* a multiply of 64 bits, which the next one waits for */
        x = x * UINT64_C(6364136223846793005) + 1;
        __asm__("" : "+r"(x)); /* no compiler folds several steps into one */
    } while (--steps != 0);
    return x;
}

static inline void loop_range(const struct loop *loop, size_t lo, size_t hi)
{
    const uint64_t *RESTRICT in = loop->in, *RESTRICT costs = loop->costs;
    uint64_t *RESTRICT out = loop->out, steps = loop->steps;
    const double *RESTRICT x = loop->x;
    double *RESTRICT y = loop->y;

    switch (loop->kind) {
    case LOOP_EQUAL:
        for (size_t i = lo; i < hi; i++) {
            out[i] = chain(in[i], steps);
        }
        break;
    case LOOP_VARIED:
        for (size_t i = lo; i < hi; i++) {
            out[i] = chain(in[i], costs[i]);
        }
        break;
    case LOOP_MEMORY:
        for (size_t i = lo; i < hi; i++) {
            y[i] = x[i] * x[i] + 1;
        }
        break;
    }
}

/* The sequential twin. */
__attribute__((noinline, unused)) static void plain_loop(void *ctx, const struct loop *loop)
{
    (void)ctx;
    loop_range(loop, 0, loop->n);
}

static inline uint64_t time_of(loop_fn *run, void *ctx, const struct loop *loop)
{
    uint64_t start = now_ns();

    run(ctx, loop);
    return now_ns() - start;
}

/* How many steps of one chain take so long on this machine, at least 1. */
static inline uint64_t steps_of(uint64_t ns)
{
    const uint64_t probe = 1000000;
    uint64_t best = UINT64_MAX, sink = 1;

    for (int i = 0; i < 5; i++) {
        uint64_t start = now_ns();
        sink = chain(sink, probe);
        uint64_t spent = now_ns() - start;
        best = spent < best ? spent : best;
    }
    uint64_t steps = ns * probe / (best + (sink == 0));
    return steps != 0 ? steps : 1;
}

/* The same for the items of a loop, each so many steps: n of them, over in[] and out[]. */
static inline uint64_t steps_of_items(uint64_t ns, const uint64_t *in, uint64_t *out, size_t n)
{
    struct loop loop = { LOOP_EQUAL, n, 0, NULL, in, out, NULL, NULL };
    uint64_t low = 0, high = steps_of(ns) * 4 + 4; /* overlap does not hide more than this */

    while (low + 1 < high) { /* low steps take less, high do not */
        uint64_t best = UINT64_MAX;
        loop.steps = low + (high - low) / 2;
        for (int i = 0; i < 5; i++) {
            uint64_t spent = time_of(plain_loop, NULL, &loop);
            best = spent < best ? spent : best;
        }
        if (best < ns * n) {
            low = loop.steps;
        } else {
            high = loop.steps;
        }
    }
    return high;
}

/* A loop's results are what the sequential twin gives; clears them for the next run. */
static inline void check_loop(const struct loop *loop)
{
    for (size_t i = 0; i < loop->n; i++) {
        if (loop->kind == LOOP_MEMORY) {
            check(loop->y[i] == loop->x[i] * loop->x[i] + 1, "loop result");
            loop->y[i] = 0;
        } else {
            uint64_t steps = loop->kind == LOOP_EQUAL ? loop->steps : loop->costs[i];
            check(loop->out[i] == chain(loop->in[i], steps), "loop result");
            loop->out[i] = 0;
        }
    }
}

#endif /* BENCH_LOOPS_H */
