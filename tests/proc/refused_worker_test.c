/* Goal:    a pool whose replacements and spares cannot be made goes on with the workers that it has: what a task waits
 *          for is run in place of the wait, and a missing worker comes once there is room again.
 * Method:  the file that each worker needs is refused from some moment on, as by a limit on descriptors, more often in a
 *          row than would break a pool without workers.
 * Guards:  refused() and auri_nurse_despair() in src/proc/nurse.c, spares_to_be_had() in src/proc/spare.c. */
/* aurt: no-tsan */
/* aurt: long */
#include "aurt.h"

#include <auriga.h>
#include <errno.h>
#include <signal.h>

#define REFUSALS 12 /* AURI_DEATHS_MAX and some */

int __real_aurp_shm_new(const char *name, uint64_t bytes, int *ret_fd);
int __wrap_aurp_shm_new(const char *name, uint64_t bytes, int *ret_fd);

static _Atomic(int) refusals_left; /* stays at 1 */
static _Atomic(int) few_refusals;
static aurt_event refused_enough;

int __wrap_aurp_shm_new(const char *name, uint64_t bytes, int *ret_fd)
{
    int left = atomic_load(&refusals_left);

    if (atomic_load(&few_refusals) > 0) {
        atomic_fetch_sub(&few_refusals, 1);
        return EMFILE;
    }
    if (left == 0) {
        return __real_aurp_shm_new(name, bytes, ret_fd);
    }
    if (left > 1 && atomic_fetch_sub(&refusals_left, 1) == 2) {
        aurt_event_set(&refused_enough);
    }
    return EMFILE;
}

static int square(int x)
{
    return x * x;
}
AUR_FN(int, square, int);

static int die(int x)
{
    raise(SIGKILL);
    return x;
}
AUR_FN(int, die, int);

/* The leaves of a tree, each level of which submits two of the next and waits for them. */
static int leaves(int depth);
AUR_FN(int, leaves, int);
static int leaves(int depth)
{
    AUR_SCOPED(aur_future) *left = NULL;
    AUR_SCOPED(aur_future) *right = NULL;
    int a = 0;
    int b = 0;

    if (depth == 0) {
        return 1;
    }
    aur_err err = aur_apply_async(aur_pool_current(), &left, leaves, depth - 1);
    err = err != AUR_OK ? err : aur_apply_async(aur_pool_current(), &right, leaves, depth - 1);
    err = err != AUR_OK ? err : aur_future_result(left, &a, AUR_NO_DEADLINE);
    err = err != AUR_OK ? err : aur_future_result(right, &b, AUR_NO_DEADLINE);
    return err == AUR_OK ? a + b : aur_fail(err, "%s", aur_err_name(err));
}

static int setup(void **state)
{
    aur_options opts = AUR_OPTIONS_INIT;
    aur_pool *pool = NULL;

    opts.kind = AUR_PROCESSES;
    opts.workers = 2;
    AURT_OK(aur_pool_new(&opts, &pool, NULL));
    *state = pool;
    refused_enough = (aurt_event){ 0 };
    return 0;
}

static int teardown(void **state)
{
    AURT_OK(aur_pool_join(*state, AUR_NO_DEADLINE));
    aur_pool_unref(*state);
    return 0;
}

static void test_no_spares(void **state)
{
    int value = 0;

    atomic_store(&refusals_left, REFUSALS);
    for (int i = 0; i < 5; i++) {
        AURT_OK(aur_apply(*state, &value, leaves, 7));
        assert_int_equal(value, 1 << 7);
    }
    atomic_store(&refusals_left, 0);
    AURT_OK(aur_apply(*state, &value, leaves, 5));
    assert_int_equal(value, 1 << 5);
}

/* A wait that nothing is run in place of, since it has a deadline: a spare has to come. */
static int waits(int x)
{
    AUR_SCOPED(aur_future) *future = NULL;
    int value = 0;
    aur_err err = aur_apply_async(aur_pool_current(), &future, square, x);

    err = err != AUR_OK ? err : aur_future_result(future, &value, aur_deadline_in_ms(100000000));
    return err == AUR_OK ? value : aur_fail(err, "%s", aur_err_name(err));
}
AUR_FN(int, waits, int);

static void test_few_refusals(void **state)
{
    int in[2] = { 3, 4 };
    int out[2] = { 0, 0 };

    atomic_store(&few_refusals, 3);
    AURT_OK(aur_map(*state, waits, in, 2, out));
    assert_int_equal(out[0] + out[1], 25);
    assert_int_equal(atomic_load(&few_refusals), 0);
}

static void test_no_replacement(void **state)
{
    int32_t pids[2];
    size_t n = 0;
    int value = 0;

    atomic_store(&refusals_left, REFUSALS);
    AURT_ERR(AUR_EWORKER, aur_apply(*state, &value, die, 0));
    aurt_event_wait(&refused_enough);
    for (int i = 0; i < 100; i++) {
        AURT_OK(aur_apply(*state, &value, square, i));
        assert_int_equal(value, i * i);
    }
    AURT_OK(aur_apply(*state, &value, leaves, 5));
    assert_int_equal(value, 1 << 5);
    AURT_OK(
        aur_pool_pids(*state, pids, 2, AUR_NO_DEADLINE, &n)); /* who is refused is not waited for */
    assert_true((pids[0] == 0) != (pids[1] == 0));
    atomic_store(&refusals_left, 0);
    do { /* the pool tries again, after a second at most */
        AURT_OK(aur_pool_pids(*state, pids, 2, AUR_NO_DEADLINE, &n));
        AURT_OK(aur_apply(*state, &value, square, 3));
    } while (pids[0] == 0 || pids[1] == 0);
}

/* None is left, and none can be made. */
static void test_nobody(void **state)
{
    aur_options opts = AUR_OPTIONS_INIT;
    aur_pool *pool = NULL;
    int value = 0;

    (void)state;
    opts.kind = AUR_PROCESSES;
    opts.workers = 1;
    AURT_OK(aur_pool_new(&opts, &pool, NULL));
    atomic_store(&refusals_left, REFUSALS);
    AURT_ERR(AUR_EWORKER, aur_apply(pool, &value, die, 0));
    AURT_ERR(AUR_EBROKEN, aur_apply(pool, &value, square, 0));
    atomic_store(&refusals_left, 0);
    AURT_OK(aur_pool_join(pool, AUR_NO_DEADLINE));
    aur_pool_unref(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_no_spares, setup, teardown),
        cmocka_unit_test_setup_teardown(test_few_refusals, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_replacement, setup, teardown),
        cmocka_unit_test(test_nobody),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
