/* growth.h: what an empty task costs from outside as the number of tasks, of workers and of submitting
 * threads grows: flat is ideal. */
#ifndef BENCH_GROWTH_H
#define BENCH_GROWTH_H

#include "bench.h"

#include <pthread.h>

struct grower {
    void *(*start)(unsigned workers);       /* a pool that has run something */
    void (*submit)(void *pool, uint64_t n); /* n empty tasks, in the calling thread */
    void (*finish)(void *pool, uint64_t n); /* waits until all n are done; ends the pool */
};

struct submitter {
    const struct grower *grower;
    void *pool;
    uint64_t n;
};

static inline void *submit_share(void *arg)
{
    struct submitter *s = (struct submitter *)arg;

    s->grower->submit(s->pool, s->n);
    return NULL;
}

/* ns per task, from the first submit until all are done; the median of `repeats`: in the first one, threads that
 * are new touch memory that is new, which costs what the host takes for it. */
static inline double growth_point(const struct grower *grower, unsigned workers, uint64_t n,
                                  unsigned submitters, size_t repeats)
{
    uint64_t ns[16];

    for (size_t r = 0; r < repeats && r < 16; r++) {
        struct submitter share = { grower, grower->start(workers), n / submitters };
        pthread_t threads[8];
        uint64_t start = now_ns();

        for (unsigned i = 1; i < submitters; i++) {
            check(pthread_create(&threads[i], NULL, submit_share, &share) == 0, "thread");
        }
        submit_share(&share);
        for (unsigned i = 1; i < submitters; i++) {
            pthread_join(threads[i], NULL);
        }
        grower->finish(share.pool, share.n * submitters);
        ns[r] = now_ns() - start;
    }
    return (double)percentile(ns, repeats, 50) / (double)n;
}

/* Options: workers=2 n=1000000 most=10000000. */
static inline void measure_growth(int argc, char **argv, const struct grower *grower)
{
    unsigned workers = (unsigned)option(argc, argv, "workers", 2);
    uint64_t n = option(argc, argv, "n", 1000000), most = option(argc, argv, "most", 10000000);

    for (uint64_t tasks = 1000; tasks <= most; tasks *= 10) {
        size_t repeats = tasks <= 100000 ? 9 : 1;
        figure_at("by tasks", "ns", growth_point(grower, workers, tasks, 1, repeats), "tasks",
                  tasks);
    }
    for (unsigned w = 2; w <= 64; w *= 2) {
        figure_at("by workers", "ns", growth_point(grower, w, n, 1, 5), "workers", w);
    }
    for (unsigned s = 1; s <= 8; s *= 2) {
        figure_at("by submitters", "ns", growth_point(grower, workers, n, s, 5), "submitters", s);
    }
}

#endif /* BENCH_GROWTH_H */
