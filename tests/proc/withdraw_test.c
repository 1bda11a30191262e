/* Goal:    a call is taken back if it has not started, and left alone if it has.
 * Method:  the only worker is held inside a first call, by events in shared memory.
 * Guards:  aur_future_withdraw(), aur_future_running(). */
/* aurt: no-tsan */
#include "aurt.h"

#include <auriga.h>

static int same(int x)
{
    return x;
}
AUR_FN(int, same, int);

/* What the worker and the test tell each other. */
struct meeting {
    aurt_event begun;
    aurt_event go_on;
};
static struct meeting *meeting;

static int meet(int x)
{
    aurt_event_set(&meeting->begun);
    aurt_event_wait(&meeting->go_on);
    return x;
}
AUR_FN(int, meet, int);

static void withdraw(int kind)
{
    AUR_SCOPED(aur_pool) *pool = NULL;
    AUR_SCOPED(aur_future) *first = NULL;
    AUR_SCOPED(aur_future) *second = NULL;
    aur_options opts = AUR_OPTIONS_INIT;
    int v = 0;

    meeting = aurt_shared(sizeof(*meeting));
    opts.kind = kind;
    opts.start = kind == AUR_PROCESSES ? AUR_START_FORK : AUR_START_DEFAULT;
    opts.workers = 1;
    AURT_OK(aur_pool_new(&opts, &pool, NULL));
    AURT_OK(aur_apply_async(pool, &first, meet, 1));
    aurt_event_wait(&meeting->begun);
    AURT_OK(aur_apply_async(pool, &second, same, 1));
    assert_true(aur_future_running(first));
    assert_false(aur_future_withdraw(first));
    assert_true(aur_future_withdraw(second));
    assert_false(aur_future_running(second));
    assert_false(aur_future_withdraw(second)); /* it is done */
    AURT_ERR(AUR_ECANCELED, aur_future_outcome(second, AUR_NO_DEADLINE));
    aurt_event_set(&meeting->go_on);
    AURT_OK(aur_future_result(first, &v, AUR_NO_DEADLINE)); /* it was left alone */
    assert_int_equal(v, 1);
    assert_false(aur_future_running(first));
    munmap(meeting, sizeof(*meeting));
}

static void test_withdraw(void **state)
{
    (void)state;
    withdraw(AUR_THREADS);
    withdraw(AUR_PROCESSES);
    assert_false(aur_future_withdraw(NULL));
    assert_false(aur_future_running(NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_withdraw) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
