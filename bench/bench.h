/* bench.h: what the benchmark programs share; C11 and C++17.
 *
 * A program measures one implementation in a process of its own, since some peers keep threads
 * spinning.  README.md says how it is called and what it prints.
 */
#ifndef BENCH_H
#define BENCH_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CANNOT 77 /* exit status: this implementation has no way to do this workload */

static inline uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Time in which nothing happens is a part of some measurements ("after 1 ms idle"). */
static inline void idle_us(unsigned us)
{
    struct timespec pause = { (time_t)(us / 1000000), (long)(us % 1000000) * 1000 };

    nanosleep(&pause, NULL);
}

/* ---- options: NAME=VALUE ------------------------------------------------------------------- */

static inline const char *option_text(int argc, char **argv, const char *name, const char *fallback)
{
    size_t length = strlen(name);

    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], name, length) == 0 && argv[i][length] == '=') {
            return argv[i] + length + 1;
        }
    }
    return fallback;
}

static inline uint64_t option(int argc, char **argv, const char *name, uint64_t fallback)
{
    const char *text = option_text(argc, argv, name, NULL);

    return text != NULL ? strtoull(text, NULL, 10) : fallback;
}

/* ---- results ------------------------------------------------------------------------------- */

static inline void figure(const char *name, const char *unit, double value)
{
    printf("{\"name\": \"%s\", \"unit\": \"%s\", \"value\": %.6g}\n", name, unit, value);
}

/* One point of a sweep; `at` names the coordinate. */
static inline void figure_at(const char *name, const char *unit, double value, const char *at,
                             uint64_t x)
{
    printf("{\"name\": \"%s\", \"%s\": %llu, \"unit\": \"%s\", \"value\": %.6g}\n", name, at,
           (unsigned long long)x, unit, value);
}

static inline int give_up(const char *what)
{
    fprintf(stderr, "bench: %s failed\n", what);
    return 1;
}

/* Every result is checked; a wrong one ends the program. */
static inline void check(int right, const char *what)
{
    if (!right) {
        exit(give_up(what));
    }
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

/* "VmRSS" or "VmHWM" of this process in bytes. */
static inline uint64_t memory_of_process(const char *field)
{
    char line[256];
    uint64_t kib = 0;
    FILE *status = fopen("/proc/self/status", "r");

    while (status != NULL && fgets(line, sizeof(line), status) != NULL) {
        if (strncmp(line, field, strlen(field)) == 0) {
            kib = strtoull(line + strlen(field) + 1, NULL, 10);
        }
    }
    if (status != NULL) {
        fclose(status);
    }
    return kib * 1024;
}

/* ---- round trips --------------------------------------------------------------------------- */

/* Does one round trip and checks its result. */
typedef void round_trip_fn(void *ctx);

/* p50 and p99 of n round trips, in microseconds, with so much idle time before each. */
static inline void measure_round_trips(const char *state, round_trip_fn *trip, void *ctx, size_t n,
                                       unsigned pause_us)
{
    uint64_t *ns = (uint64_t *)calloc(n + 1, sizeof(*ns));
    char name[32];

    check(ns != NULL, "calloc");
    for (size_t i = 0; n != 0 && i < n + n / 10; i++) { /* the first tenth warms up */
        if (pause_us != 0) {
            idle_us(pause_us);
        }
        uint64_t start = now_ns();
        trip(ctx);
        ns[i % n] = now_ns() - start;
    }
    if (n != 0) {
        snprintf(name, sizeof(name), "%s p50", state);
        figure(name, "us", (double)percentile(ns, n, 50) / 1e3);
        snprintf(name, sizeof(name), "%s p99", state);
        figure(name, "us", (double)percentile(ns, n, 99) / 1e3);
    }
    free(ns);
}

#define IDLE_US 1000

/* roundtrip and handoff: hot, then after so much idle time ("idle" or "parked"). */
static inline void measure_hot_and_idle(int argc, char **argv, const char *idle_name,
                                        round_trip_fn *trip, void *ctx)
{
    measure_round_trips("hot", trip, ctx, option(argc, argv, "trips", 20000), 0);
    measure_round_trips(idle_name, trip, ctx, option(argc, argv, "idle_trips", 300), IDLE_US);
}

/* ---- fork-join ----------------------------------------------------------------------------- */

static inline uint64_t fib_plain(unsigned n)
{
    uint64_t a = 0, b = 1;

    while (n-- != 0) {
        uint64_t next = a + b;
        a = b;
        b = next;
    }
    return a;
}

/* fib(n) by two calls for each n >= 2 makes so many inner nodes, of which each spawns once. */
static inline uint64_t fib_spawns(unsigned n)
{
    return fib_plain(n + 1) - 1;
}

#endif /* BENCH_H */
