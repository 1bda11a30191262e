/* plain WORKLOAD: the sequential twin of each workload: the same work by direct calls, no pool at all.
 *
 * For sleep it is one thread for each task, which is as fast as sleeping can be. */
#include "bench.h"

#include <pthread.h>

static uint64_t touched;

static void nothing(void *arg)
{
    touched += (uintptr_t)arg;
}

static void (*volatile task)(void *arg) = nothing; /* the compiler must not see through it */

static void submit(int argc, char **argv, const char *name)
{
    uint64_t n = option(argc, argv, "n", 1000000), start = now_ns();

    for (uint64_t i = 0; i < n; i++) {
        task((void *)1);
    }
    figure(name, "ns", (double)(now_ns() - start) / (double)n);
    check(touched == n, "number of tasks done");
}

static uint64_t fib(unsigned n)
{
    return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

static void forkjoin(int argc, char **argv)
{
    volatile unsigned n = (unsigned)option(argc, argv, "n", 32);
    uint64_t start = now_ns(), value = fib(n);

    figure("spawn", "ns", (double)(now_ns() - start) / (double)fib_spawns(n));
    check(value == fib_plain(n), "fib");
}

static void *doze(void *us)
{
    idle_us((unsigned)(uintptr_t)us);
    return NULL;
}

static void sleep_all(int argc, char **argv)
{
    uint64_t us = option(argc, argv, "ms", 50) * 1000, tasks = option(argc, argv, "tasks", 64);
    pthread_t *threads = (pthread_t *)calloc(tasks, sizeof(*threads));
    uint64_t start = now_ns();

    check(threads != NULL, "calloc");
    for (uint64_t i = 0; i < tasks; i++) {
        check(pthread_create(&threads[i], NULL, doze, (void *)(uintptr_t)us) == 0, "thread");
    }
    for (uint64_t i = 0; i < tasks; i++) {
        pthread_join(threads[i], NULL);
    }
    figure("all done", "ms", (double)(now_ns() - start) / 1e6);
    figure("peak memory", "MB", (double)memory_of_process("VmHWM") / 1e6);
    free(threads);
}

int main(int argc, char **argv)
{
    const char *workload = argc > 1 ? argv[1] : "";

    if (strcmp(workload, "submit") == 0 || strcmp(workload, "inside") == 0) {
        submit(argc, argv, "empty task");
    } else if (strcmp(workload, "futures") == 0) {
        submit(argc, argv, "task with future");
    } else if (strcmp(workload, "forkjoin") == 0) {
        forkjoin(argc, argv);
    } else if (strcmp(workload, "sleep") == 0) {
        sleep_all(argc, argv);
    } else {
        return CANNOT;
    }
    return 0;
}
