/* pools.h: making the pool that the command line asks for. */
#ifndef BENCH_POOLS_H
#define BENCH_POOLS_H

#include <auriga.h>
#include <stdlib.h>
#include <string.h>

/* argv[1]: threads or processes; argv[2]: workers. */
static inline aur_pool *pool_of(int argc, char **argv)
{
    aur_options opts = AUR_OPTIONS_INIT;
    aur_pool *pool = NULL;

    opts.kind = argc > 1 && strcmp(argv[1], "processes") == 0 ? AUR_PROCESSES : AUR_THREADS;
    opts.workers = argc > 2 ? (uint32_t)atoi(argv[2]) : 0;
    return aur_pool_new(&opts, &pool, NULL) == AUR_OK ? pool : NULL;
}

#endif /* BENCH_POOLS_H */
