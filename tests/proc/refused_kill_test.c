/* Goal:    a program that may not kill its workers, since it has given up its rights after it made the pool or runs in a
 *          sandbox that refuses the call, ends what it cancels and what is late all the same.
 * Method:  the kill by pidfd is refused.  Each test is ended by ctest if nobody does it instead.
 * Guards:  auri_kill() in src/proc/cancel.c, auri_nursery_kill(), stop_locked() in src/wire/commit.c. */
/* aurt: no-tsan */
#include "aurt.h"

#include <auriga.h>
#include <errno.h>

int __wrap_aurp_pidfd_kill(int pidfd, int signal);

int __wrap_aurp_pidfd_kill(int pidfd, int signal)
{
    (void)pidfd;
    (void)signal;
    return EPERM;
}

static aurt_event *begun; /* in memory that the workers share */

static int stay(int x)
{
    aurt_event never = { 0 };

    aurt_event_set(begun);
    aurt_event_wait(&never);
    return x;
}
AUR_FN(int, stay, int);

static int square(int x)
{
    return x * x;
}
AUR_FN(int, square, int);

static aur_pool *pool_new(void)
{
    aur_options opts = AUR_OPTIONS_INIT;
    aur_pool *pool = NULL;

    *begun = (aurt_event){ 0 };
    opts.kind = AUR_PROCESSES;
    opts.workers = 2;
    AURT_OK(aur_pool_new(&opts, &pool, NULL));
    return pool;
}

static void end(aur_pool *pool)
{
    AURT_OK(aur_pool_join(pool, AUR_NO_DEADLINE));
    aur_pool_unref(pool);
}

static void test_late(void **state)
{
    aur_call_options opts = AUR_CALL_OPTIONS_INIT;
    aur_pool *pool = pool_new();
    int value = 0;

    (void)state;
    opts.item_timeout_ns = 10000000;
    for (int i = 0; i < 3; i++) { /* and more than there are workers */
        AURT_ERR(AUR_EDEADLINE, aur_apply_with(pool, &opts, &value, stay, 0));
    }
    AURT_OK(aur_apply(pool, &value, square, 5));
    end(pool);
}

static void test_cancelled(void **state)
{
    aur_pool *pool = pool_new();
    aur_future *future = NULL;
    int what = 0;
    int value = 0;

    (void)state;
    AURT_OK(aur_apply_async(pool, &future, stay, 0));
    aurt_event_wait(begun);
    AURT_OK(aur_future_cancel(future, &what));
    assert_int_equal(what, AUR_CANCEL_KILLED);
    AURT_ERR(AUR_ECANCELED, aur_future_outcome(future, AUR_NO_DEADLINE));
    aur_future_unref(future);
    AURT_OK(aur_apply(pool, &value, square, 5));
    end(pool);
}

static void test_terminated(void **state)
{
    aur_pool *pool = pool_new();

    (void)state;
    AURT_OK(aur_apply_async(pool, NULL, stay, 0));
    aurt_event_wait(begun);
    AURT_OK(aur_pool_terminate(pool));
    end(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_late),
        cmocka_unit_test(test_cancelled),
        cmocka_unit_test(test_terminated),
    };

    begun = aurt_shared(sizeof(*begun));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
