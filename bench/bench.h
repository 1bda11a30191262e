/* bench.h: what the benchmark programs share; C11 and C++17.
 *
 * A program measures one implementation in a process of its own, since some peers keep threads
 * spinning, and prints one line per figure: case, metric, value, separated by tabs.  bench/run starts
 * the programs in turn, several times, and reports medians and ranges.
 */
#ifndef BENCH_H
#define BENCH_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static inline uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Time in which nothing happens is a part of some measurements ("after 1 ms idle"). */
static inline void idle_us(unsigned us)
{
    struct timespec pause = { 0, (long)us * 1000 };

    nanosleep(&pause, NULL);
}

static inline int by_value_(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/* The value below which `percent` of the samples lie.  Sorts them. */
static inline uint64_t percentile(uint64_t *samples, size_t n, unsigned percent)
{
    qsort(samples, n, sizeof(*samples), by_value_);
    return samples[(n - 1) * percent / 100];
}

static inline void figure(const char *name, const char *metric, double value)
{
    printf("%s\t%s\t%.6g\n", name, metric, value);
}

static inline int give_up(const char *what)
{
    fprintf(stderr, "bench: %s failed\n", what);
    return 1;
}

/* Does one round trip n times, with so much idle time before each; in microseconds. */
typedef void round_trip_fn(void *ctx);

static inline void measure_round_trips(const char *name, round_trip_fn *trip, void *ctx, size_t n,
                                       unsigned pause_us)
{
    uint64_t *ns = (uint64_t *)calloc(n, sizeof(*ns));

    for (size_t i = 0; ns != NULL && i < n + n / 10; i++) { /* the first tenth warms up */
        if (pause_us != 0) {
            idle_us(pause_us);
        }
        uint64_t start = now_ns();
        trip(ctx);
        ns[i % n] = now_ns() - start;
    }
    if (ns != NULL) {
        figure(name, "p50 us", (double)percentile(ns, n, 50) / 1e3);
        figure(name, "p99 us", (double)percentile(ns, n, 99) / 1e3);
    }
    free(ns);
}

#define HOT_TRIPS 20000
#define IDLE_TRIPS 300
#define IDLE_US 1000

#endif /* BENCH_H */
