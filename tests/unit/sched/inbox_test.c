/* Goal:   who takes tasks out of the inbox writes nothing into one that somebody else may be running.
 * Method: the only worker is kept busy; a thread outside runs a call that it waits for, in place of the
 *         worker, while that call still lies in the inbox; there the worker finds it with many others.
 * Guards: the hints of refill_fifo() in src/sched/worker.c: `other` of a task that runs says which task its
 *         thread ran before, and that thread went back to another one. */
#include "aurt.h"

#include <auriga.h>

#include "task/record.h"

#define OTHERS 20 /* more than AURI_AHEAD: only then the oldest gets a hint */

static aurt_event busy, go_on, all_ran;
static _Atomic(int) ran;

static void keep_busy(int x)
{
    (void)x;
    aurt_event_set(&busy);
    aurt_event_wait(&go_on);
}
AUR_FN_VOID(keep_busy, int);

static void other(int x)
{
    (void)x;
    if (atomic_fetch_add(&ran, 1) + 1 == OTHERS) {
        aurt_event_set(&all_ran);
    }
}
AUR_FN_VOID(other, int);

static int meanwhile(int x)
{
    AURT_CHECK(aur_worker_index() == -1);
    aurt_event_set(&go_on);
    aurt_event_wait(&all_ran); /* so the worker has taken the inbox */
    return x;
}
AUR_FN(int, meanwhile, int);

static void claimed_in_the_inbox(void **state)
{
    aur_options opts = AUR_OPTIONS_INIT;
    aur_pool *pool = NULL;
    aur_future *future = NULL;
    int value = 0;

    (void)state;
    opts.workers = 1;
    opts.spares_max = AUR_NO_SPARES;
    AURT_OK(aur_pool_new(&opts, &pool, NULL));
    AURT_OK(aur_apply_async(pool, NULL, keep_busy, 0));
    aurt_event_wait(&busy);
    AURT_OK(aur_apply_async(pool, &future, meanwhile, 7));
    for (int i = 0; i < OTHERS; i++) {
        AURT_OK(aur_apply_async(pool, NULL, other, i));
    }
    AURT_OK(aur_future_result(future, &value, AUR_NO_DEADLINE));
    assert_int_equal(value, 7);
    assert_null(auri_self()->running); /* as before it */
    aur_future_unref(future);
    AURT_OK(aur_pool_join(pool, AUR_NO_DEADLINE));
    aur_pool_unref(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(claimed_in_the_inbox),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
