/* glib WORKLOAD: by GThreadPool, which has no futures: who wants to wait brings a condition. */
#include "bench.h"
#include "growth.h"

#include <glib.h>

/* One call and its result. */
struct cell {
    GMutex lock;
    GCond done;
    gboolean is_done;
    long value;
};

static struct cell nothing, inside, counted, doze; /* only their addresses matter */
static guint doze_us;
static gint done, left; /* `left` tasks until `all` is done */
static struct cell all;
static GThreadPool *inside_pool;

static void finish(struct cell *cell)
{
    g_mutex_lock(&cell->lock);
    cell->value++;
    cell->is_done = TRUE;
    g_cond_signal(&cell->done);
    g_mutex_unlock(&cell->lock);
}

static void run(void *data, void *user)
{
    (void)user;
    if (data == &nothing) {
        return;
    }
    if (data == &doze) {
        idle_us(doze_us);
        g_atomic_int_inc(&done);
    } else if (data == &inside) {
        for (gint n = g_atomic_int_get(&left); n != 0; n--) {
            g_thread_pool_push(inside_pool, &counted, NULL);
        }
    } else if (data == &counted) {
        if (g_atomic_int_dec_and_test(&left)) {
            finish(&all);
        }
    } else {
        finish((struct cell *)data);
    }
}

static GThreadPool *pool_of(unsigned workers)
{
    GThreadPool *pool = g_thread_pool_new(run, NULL, (gint)workers, TRUE, NULL);

    check(pool != NULL, "g_thread_pool_new");
    return pool;
}

static void prepare(struct cell *cell, long value)
{
    g_mutex_init(&cell->lock);
    g_cond_init(&cell->done);
    cell->is_done = FALSE;
    cell->value = value;
}

static void begin(struct cell *cell, GThreadPool *pool, long value)
{
    prepare(cell, value);
    g_thread_pool_push(pool, cell, NULL);
}

static long result_of(struct cell *cell)
{
    g_mutex_lock(&cell->lock);
    while (!cell->is_done) {
        g_cond_wait(&cell->done, &cell->lock);
    }
    g_mutex_unlock(&cell->lock);
    g_cond_clear(&cell->done);
    g_mutex_clear(&cell->lock);
    return cell->value;
}

static void trip(void *pool)
{
    struct cell cell;

    begin(&cell, (GThreadPool *)pool, 1);
    check(result_of(&cell) == 2, "result");
}

static void submit(GThreadPool *pool, uint64_t n)
{
    for (int i = 0; i < 10; i++) {
        trip(pool);
    }
    uint64_t start = now_ns();
    for (uint64_t i = 0; i < n; i++) {
        g_thread_pool_push(pool, &nothing, NULL);
    }
    g_thread_pool_free(pool, FALSE, TRUE); /* waits until all are done */
    figure("empty task", "ns", (double)(now_ns() - start) / (double)n);
}

static void submit_inside(GThreadPool *pool, uint64_t n)
{
    trip(pool);
    inside_pool = pool;
    left = (gint)n;
    prepare(&all, 0);
    uint64_t start = now_ns();
    g_thread_pool_push(pool, &inside, NULL);
    result_of(&all);
    figure("empty task", "ns", (double)(now_ns() - start) / (double)n);
    g_thread_pool_free(pool, FALSE, TRUE);
}

static void futures(GThreadPool *pool, uint64_t n)
{
    struct cell **cells = (struct cell **)calloc(n, sizeof(struct cell *));

    check(cells != NULL, "calloc");
    trip(pool);
    uint64_t start = now_ns();
    for (uint64_t i = 0; i < n; i++) {
        cells[i] = (struct cell *)malloc(sizeof(struct cell));
        begin(cells[i], pool, (long)i);
    }
    for (uint64_t i = 0; i < n; i++) {
        check(result_of(cells[i]) == (long)i + 1, "result");
        free(cells[i]);
    }
    figure("task with future", "ns", (double)(now_ns() - start) / (double)n);
    free(cells);
    g_thread_pool_free(pool, FALSE, TRUE);
}

static void start_and_stop(int argc, char **argv, unsigned workers)
{
    uint64_t first[101], whole[101], repeats = option(argc, argv, "repeats", 20);

    for (uint64_t i = 0; i < repeats; i++) {
        uint64_t begin_ns = now_ns();
        GThreadPool *pool = pool_of(workers);

        for (unsigned w = 0; w < workers; w++) {
            trip(pool);
        }
        first[i] = now_ns() - begin_ns;
        g_thread_pool_free(pool, FALSE, TRUE);
        whole[i] = now_ns() - begin_ns;
    }
    figure("first results", "ms", (double)percentile(first, repeats, 50) / 1e6);
    figure("start to stop", "ms", (double)percentile(whole, repeats, 50) / 1e6);
}

static void sleep_all(int argc, char **argv, GThreadPool *pool)
{
    uint64_t tasks = option(argc, argv, "tasks", 64), start = now_ns();

    doze_us = (guint)option(argc, argv, "ms", 50) * 1000;
    for (uint64_t i = 0; i < tasks; i++) {
        g_thread_pool_push(pool, &doze, NULL);
    }
    g_thread_pool_free(pool, FALSE, TRUE);
    check((uint64_t)g_atomic_int_get(&done) == tasks, "number of tasks done");
    figure("all done", "ms", (double)(now_ns() - start) / 1e6);
    figure("peak memory", "MB", (double)memory_of_process("VmHWM") / 1e6);
}

/* ---- growth -------------------------------------------------------------------------------- */

static void *grow_new(unsigned workers)
{
    GThreadPool *pool = pool_of(workers);

    trip(pool);
    return pool;
}

static void grow_submit(void *pool, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        g_thread_pool_push((GThreadPool *)pool, &nothing, NULL);
    }
}

static void grow_finish(void *pool, uint64_t n)
{
    (void)n;
    g_thread_pool_free((GThreadPool *)pool, FALSE, TRUE);
}

int main(int argc, char **argv)
{
    static const struct grower grower = { grow_new, grow_submit, grow_finish };
    const char *workload = argc > 1 ? argv[1] : "";
    unsigned workers = (unsigned)option(argc, argv, "workers", 2);
    uint64_t n = option(argc, argv, "n", 1000000);

    if (strcmp(workload, "submit") == 0) {
        submit(pool_of(workers), n);
    } else if (strcmp(workload, "inside") == 0) {
        submit_inside(pool_of(workers), n);
    } else if (strcmp(workload, "futures") == 0) {
        futures(pool_of(workers), n);
    } else if (strcmp(workload, "roundtrip") == 0) {
        measure_hot_and_idle(argc, argv, "idle", trip, pool_of(workers));
    } else if (strcmp(workload, "handoff") == 0) {
        measure_hot_and_idle(argc, argv, "parked", trip, pool_of(workers));
    } else if (strcmp(workload, "start") == 0) {
        start_and_stop(argc, argv, workers);
    } else if (strcmp(workload, "sleep") == 0) {
        sleep_all(argc, argv, pool_of(workers));
    } else if (strcmp(workload, "growth") == 0) {
        measure_growth(argc, argv, &grower);
    } else {
        return CANNOT;
    }
    return 0;
}
