/* sleep: more tasks that block than workers, until all are done.
 *
 * hint=1: the tasks say so by aur_blocking_begin().  The peak is that of the resident memory. */
#include "pools.h"

static void doze(unsigned us, int hint)
{
    if (hint) {
        aur_blocking_begin();
    }
    idle_us(us);
    if (hint) {
        aur_blocking_end();
    }
}
AUR_FN_VOID(doze, unsigned, int);

int main(int argc, char **argv)
{
    unsigned us = (unsigned)option(argc, argv, "ms", 50) * 1000;
    int hint = (int)option(argc, argv, "hint", 0);
    uint64_t tasks = option(argc, argv, "tasks", 64);
    aur_pool *pool = pool_of(argc, argv);
    uint64_t start = now_ns();

    check(tasks >= 1 && tasks <= 4096, "options");
    aur_future **futures = (aur_future **)calloc(tasks, sizeof(aur_future *));
    check(futures != NULL, "calloc");
    for (uint64_t i = 0; i < tasks; i++) {
        check_aur(aur_apply_async(pool, &futures[i], doze, us, hint), "submit");
    }
    for (uint64_t i = 0; i < tasks; i++) {
        check_aur(aur_future_outcome(futures[i], AUR_NO_DEADLINE), "wait");
        aur_future_unref(futures[i]);
    }
    figure("all done", "ms", (double)(now_ns() - start) / 1e6);
    figure("peak memory", "MB", (double)memory_of_process("VmHWM") / 1e6);
    check_aur(aur_pool_join(pool, AUR_NO_DEADLINE), "join");
    aur_pool_unref(pool);
    free(futures);
    return 0;
}
