/* openmp WORKLOAD: by OpenMP, built once with gcc and once with clang, which bring different runtimes.
 *
 * The thread that makes tasks is one of the workers, so all of its submits are inside ones. */
#include "granularity.h"
#include "uneven.h"

#include <omp.h>
#include <stdatomic.h>

static atomic_uint_fast64_t done;

static void nothing(void)
{
    __asm__ volatile("" ::: "memory");
}

static void submit(uint64_t n, int workers, const char *name)
{
    uint64_t start = 0;

    for (uint64_t tasks = n / 100; tasks <= n && tasks != 0; tasks *= 100) { /* first: warm-up */
        start = now_ns();
#pragma omp parallel num_threads(workers)
#pragma omp single
        for (uint64_t i = 0; i < tasks; i++) {
#pragma omp task
            nothing();
        }
    }
    figure(name, "ns", (double)(now_ns() - start) / (double)n);
}

static void trip(void *workers)
{
    long value = 0;

#pragma omp parallel num_threads(*(int *)workers)
#pragma omp single
    {
#pragma omp task shared(value)
        value = 2;
#pragma omp taskwait
    }
    check(value == 2, "result");
}

static uint64_t fib(unsigned n)
{
    uint64_t a, b;

    if (n < 2) {
        return n;
    }
#pragma omp task shared(a)
    a = fib(n - 1);
    b = fib(n - 2);
#pragma omp taskwait
    return a + b;
}

static void forkjoin(unsigned n, int workers)
{
    uint64_t value = 0, start = 0;

    for (unsigned k = n - 7; k <= n; k += 7) { /* first: warm-up */
        start = now_ns();
#pragma omp parallel num_threads(workers)
#pragma omp single
        value = fib(k);
    }
    figure("spawn", "ns", (double)(now_ns() - start) / (double)fib_spawns(n));
    check(value == fib_plain(n), "fib");
}

/* What loop_range() does, as loops that OpenMP can divide. */
static void loop_guided(void *ctx, const struct loop *loop)
{
    const uint64_t *restrict in = loop->in, *restrict costs = loop->costs;
    uint64_t *restrict out = loop->out, steps = loop->steps;
    const double *restrict x = loop->x;
    double *restrict y = loop->y;

    (void)ctx;
    switch (loop->kind) {
    case LOOP_EQUAL:
#pragma omp parallel for schedule(guided)
        for (size_t i = 0; i < loop->n; i++) {
            out[i] = chain(in[i], steps);
        }
        break;
    case LOOP_VARIED:
#pragma omp parallel for schedule(guided)
        for (size_t i = 0; i < loop->n; i++) {
            out[i] = chain(in[i], costs[i]);
        }
        break;
    case LOOP_MEMORY:
#pragma omp parallel for schedule(guided)
        for (size_t i = 0; i < loop->n; i++) {
            y[i] = x[i] * x[i] + 1;
        }
        break;
    }
}

static void sleep_all(int argc, char **argv, int workers)
{
    uint64_t tasks = option(argc, argv, "tasks", 64), start = now_ns();
    unsigned us = (unsigned)option(argc, argv, "ms", 50) * 1000;

#pragma omp parallel num_threads(workers)
#pragma omp single
    for (uint64_t i = 0; i < tasks; i++) {
#pragma omp task
        {
            idle_us(us);
            atomic_fetch_add(&done, 1);
        }
    }
    check(atomic_load(&done) == tasks, "number of tasks done");
    figure("all done", "ms", (double)(now_ns() - start) / 1e6);
    figure("peak memory", "MB", (double)memory_of_process("VmHWM") / 1e6);
}

int main(int argc, char **argv)
{
    const char *workload = argc > 1 ? argv[1] : "";
    int workers = (int)option(argc, argv, "workers", 2);
    uint64_t n = option(argc, argv, "n", strcmp(workload, "forkjoin") == 0 ? 27 : 1000000);

    if (strcmp(workload, "submit") == 0 || strcmp(workload, "inside") == 0) {
        submit(n, workers, "empty task");
    } else if (strcmp(workload, "roundtrip") == 0) {
        measure_hot_and_idle(argc, argv, "idle", trip, &workers);
    } else if (strcmp(workload, "forkjoin") == 0) {
        forkjoin((unsigned)n, workers);
    } else if (strcmp(workload, "granularity") == 0) {
        return measure_granularity(argc, argv, loop_guided, NULL);
    } else if (strcmp(workload, "skew") == 0) {
        return measure_skew(argc, argv, loop_guided, NULL);
    } else if (strcmp(workload, "memory") == 0) {
        return measure_memory(argc, argv, loop_guided, NULL);
    } else if (strcmp(workload, "sleep") == 0) {
        sleep_all(argc, argv, workers);
    } else {
        return CANNOT;
    }
    return 0;
}
