/* onetbb WORKLOAD: by oneTBB: task_arena::enqueue from outside, task_group inside, parallel_for. */
#include "granularity.h"
#include "growth.h"
#include "uneven.h"

#include <atomic>
#include <future>
#include <memory>
#include <oneapi/tbb.h>
#include <semaphore.h>
#include <vector>

namespace tbb = oneapi::tbb;

/* An arena whose threads are all workers, as a pool has them; `left` says when its tasks are done. */
struct pool {
    explicit pool(int workers)
        : limit(tbb::global_control::max_allowed_parallelism, static_cast<size_t>(workers) + 1),
          arena(workers, 0)
    {
        sem_init(&signal, 0, 0);
    }

    void expect(uint64_t n)
    {
        left.store(n);
    }

    void submit(uint64_t n)
    {
        for (uint64_t i = 0; i < n; i++) {
            arena.enqueue([this] { finished(); });
        }
    }

    void finished()
    {
        if (left.fetch_sub(1) == 1) {
            sem_post(&signal);
        }
    }

    void wait()
    {
        while (sem_wait(&signal) != 0) {
        }
    }

    tbb::global_control limit;
    tbb::task_arena arena;
    std::atomic<uint64_t> left{ 0 };
    sem_t signal;
};

static void submit(int workers, uint64_t n)
{
    pool pool(workers);
    uint64_t start = 0;

    for (uint64_t tasks = n / 100; tasks <= n && tasks != 0; tasks *= 100) { /* first: warm-up */
        start = now_ns();
        pool.expect(tasks);
        pool.submit(tasks);
        pool.wait();
    }
    figure("empty task", "ns", static_cast<double>(now_ns() - start) / static_cast<double>(n));
}

static void futures(int workers, uint64_t n)
{
    pool pool(workers);
    std::vector<std::future<long>> all(n);
    uint64_t start = now_ns();

    for (uint64_t i = 0; i < n; i++) {
        auto promise = std::make_shared<std::promise<long>>();
        all[i] = promise->get_future();
        pool.arena.enqueue([promise, i] { promise->set_value(static_cast<long>(i) + 1); });
    }
    for (uint64_t i = 0; i < n; i++) {
        check(all[i].get() == static_cast<long>(i) + 1, "result");
    }
    figure("task with future", "ns",
           static_cast<double>(now_ns() - start) / static_cast<double>(n));
}

static void inside(uint64_t n)
{
    uint64_t start = 0;

    for (uint64_t tasks = n / 100; tasks <= n && tasks != 0; tasks *= 100) { /* first: warm-up */
        tbb::task_group group;
        start = now_ns();
        for (uint64_t i = 0; i < tasks; i++) {
            group.run([] {});
        }
        group.wait();
    }
    figure("empty task", "ns", static_cast<double>(now_ns() - start) / static_cast<double>(n));
}

static void trip(void *)
{
    tbb::task_group group;
    long value = 1;

    group.run([&value] { value++; });
    group.wait();
    check(value == 2, "result");
}

static void hand_off(void *ctx)
{
    pool *to = static_cast<pool *>(ctx);
    long value = 1;

    to->expect(1);
    to->arena.enqueue([to, &value] {
        value++;
        to->finished();
    });
    to->wait();
    check(value == 2, "result");
}

static uint64_t fib(unsigned n)
{
    uint64_t a = 0, b = 0;

    if (n < 2) {
        return n;
    }
    tbb::parallel_invoke([&a, n] { a = fib(n - 1); }, [&b, n] { b = fib(n - 2); });
    return a + b;
}

static void forkjoin(unsigned n)
{
    fib(n - 7); /* warm-up */
    uint64_t start = now_ns(), value = fib(n);

    figure("spawn", "ns",
           static_cast<double>(now_ns() - start) / static_cast<double>(fib_spawns(n)));
    check(value == fib_plain(n), "fib");
}

static void loop_auto(void *, const struct loop *loop)
{
    tbb::parallel_for(tbb::blocked_range<size_t>(0, loop->n),
                      [loop](const tbb::blocked_range<size_t> &range) {
                          loop_range(loop, range.begin(), range.end());
                      });
}

static void sleep_all(int argc, char **argv, int workers)
{
    unsigned us = static_cast<unsigned>(option(argc, argv, "ms", 50)) * 1000;
    uint64_t tasks = option(argc, argv, "tasks", 64), start = now_ns();
    pool pool(workers);

    pool.expect(tasks);
    for (uint64_t i = 0; i < tasks; i++) {
        pool.arena.enqueue([&pool, us] {
            idle_us(us);
            pool.finished();
        });
    }
    pool.wait();
    figure("all done", "ms", static_cast<double>(now_ns() - start) / 1e6);
    figure("peak memory", "MB", static_cast<double>(memory_of_process("VmHWM")) / 1e6);
}

/* ---- growth -------------------------------------------------------------------------------- */

static void *grow_start(unsigned workers)
{
    pool *made = new pool(static_cast<int>(workers));

    hand_off(made);
    made->expect(uint64_t{ 1 } << 62);
    return made;
}

static void grow_submit(void *ctx, uint64_t n)
{
    static_cast<pool *>(ctx)->submit(n);
}

static void grow_finish(void *ctx, uint64_t n)
{
    pool *made = static_cast<pool *>(ctx);

    if (made->left.fetch_sub((uint64_t{ 1 } << 62) - n) != (uint64_t{ 1 } << 62) - n) {
        made->wait();
    }
    delete made;
}

int main(int argc, char **argv)
{
    static const struct grower grower = { grow_start, grow_submit, grow_finish };
    const char *workload = argc > 1 ? argv[1] : "";
    int workers = static_cast<int>(option(argc, argv, "workers", 2));
    uint64_t n = option(argc, argv, "n", strcmp(workload, "forkjoin") == 0 ? 32 : 1000000);

    if (strcmp(workload, "submit") == 0) {
        submit(workers, n);
        return 0;
    }
    if (strcmp(workload, "futures") == 0) {
        futures(workers, n);
        return 0;
    }
    if (strcmp(workload, "handoff") == 0) {
        pool pool(workers);
        measure_hot_and_idle(argc, argv, "parked", hand_off, &pool);
        return 0;
    }
    if (strcmp(workload, "growth") == 0) {
        measure_growth(argc, argv, &grower);
        return 0;
    }
    if (strcmp(workload, "sleep") == 0) {
        sleep_all(argc, argv, workers);
        return 0;
    }

    /* From here on the calling thread works too, as one of the workers. */
    tbb::global_control limit(tbb::global_control::max_allowed_parallelism,
                              workers != 0 ? static_cast<size_t>(workers) : 4096);
    if (strcmp(workload, "inside") == 0) {
        inside(n);
    } else if (strcmp(workload, "roundtrip") == 0) {
        measure_hot_and_idle(argc, argv, "idle", trip, nullptr);
    } else if (strcmp(workload, "forkjoin") == 0) {
        forkjoin(static_cast<unsigned>(n));
    } else if (strcmp(workload, "granularity") == 0) {
        return measure_granularity(argc, argv, loop_auto, nullptr);
    } else if (strcmp(workload, "skew") == 0) {
        return measure_skew(argc, argv, loop_auto, nullptr);
    } else if (strcmp(workload, "memory") == 0) {
        return measure_memory(argc, argv, loop_auto, nullptr);
    } else {
        return CANNOT;
    }
    return 0;
}
