/* Goal:    a limit of the queue holds back submitters outside, and never the tasks that must end first.
 * Method:  more callers than places, each of which submits more calls than there are places.
 * Guards:  src/proc/nested.c (count_in).
 */
/* aurt: no-tsan */
/* aurt: no-valgrind */
#include "aurt.h"

#include <auriga.h>

static int square(int x)
{
    return x * x;
}
AUR_FN(int, square, int);

/* Submits n calls to its own pool before it waits for the first. */
static int fans_out(int n)
{
    aur_future *futures[16];
    int sum = 0, v = 0;

    for (int i = 0; i < n; i++) {
        aur_err err = aur_apply_async(aur_pool_current(), &futures[i], square, i);
        if (err != AUR_OK) {
            return -err;
        }
    }
    for (int i = 0; i < n; i++) {
        aur_err err = aur_future_result(futures[i], &v, AUR_NO_DEADLINE);
        sum += err == AUR_OK ? v : -1000000;
        aur_future_unref(futures[i]);
    }
    return sum;
}
AUR_FN(int, fans_out, int);

/* The limit of the queue is for submitters that can wait; tasks go beyond it, or all would hang.  Each
 * place is given back once. */
static void test_queue_limit(void **state)
{
    (void)state;
    for (int policy = AUR_QUEUE_BLOCK; policy <= AUR_QUEUE_FAIL; policy++) {
        aur_options opts = AUR_OPTIONS_INIT;
        aur_pool *pool = NULL;
        aur_future *futures[40];
        int n = 0, v = 0;
        opts.kind = AUR_PROCESSES;
        opts.workers = 2;
        opts.spares_max = AUR_NO_SPARES;
        opts.queue_max = 2;
        opts.queue_policy = policy;
        AURT_OK(aur_pool_new(&opts, &pool, NULL));
        for (int i = 0; i < 40; i++) {
            aur_err err = aur_apply_async(pool, &futures[n], fans_out, 10);
            assert_true(err == AUR_OK || (err == AUR_EBUSY && policy == AUR_QUEUE_FAIL));
            n += err == AUR_OK;
        }
        assert_true(n >= 2 && (n == 40 || policy == AUR_QUEUE_FAIL));
        for (int i = 0; i < n; i++) {
            AURT_OK(aur_future_result(futures[i], &v, AUR_NO_DEADLINE));
            assert_int_equal(v, 285);
            aur_future_unref(futures[i]);
        }
        for (int i = 0; i < 10; i++) { /* all places are free again */
            AURT_OK(aur_apply(pool, &v, fans_out, 10));
        }
        AURT_OK(aur_pool_join(pool, AUR_NO_DEADLINE));
        aur_pool_unref(pool);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_queue_limit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
