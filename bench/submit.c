/* submit: what an empty task costs when one thread outside submits many, without futures, from the
 * first submit until all are done and the pool is joined; and the memory that one takes while it waits. */
#include "pools.h"

#include <stdatomic.h>

static atomic_bool release;
static atomic_uint blocked;

static void nothing(int x)
{
    (void)x;
}
AUR_FN_VOID(nothing, int);

static void block(int x)
{
    (void)x;
    atomic_fetch_add_explicit(&blocked, 1, memory_order_relaxed);
    while (!atomic_load_explicit(&release, memory_order_acquire)) {
        idle_us(1000);
    }
}
AUR_FN_VOID(block, int);

static void submit_all(aur_pool *pool, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        check_aur(aur_apply_async(pool, NULL, nothing, (int)i), "submit");
    }
}

/* Grows the queue while each worker is kept busy. */
static double memory_of_pending(int argc, char **argv, uint64_t n)
{
    aur_options opts = AUR_OPTIONS_INIT;
    AUR_SCOPED(aur_pool) *pool = NULL;

    opts.workers = (uint32_t)option(argc, argv, "workers", 2);
    opts.spares_max = AUR_NO_SPARES; /* or they would run what is to wait */
    check_aur(aur_pool_new(&opts, &pool, NULL), "pool");
    for (uint32_t i = 0; i < opts.workers; i++) {
        check_aur(aur_apply_async(pool, NULL, block, 0), "submit");
    }
    while (atomic_load_explicit(&blocked, memory_order_relaxed) < opts.workers) {
        idle_us(100);
    }
    uint64_t before = memory_of_process("VmRSS");
    submit_all(pool, n);
    uint64_t grown = memory_of_process("VmRSS") - before;
    atomic_store_explicit(&release, true, memory_order_release);
    return (double)grown / (double)n;
}

int main(int argc, char **argv)
{
    uint64_t n = option(argc, argv, "n", 1000000);
    int processes = strcmp(option_text(argc, argv, "kind", "threads"), "processes") == 0;
    aur_pool *pool = pool_of(argc, argv);

    /* First: in a process that has not used the memory yet. */
    double pending = processes ? 0 : memory_of_pending(argc, argv, n);
    submit_all(pool, n / 100);
    for (int i = 0; i < 10; i++) { /* until what was queued for warming is done */
        check_aur(aur_apply(pool, NULL, nothing, i), "apply");
    }
    uint64_t start = now_ns();
    submit_all(pool, n);
    check_aur(aur_pool_join(pool, AUR_NO_DEADLINE), "join");
    figure("empty task", "ns", (double)(now_ns() - start) / (double)n);
    if (!processes) {
        figure("pending task", "B", pending);
    }
    aur_stats stats = { .size = sizeof(stats) };
    check_aur(aur_pool_stats(pool, &stats), "stats");
    check(stats.failed + stats.cancelled == 0 && stats.done >= n, "number of tasks done");
    aur_pool_unref(pool);
    return 0;
}
