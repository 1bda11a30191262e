/* glib submit WORKERS | roundtrip WORKERS | start WORKERS: the same work by GThreadPool. */
#include "bench.h"

#include <glib.h>

#define CALLS 1000000
#define TIMES 40

/* What a caller needs that wants to wait: GThreadPool has no futures. */
struct cell {
    GMutex lock;
    GCond done;
    gboolean is_done;
};

static void run(void *data, void *user)
{
    (void)user;
    if (data != GINT_TO_POINTER(1)) {
        struct cell *cell = data;
        g_mutex_lock(&cell->lock);
        cell->is_done = TRUE;
        g_cond_signal(&cell->done);
        g_mutex_unlock(&cell->lock);
    }
}

static void trip(void *pool)
{
    struct cell cell;

    g_mutex_init(&cell.lock);
    g_cond_init(&cell.done);
    cell.is_done = FALSE;
    g_thread_pool_push(pool, &cell, NULL);
    g_mutex_lock(&cell.lock);
    while (!cell.is_done) {
        g_cond_wait(&cell.done, &cell.lock);
    }
    g_mutex_unlock(&cell.lock);
    g_cond_clear(&cell.done);
    g_mutex_clear(&cell.lock);
}

static void submit(GThreadPool *pool)
{
    for (int i = 0; i < 10; i++) {
        trip(pool);
    }
    uint64_t start = now_ns();
    for (int i = 0; i < CALLS; i++) {
        g_thread_pool_push(pool, GINT_TO_POINTER(1), NULL);
    }
    g_thread_pool_free(pool, FALSE, TRUE); /* waits until all are done */
    figure("empty call", "ns", (double)(now_ns() - start) / CALLS);
}

static void start(int workers)
{
    uint64_t first[TIMES], whole[TIMES];

    for (int i = 0; i < TIMES; i++) {
        uint64_t begin = now_ns();
        GThreadPool *pool = g_thread_pool_new(run, NULL, workers, TRUE, NULL);

        trip(pool);
        first[i] = now_ns() - begin;
        g_thread_pool_free(pool, FALSE, TRUE);
        whole[i] = now_ns() - begin;
    }
    figure("first result", "ms", (double)percentile(first, TIMES, 50) / 1e6);
    figure("first result and stop", "ms", (double)percentile(whole, TIMES, 50) / 1e6);
}

int main(int argc, char **argv)
{
    int workers = argc > 2 ? atoi(argv[2]) : 2;

    if (argc > 1 && strcmp(argv[1], "start") == 0) {
        start(workers);
        return 0;
    }
    GThreadPool *pool = g_thread_pool_new(run, NULL, workers, TRUE, NULL);
    if (argc > 1 && strcmp(argv[1], "submit") == 0) {
        submit(pool);
    } else {
        measure_round_trips("submit + result, hot", trip, pool, HOT_TRIPS, 0);
        measure_round_trips("submit + result, after 1 ms idle", trip, pool, IDLE_TRIPS, IDLE_US);
        g_thread_pool_free(pool, FALSE, TRUE);
    }
    return 0;
}
