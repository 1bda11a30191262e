/* gates.c: when a job that could be started has to wait: for time between starts, for CPUs, for memory. */
#include <stdlib.h>

#include "plat/plat.h"
#include "plat/shm.h"
#include "run.h"

#define LOOK_AGAIN_NS UINT64_C(500000000)

/* With nothing of ours running, waiting would not make the load any lower. */
static bool load_allows(const struct run *run)
{
    double load;

    return run->opts->load <= 0 || run->running == 0 || getloadavg(&load, 1) != 1 ||
           load < run->opts->load;
}

static bool memory_allows(struct run *run)
{
    uint64_t wanted = run->opts->memory_free, have;

    if (wanted == 0) {
        return true;
    }
    have = aurp_memory_available("");
    if (have < wanted && run->running == 0 && !run->told_memory && !run->opts->quiet) {
        run->told_memory = true;
        output_say(&run->out, "waiting: %.3g MiB of memory are available, --memory-free wants %.3g",
                   (double)have / (1024 * 1024), (double)wanted / (1024 * 1024));
    }
    return have >= wanted;
}

bool run_gate_is_open(struct run *run)
{
    const struct options *opts = run->opts;
    uint64_t now_ns;

    run->gate_ns = 0;
    if (opts->delay_ns == 0 && opts->load <= 0 && opts->memory_free == 0) {
        return true;
    }
    now_ns = aurp_now_ns();
    if (run->last_start_ns != 0 && now_ns < run->last_start_ns + opts->delay_ns) {
        run->gate_ns = run->last_start_ns + opts->delay_ns;
        return false;
    }
    if (!load_allows(run) || !memory_allows(run)) {
        run->gate_ns = now_ns + LOOK_AGAIN_NS;
        return false;
    }
    run->last_start_ns = now_ns;
    return true;
}
