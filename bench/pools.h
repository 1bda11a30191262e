/* pools.h: making the pool that the options ask for. */
#ifndef BENCH_POOLS_H
#define BENCH_POOLS_H

#include "bench.h"

#include <auriga.h>

/* kind=threads or processes, start=fork or spawn, workers=2 (0: one a CPU), retries=0. */
static inline aur_pool *pool_of(int argc, char **argv)
{
    aur_options opts = AUR_OPTIONS_INIT;
    aur_pool *pool = NULL;
    aur_diag diag;

    if (strcmp(option_text(argc, argv, "kind", "threads"), "processes") == 0) {
        opts.kind = AUR_PROCESSES;
        opts.start = strcmp(option_text(argc, argv, "start", "fork"), "spawn") == 0
                         ? AUR_START_SPAWN
                         : AUR_START_FORK;
    }
    opts.workers = (uint32_t)option(argc, argv, "workers", 2);
    opts.retries = (uint32_t)option(argc, argv, "retries", 0);
    if (aur_pool_new(&opts, &pool, &diag) != AUR_OK) {
        exit(give_up(diag.text));
    }
    return pool;
}

static inline void check_aur(aur_err err, const char *what)
{
    if (err != AUR_OK) {
        fprintf(stderr, "bench: %s: %s\n", what, aur_err_text(err));
        exit(1);
    }
}

#endif /* BENCH_POOLS_H */
