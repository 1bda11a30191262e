/* granularity.h: a parallel map against the plain loop, for items of 1 ns to 100 us and loops of 1 us to
 * 100 ms.
 *
 * Loop and map are run in turn, many times; a figure is the ratio of their medians, and their
 * difference.  An item is a chain of dependent steps, each about 1 ns, so that the loop over the
 * items cannot be made faster than the sum of them by anything but more CPUs.
 * Cold: before each run the pool has been idle for 500 us.  Hot: a map has just ended.
 */
#ifndef BENCH_GRANULARITY_H
#define BENCH_GRANULARITY_H

#include "bench.h"

#define REPEATS_MAX 31

static uint64_t steps_per_item; /* set between the runs only */

static inline uint64_t item(uint64_t x)
{
    uint64_t steps = steps_per_item;

    do { /* a multiply of 64 bits: 3 to 4 cycles, which the next one waits for */
        x = x * UINT64_C(6364136223846793005) + 1;
    } while (--steps != 0);
    return x;
}

/* out[i] = item(in[i]) for all i, by whatever is measured. */
typedef void map_fn(void *ctx, const uint64_t *in, size_t n, uint64_t *out);

__attribute__((noinline)) static void plain_loop(const uint64_t *in, size_t n, uint64_t *out)
{
    for (size_t i = 0; i < n; i++) {
        out[i] = item(in[i]);
    }
}

/* How many steps take so long. */
static uint64_t steps_of(uint64_t ns)
{
    uint64_t best = UINT64_MAX, sink = 1;

    steps_per_item = 1000000;
    for (int i = 0; i < 5; i++) {
        uint64_t start = now_ns();
        sink = item(sink);
        uint64_t spent = now_ns() - start;
        best = spent < best ? spent : best;
    }
    uint64_t steps = ns * steps_per_item / (best + (sink == 0));
    return steps != 0 ? steps : 1;
}

static void measure_point(map_fn *map, void *ctx, uint64_t item_ns, uint64_t total_us, int cold,
                          const uint64_t *in, uint64_t *out)
{
    size_t n = (size_t)(total_us * 1000 / item_ns);
    size_t repeats = total_us <= 1000 ? REPEATS_MAX : total_us <= 10000 ? 9 : 3;
    uint64_t loops[REPEATS_MAX], maps[REPEATS_MAX];
    char name[64];

    for (size_t i = 0; i < repeats; i++) {
        if (cold) {
            idle_us(500);
        } else {
            map(ctx, in, n, out);
        }
        uint64_t start = now_ns();
        map(ctx, in, n, out);
        maps[i] = now_ns() - start;
        if (cold) {
            idle_us(500);
        }
        start = now_ns();
        plain_loop(in, n, out);
        loops[i] = now_ns() - start;
    }
    double loop = (double)percentile(loops, repeats, 50);
    double mapped = (double)percentile(maps, repeats, 50);
    snprintf(name, sizeof(name), "%s %u %u", cold ? "cold" : "hot", (unsigned)item_ns,
             (unsigned)total_us);
    figure(name, "ratio", mapped / loop);
    figure(name, "extra us", (mapped - loop) / 1e3);
}

static int measure_granularity(map_fn *map, void *ctx)
{
    static const uint64_t item_ns[] = { 1, 10, 100, 1000, 10000, 100000 };
    static const uint64_t total_us[] = { 1, 10, 100, 1000, 10000, 100000 };
    const size_t most = 10000000; /* 10 ms of 1 ns: longer loops of that kind measure the memory */
    uint64_t *in = (uint64_t *)malloc(most * sizeof(*in));
    uint64_t *out = (uint64_t *)malloc(most * sizeof(*out));

    if (in == NULL || out == NULL) {
        return give_up("malloc");
    }
    for (size_t i = 0; i < most; i++) { /* first touch of both */
        in[i] = out[i] = i;
    }
    for (size_t c = 0; c < sizeof(item_ns) / sizeof(item_ns[0]); c++) {
        steps_per_item = steps_of(item_ns[c]);
        for (size_t t = 0; t < sizeof(total_us) / sizeof(total_us[0]); t++) {
            size_t n = (size_t)(total_us[t] * 1000 / item_ns[c]);

            if (n >= 1 && n <= most) {
                measure_point(map, ctx, item_ns[c], total_us[t], 1, in, out);
            }
            if (n >= 1 && n <= most && total_us[t] <= 10000) { /* then cold and hot are the same */
                measure_point(map, ctx, item_ns[c], total_us[t], 0, in, out);
            }
        }
    }
    free(in);
    free(out);
    return 0;
}

#endif /* BENCH_GRANULARITY_H */
