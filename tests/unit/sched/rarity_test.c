/* Goal:   a worker spins for more work where that would have found the last piece, and not where work is rare.
 * Method: arithmetic on moments that are made up.
 * Guards: auri_work_is_rare() in src/sched/team.h. */
#include "aurt.h"

#include "sched/team.h"

#define SPIN UINT64_C(50000)

static void what_came_after_the_spin_is_rare(void **state)
{
    (void)state;
    assert_true(auri_work_is_rare(1000, 1000 + SPIN + 1, SPIN));
    assert_true(auri_work_is_rare(1000, UINT64_MAX, SPIN));
}

static void what_came_during_it_is_not(void **state)
{
    (void)state;
    assert_false(auri_work_is_rare(1000, 1000 + SPIN, SPIN));
    assert_false(auri_work_is_rare(1000, 1001, SPIN));
    assert_false(auri_work_is_rare(1000, 1000, SPIN));
}

/* Also before any wake: given_ns is 0 then. */
static void nothing_is_if_others_parked_since_the_wake(void **state)
{
    (void)state;
    assert_false(auri_work_is_rare(2 * SPIN, 1000, SPIN));
    assert_false(auri_work_is_rare(1000, 0, SPIN));
    assert_false(auri_work_is_rare(0, 0, SPIN));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_came_after_the_spin_is_rare),
        cmocka_unit_test(what_came_during_it_is_not),
        cmocka_unit_test(nothing_is_if_others_parked_since_the_wake),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
