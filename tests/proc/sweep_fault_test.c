/* aurt: no-tsan */
/* aurt: no-asan */
/* aurt: serial */
/* The sweeps of sweep_test.c on a worker with one fault at a time: each fault is found, and by the
 * sweep that is there for it. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* CPU_SET */
#endif
static int sweep_fault;

#define AURI_RING_FAULT(n) (sweep_fault == (n))
#define SWEEP_FAULTS 1
#include "proc/entry_chunk.c"
#include "proc/worker.c"

#include "sweep_test.c"

#ifdef __x86_64__

static unsigned violations(int fault, struct sweep_result (*sweep)(rig *r), const char *name)
{
    sweep_fault = fault;
    struct sweep_result result = sweep_run(sweep, name);
    sweep_fault = 0;
    return result.violations;
}

static void test_no_fault(void **state)
{
    (void)state;
    assert_int_equal(0, violations(0, sweep_linear, "linear, no fault"));
}

static void test_published_early(void **state)
{
    (void)state;
    assert_true(violations(AURI_FAULT_PUBLISH_EARLY, sweep_linear, "linear, published early") > 0);
}

static void test_item_early(void **state)
{
    (void)state;
    assert_true(violations(AURI_FAULT_ITEM_EARLY, sweep_linear, "linear, item early") > 0);
}

static void test_claim_by_load_and_store(void **state)
{
    (void)state;
    assert_true(violations(AURI_FAULT_CLAIM_STORE, sweep_revoke, "revoke, load and store") > 0);
}

static void test_bell_early(void **state)
{
    (void)state;
    assert_true(violations(AURI_FAULT_BELL_EARLY, sweep_sleep, "sleep, bell early") > 0);
}

static void test_park_blind(void **state)
{
    (void)state;
    assert_true(violations(AURI_FAULT_PARK_BLIND, sweep_park, "park, no second look") > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_fault),   cmocka_unit_test(test_published_early),
        cmocka_unit_test(test_item_early), cmocka_unit_test(test_claim_by_load_and_store),
        cmocka_unit_test(test_bell_early), cmocka_unit_test(test_park_blind),
    };

    sweep_setup();
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#endif
