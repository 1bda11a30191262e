/* Goal:   the monitor's number of stand-ins follows what it sees: fast up, slowly down, within bounds.
 * Method: the rule alone, look by look, with a model of a pool in which every task blocks; and what
 *         it reads of threads: their CPU time, and whether they sleep.
 * Guards: auri_monitor_extra() in src/sched/monitor.c; src/plat/linux_busy.c. */
#include "aurt.h"

#include <pthread.h>

#include "plat/plat.h"
#include "sched/team.h"

static void doubles_while_all_block(void **state)
{
    int extra = 0;
    int looks = 0;

    (void)state;
    while (2 + extra < 64) {
        int before = extra;
        extra = auri_monitor_extra(extra, 2 + extra, 2 + extra, true);
        assert_true(extra >= 2 + before || extra == 2 * before); /* never slower than linear */
        looks++;
    }
    assert_int_equal(looks, 6);
    assert_true(auri_monitor_extra(64, 66, 66, true) == 64); /* and no further */
    assert_true(auri_monitor_extra(60, 62, 62, true) == 64);
}

static void follows_what_blocks(void **state)
{
    (void)state;
    assert_int_equal(auri_monitor_extra(0, 4, 1, true), 1); /* three run: one stand-in, no guess */
    assert_int_equal(auri_monitor_extra(1, 5, 1, true), 1);
    assert_int_equal(auri_monitor_extra(0, 4, 0, true), 0);
    assert_int_equal(auri_monitor_extra(0, 0, 0, true), 0);
}

static void does_not_grow_when_cpus_are_busy(void **state)
{
    (void)state;
    assert_int_equal(auri_monitor_extra(3, 8, 8, false), 3);
    assert_int_equal(auri_monitor_extra(0, 2, 2, false), 0);
}

static void shrinks_by_quarters_to_the_end(void **state)
{
    int extra = 64;
    int looks = 0;

    (void)state;
    while (extra != 10) {
        int next = auri_monitor_extra(extra, 66, 10, true);
        assert_true(next < extra && next >= 10);
        assert_true(extra - next <= (extra - 10) / 4 + 1);
        extra = next;
        looks++;
    }
    assert_true(looks < 30);
}

/* ---- what it reads ------------------------------------------------------------------------- */

struct other {
    _Atomic(uint32_t) tid; /* futex */
    _Atomic(uint32_t) go;  /* futex */
};

static void *waits_for_go(void *arg)
{
    struct other *other = arg;

    auri_store_sc(&other->tid, (uint32_t)aurp_thread_self());
    aurp_futex_wake(&other->tid, 1, AURP_PRIVATE);
    while (auri_load_acq(&other->go) == 0) {
        (void)aurp_futex_wait(&other->go, 0, AUR_NO_DEADLINE, AURP_PRIVATE);
    }
    return NULL;
}

static void reads_threads(void **state)
{
    struct other other = { 0, 0 };
    pthread_t thread;

    (void)state;
    assert_false(aurp_thread_sleeps(aurp_thread_self())); /* it is running this line */
    uint64_t before = aurp_thread_cpu_ns(aurp_thread_self());
    assert_true(before != AURP_NO_CLOCK);
    while (aurp_thread_cpu_ns(aurp_thread_self()) < before + 1000000) {
    }
    assert_true(aurp_process_cpu_ns() >= before + 1000000);

    AURT_CHECK(pthread_create(&thread, NULL, waits_for_go, &other) == 0);
    while (auri_load_acq(&other.tid) == 0) {
        (void)aurp_futex_wait(&other.tid, 0, AUR_NO_DEADLINE, AURP_PRIVATE);
    }
    int tid = (int)auri_load_acq(&other.tid);
    while (!aurp_thread_sleeps(tid)) { /* it will, and nothing wakes it before we do */
        sched_yield();
    }
    assert_true(aurp_thread_cpu_ns(tid) != AURP_NO_CLOCK);
    auri_store_sc(&other.go, 1u);
    aurp_futex_wake(&other.go, 1, AURP_PRIVATE);
    pthread_join(thread, NULL);
    /* The kernel forgets the thread a moment after the join. */
    while (aurp_thread_cpu_ns(tid) != AURP_NO_CLOCK) {
        sched_yield();
    }
    assert_false(aurp_thread_sleeps(tid));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(doubles_while_all_block),
        cmocka_unit_test(follows_what_blocks),
        cmocka_unit_test(does_not_grow_when_cpus_are_busy),
        cmocka_unit_test(shrinks_by_quarters_to_the_end),
        cmocka_unit_test(reads_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
