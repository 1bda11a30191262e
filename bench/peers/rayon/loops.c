/* The drivers of the loops for a program that is not C. */
#include "granularity.h"
#include "uneven.h"

int bench_loops(int argc, char **argv, loop_fn *run, void *ctx);

int bench_loops(int argc, char **argv, loop_fn *run, void *ctx)
{
    const char *workload = argc > 1 ? argv[1] : "";
    int status = strcmp(workload, "granularity") == 0 ? measure_granularity(argc, argv, run, ctx)
                 : strcmp(workload, "skew") == 0      ? measure_skew(argc, argv, run, ctx)
                                                      : measure_memory(argc, argv, run, ctx);

    fflush(stdout);
    return status;
}
