/* libuv WORKLOAD: by uv_queue_work(), whose callbacks run in the submitting thread's loop.
 *
 * libuv has one pool in a process, made at the first use, of UV_THREADPOOL_SIZE threads. */
#include "bench.h"
#include "growth.h"

#include <uv.h>

struct call {
    uv_work_t work; /* first: libuv gives it back */
    long value;
};

static unsigned doze_us;
static uint64_t done;

static void add_one(uv_work_t *work)
{
    ((struct call *)work)->value++;
}

static void nothing(uv_work_t *work)
{
    (void)work;
}

static void doze(uv_work_t *work)
{
    (void)work;
    idle_us(doze_us);
}

static void count(uv_work_t *work, int status)
{
    (void)work;
    check(status == 0, "status");
    done++;
}

static void trip(void *loop)
{
    struct call call = { .value = 1 };

    check(uv_queue_work((uv_loop_t *)loop, &call.work, add_one, count) == 0, "uv_queue_work");
    uv_run((uv_loop_t *)loop, UV_RUN_DEFAULT);
    check(call.value == 2, "result");
}

static struct call *queue(uv_loop_t *loop, uint64_t n, uv_work_cb body)
{
    struct call *calls = (struct call *)calloc(n, sizeof(*calls));

    check(calls != NULL, "calloc");
    done = 0;
    for (uint64_t i = 0; i < n; i++) {
        calls[i].value = (long)i;
        check(uv_queue_work(loop, &calls[i].work, body, count) == 0, "uv_queue_work");
    }
    return calls;
}

static void run_all(uv_loop_t *loop, uint64_t n)
{
    uv_run(loop, UV_RUN_DEFAULT);
    check(done == n, "number of tasks done");
}

static void submit(int argc, char **argv, uv_loop_t *loop, const char *name)
{
    uint64_t n = option(argc, argv, "n", 1000000);

    trip(loop);
    uint64_t start = now_ns();
    struct call *calls = queue(loop, n, add_one);
    run_all(loop, n);
    for (uint64_t i = 0; i < n; i++) {
        check(calls[i].value == (long)i + 1, "result");
    }
    figure(name, "ns", (double)(now_ns() - start) / (double)n);
    free(calls);
}

static void sleep_all(int argc, char **argv, uv_loop_t *loop)
{
    uint64_t tasks = option(argc, argv, "tasks", 64), start = now_ns();

    doze_us = (unsigned)option(argc, argv, "ms", 50) * 1000;
    struct call *calls = queue(loop, tasks, doze);
    run_all(loop, tasks);
    free(calls);
    figure("all done", "ms", (double)(now_ns() - start) / 1e6);
    figure("peak memory", "MB", (double)memory_of_process("VmHWM") / 1e6);
}

/* By tasks only: workers are fixed for the process, and only the loop's thread may submit. */
static void growth(int argc, char **argv, uv_loop_t *loop)
{
    uint64_t most = option(argc, argv, "most", 10000000);

    for (uint64_t tasks = 1000; tasks <= most; tasks *= 10) {
        uint64_t ns[9], repeats = tasks <= 100000 ? 9 : 1;

        for (uint64_t r = 0; r < repeats; r++) {
            uint64_t start = now_ns();
            struct call *calls = queue(loop, tasks, nothing);
            run_all(loop, tasks);
            free(calls);
            ns[r] = now_ns() - start;
        }
        figure_at("by tasks", "ns", (double)percentile(ns, repeats, 50) / (double)tasks, "tasks",
                  tasks);
    }
}

int main(int argc, char **argv)
{
    const char *workload = argc > 1 ? argv[1] : "";
    uv_loop_t *loop = uv_default_loop();

    setenv("UV_THREADPOOL_SIZE", option_text(argc, argv, "workers", "2"), 1);
    if (strcmp(workload, "submit") == 0) {
        submit(argc, argv, loop, "empty task");
    } else if (strcmp(workload, "futures") == 0) {
        submit(argc, argv, loop, "task with future");
    } else if (strcmp(workload, "roundtrip") == 0) {
        measure_hot_and_idle(argc, argv, "idle", trip, loop);
    } else if (strcmp(workload, "handoff") == 0) {
        measure_hot_and_idle(argc, argv, "parked", trip, loop);
    } else if (strcmp(workload, "sleep") == 0) {
        sleep_all(argc, argv, loop);
    } else if (strcmp(workload, "growth") == 0) {
        growth(argc, argv, loop);
    } else {
        return CANNOT;
    }
    return 0;
}
