/* Goal:    a worker killed by the kernel for want of memory costs its own call only.
 * Method:  one call of many moves its worker into a real memory control group and takes more than
 *          the group may have.  Skipped where no such group can be made.
 * Guards:  the report of a worker's death: src/proc. */
/* aurt: no-tsan */
#include "aurt.h"
#include "memory_group.h"

#include <auriga.h>
#include <signal.h>
#include <sys/mman.h>

#define MIB (UINT64_C(1) << 20)

static const uint64_t GROUP_BYTES = 64 * MIB;

enum { CALLS = 60, GREEDY = 20, WORKERS = 2 };

static int take_memory(int number)
{
    if (number == GREEDY) {
        AURT_CHECK(group_write("cgroup.procs", "0"));
        void *bytes =
            mmap(NULL, 2 * GROUP_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        AURT_CHECK(bytes != MAP_FAILED);
        memset(bytes, 1, 2 * GROUP_BYTES);
        abort(); /* the limit did not hold: another signal than the one expected */
    }
    return number;
}
AUR_FN(int, take_memory, int);

static void check_killed(aur_future *future)
{
    AURT_ERR(AUR_EWORKER, aur_future_outcome(future, AUR_NO_DEADLINE));
    const aur_error *error = aur_future_error(future);
    assert_non_null(error);
    assert_int_equal(error->signal, SIGKILL);
    assert_int_equal(error->exit_status, -1);
    assert_string_equal(error->function, "take_memory");
    assert_int_equal(error->attempts, 1);
    assert_true(error->pid > 0);
}

static void run_calls(void)
{
    AUR_SCOPED(aur_pool) *pool = NULL;
    aur_options opts = AUR_OPTIONS_INIT;
    aur_future *futures[CALLS];
    int v = 0;

    opts.kind = AUR_PROCESSES;
    opts.start = AUR_START_FORK; /* workers know the group */
    opts.workers = WORKERS;
    AURT_OK(aur_pool_new(&opts, &pool, NULL));
    for (int i = 0; i < CALLS; i++) {
        AURT_OK(aur_apply_async(pool, &futures[i], take_memory, i));
    }
    for (int i = 0; i < CALLS; i++) {
        if (i == GREEDY) {
            check_killed(futures[i]);
        } else {
            AURT_OK(aur_future_result(futures[i], &v, AUR_NO_DEADLINE));
            assert_int_equal(v, i);
        }
        aur_future_unref(futures[i]);
    }
    assert_true(group_kills() >= 1); /* by the limit, and by nothing else */
}

static int remove_group(void **state)
{
    (void)state;
    group_remove();
    return 0;
}

static void an_oom_kill_costs_one_call(void **state)
{
    (void)state;
    const char *missing = group_make(GROUP_BYTES);

    if (missing != NULL) {
        print_message("skipped: %s\n", missing);
        skip();
    }
    /* No way out into swap space: version 2, and version 1. */
    (void)(group_write("memory.swap.max", "0") || group_write("memory.swappiness", "0"));
    run_calls();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(an_oom_kill_costs_one_call, remove_group),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
