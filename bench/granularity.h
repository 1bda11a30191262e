/* granularity.h: loops of 1 us to 100 ms over items of 1 ns to 100 us, against the plain loop.
 *
 * Both are run in turn, many times; a figure compares their medians.  Cold: before each run nothing
 * has happened for 500 us.  Hot: the same loop has just been run, again and again for 2 ms.
 */
#ifndef BENCH_GRANULARITY_H
#define BENCH_GRANULARITY_H

#include "loops.h"

#define REPEATS_MAX 101

struct point {
    uint64_t item_ns, total_us;
    size_t repeats;
    int cold;
};

static inline void point_figure(const struct point *p, const char *suffix, const char *unit,
                                double value)
{
    printf("{\"name\": \"%s%s\", \"item_ns\": %llu, \"total_us\": %llu, \"unit\": \"%s\", "
           "\"value\": %.6g}\n",
           p->cold ? "cold" : "hot", suffix, (unsigned long long)p->item_ns,
           (unsigned long long)p->total_us, unit, value);
}

static inline void warm_up(loop_fn *run, void *ctx, const struct loop *loop)
{
    uint64_t start = now_ns();

    do {
        run(ctx, loop);
    } while (now_ns() - start < 2000000);
}

static inline void measure_point(loop_fn *plain_fn, loop_fn *run, void *ctx, const struct point *p,
                                 const struct loop *loop)
{
    uint64_t loops[REPEATS_MAX], runs[REPEATS_MAX];

    for (size_t i = 0; i < p->repeats; i++) {
        if (p->cold) {
            idle_us(500);
        } else {
            warm_up(run, ctx, loop);
        }
        runs[i] = time_of(run, ctx, loop);
        if (p->cold) {
            idle_us(500);
        }
        loops[i] = time_of(plain_fn, NULL, loop);
    }
    double plain = (double)percentile(loops, p->repeats, 50);
    double taken = (double)percentile(runs, p->repeats, 50);
    point_figure(p, "", "x", plain / taken);
    point_figure(p, " extra", "us", (taken - plain) / 1e3);
}

/* The longer a loop, the fewer repeats. */
static inline size_t repeats_of(size_t most, uint64_t total_us)
{
    size_t repeats = total_us <= 1000 ? most : total_us <= 10000 ? most / 3 : most / 10;

    return repeats < 3 ? 3 : repeats > REPEATS_MAX ? REPEATS_MAX : repeats;
}

/* Whether the options ask for this coordinate, or for none. */
static inline int is_wanted(int argc, char **argv, const char *name, uint64_t value)
{
    return option(argc, argv, name, value) == value;
}

/* Options: repeats=31; item_ns=, total_us=, state=cold or hot: only these points.  The results of each
 * loop are checked once, outside the clock. */
static inline int measure_granularity_of(int argc, char **argv, loop_fn *plain_fn, loop_fn *run,
                                         void *ctx)
{
    static const uint64_t item_ns[] = { 1, 10, 100, 1000, 10000, 100000 };
    static const uint64_t total_us[] = { 1, 3, 10, 30, 100, 200, 1000, 3000, 10000, 100000 };
    const size_t most = 10000000; /* 10 ms of 1 ns: longer loops of that kind measure the memory */
    size_t repeats = option(argc, argv, "repeats", 31);
    const char *state = option_text(argc, argv, "state", "");
    uint64_t *in = (uint64_t *)malloc(most * sizeof(*in));
    uint64_t *out = (uint64_t *)malloc(most * sizeof(*out));

    check(in != NULL && out != NULL, "malloc");
    for (size_t i = 0; i < most; i++) { /* first touch of both */
        in[i] = out[i] = i;
    }
    for (size_t c = 0; c < sizeof(item_ns) / sizeof(item_ns[0]); c++) {
        if (!is_wanted(argc, argv, "item_ns", item_ns[c])) {
            continue;
        }
        struct loop loop = { LOOP_EQUAL, 0, 1, NULL, in, out, NULL, NULL };
        loop.steps = steps_of_items(item_ns[c], in, out, 100000 / item_ns[c] + 1);
        for (size_t t = 0; t < sizeof(total_us) / sizeof(total_us[0]); t++) {
            struct point p = { item_ns[c], total_us[t], repeats_of(repeats, total_us[t]), 1 };

            loop.n = (size_t)(total_us[t] * 1000 / item_ns[c]);
            if (loop.n < 1 || loop.n > most || !is_wanted(argc, argv, "total_us", total_us[t])) {
                continue;
            }
            run(ctx, &loop);
            check_loop(&loop);
            if (strcmp(state, "hot") != 0) {
                measure_point(plain_fn, run, ctx, &p, &loop);
            }
            p.cold = 0;
            if (strcmp(state, "cold") != 0 && total_us[t] <= 10000) { /* above, both are the same */
                measure_point(plain_fn, run, ctx, &p, &loop);
            }
        }
    }
    free(in);
    free(out);
    return 0;
}

static inline int measure_granularity(int argc, char **argv, loop_fn *run, void *ctx)
{
    return measure_granularity_of(argc, argv, plain_loop, run, ctx);
}

#endif /* BENCH_GRANULARITY_H */
