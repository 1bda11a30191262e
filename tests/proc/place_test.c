/* Goal:    a task that runs in place of a wait, on top of the task that waits: circles through it, cancels
 *          and time limits, and what becomes of the task below.
 * Method:  pools of one worker without spares, where nothing else can run what is waited for.
 * Guards:  src/proc/place.c, judge.c, guardian.c.
 */
/* aurt: no-tsan */
/* aurt: no-valgrind */
/* aurt: long */
#include "pools.h"

#define LIMIT_NS UINT64_C(2000000000) /* much more than what ends in time takes */

/* What the workers share with this program. */
static struct shared {
    aurt_event ready;
    aurt_event begun;
    aurt_event go;
    _Atomic(int) below; /* how often the task below was begun */
    _Atomic(int) inner; /* ... and the one on top */
    uint64_t ids[3];
} * shared;

static aur_err wait_for(uint64_t id)
{
    aur_future *future = NULL;
    int v = 0;

    aur_err err = aur_future_open(id, &future);
    if (err == AUR_OK) {
        err = aur_future_result(future, &v, AUR_NO_DEADLINE);
        aur_future_unref(future);
    }
    return err;
}

/* Waits for task `at`. */
static int waits(int at)
{
    atomic_fetch_add(&shared->below, 1);
    aurt_event_wait(&shared->ready);
    return -wait_for(shared->ids[at]);
}
AUR_FN(int, waits, int);

/* Runs until it is let go. */
static int blocks(int x)
{
    atomic_fetch_add(&shared->inner, 1);
    aurt_event_set(&shared->begun);
    aurt_event_wait(&shared->go);
    return x;
}
AUR_FN(int, blocks, int);

/* Never ends the first time. */
static int blocks_once(int x)
{
    if (atomic_fetch_add(&shared->inner, 1) == 0) {
        aurt_event_wait(&shared->go);
    }
    return x;
}
AUR_FN(int, blocks_once, int);

/* Item 3 never ends. */
static int blocks_at_three(int i)
{
    if (i == 3) {
        aurt_event_wait(&shared->go);
    }
    return i;
}
AUR_FN(int, blocks_at_three, int);

/* ---- tests --------------------------------------------------------------------------------- */

static aur_pool *new_pool(uint32_t retries)
{
    aur_options opts = AUR_OPTIONS_INIT;
    aur_pool *pool = NULL;

    memset(shared, 0, sizeof(*shared));
    opts.kind = AUR_PROCESSES;
    opts.workers = 1;
    opts.spares_max = AUR_NO_SPARES;
    opts.retries = retries;
    AURT_OK(aur_pool_new(&opts, &pool, NULL));
    return pool;
}

/* n tasks of one worker, each of which waits for the next, and the last for the first. */
static void test_circle(void **state)
{
    (void)state;
    for (int n = 1; n <= 3; n++) {
        aur_pool *pool = new_pool(0);
        aur_future *futures[3];
        int refused = 0;
        for (int i = 0; i < n; i++) {
            AURT_OK(aur_apply_async(pool, &futures[i], waits, (i + 1) % n));
            shared->ids[i] = aur_future_id(futures[i]);
        }
        aurt_event_set(&shared->ready);
        for (int i = 0; i < n; i++) {
            int v = 1;
            AURT_OK(aur_future_result(futures[i], &v, AUR_NO_DEADLINE));
            assert_true(v == AUR_OK || v == -AUR_EDEADLK);
            refused += v != AUR_OK;
        }
        assert_int_equal(refused,
                         1); /* whoever closed the circle; the others got what they waited for */
        for (int i = 0; i < n; i++) {
            aur_future_unref(futures[i]);
        }
        aurt_pool_end(pool);
    }
}

/* Once it runs it cannot be cancelled; before that it can. */
static void test_cancel(void **state)
{
    aur_pool *pool = new_pool(0);
    aur_future *below, *inner;
    int what = 0, v = 0;

    (void)state;
    AURT_OK(aur_apply_async(pool, &below, waits, 0));
    AURT_OK(aur_apply_async(pool, &inner, blocks, 7));
    shared->ids[0] = aur_future_id(inner);
    aurt_event_set(&shared->ready);
    aurt_event_wait(&shared->begun);
    AURT_OK(aur_future_cancel(inner, &what));
    assert_int_equal(what, AUR_CANCEL_TOO_LATE);
    aurt_event_set(&shared->go);
    AURT_OK(aur_future_result(inner, &v, AUR_NO_DEADLINE));
    assert_int_equal(v, 7);
    AURT_OK(aur_future_result(below, &v, AUR_NO_DEADLINE));
    assert_int_equal(v, AUR_OK);
    aur_future_unref(inner);
    aur_future_unref(below);
    aurt_pool_end(pool);
}

/* A cancel of the task below kills the worker; the one on top is lost with it, and not begun again. */
static void test_cancel_below(void **state)
{
    (void)state;
    for (uint32_t retries = 0; retries <= 1; retries++) {
        aur_pool *pool = new_pool(retries);
        aur_future *below, *inner;
        int what = 0, v = 0;
        AURT_OK(aur_apply_async(pool, &below, waits, 0));
        AURT_OK(aur_apply_async(pool, &inner, blocks, 7));
        shared->ids[0] = aur_future_id(inner);
        aurt_event_set(&shared->ready);
        aurt_event_wait(&shared->begun);
        AURT_OK(aur_future_cancel(below, &what));
        assert_int_equal(what, AUR_CANCEL_KILLED);
        aurt_event_set(&shared->go);
        AURT_ERR(AUR_ECANCELED, aur_future_outcome(below, AUR_NO_DEADLINE));
        if (retries == 0) {
            AURT_ERR(AUR_EWORKER, aur_future_outcome(inner, AUR_NO_DEADLINE));
        } else {
            AURT_OK(aur_future_result(inner, &v, AUR_NO_DEADLINE));
            assert_int_equal(v, 7);
        }
        assert_int_equal(atomic_load(&shared->inner), 1 + (int)retries);
        aur_future_unref(inner);
        aur_future_unref(below);
        aurt_pool_end(pool);
    }
}

/* A task that never ends is killed at its limit although it has no entry; the one below dies with it. */
static void test_limit(void **state)
{
    (void)state;
    for (uint32_t retries = 0; retries <= 1; retries++) {
        aur_pool *pool = new_pool(retries);
        aur_call_options opts = AUR_CALL_OPTIONS_INIT;
        aur_future *below, *inner;
        int v = 0;
        opts.item_timeout_ns = LIMIT_NS;
        opts.retries = retries;
        opts.retry_on = AUR_RETRY_WORKER | AUR_RETRY_DEADLINE;
        AURT_OK(aur_apply_async(pool, &below, waits, 0));
        AURT_OK(aur_apply_async_with(pool, &opts, &inner, blocks_once, 7));
        shared->ids[0] = aur_future_id(inner);
        aurt_event_set(&shared->ready);
        if (retries == 0) {
            AURT_ERR(AUR_EDEADLINE, aur_future_outcome(inner, AUR_NO_DEADLINE));
            AURT_ERR(AUR_EWORKER, aur_future_outcome(below, AUR_NO_DEADLINE));
        } else {
            AURT_OK(aur_future_result(inner, &v, AUR_NO_DEADLINE));
            assert_int_equal(v, 7);
            AURT_OK(aur_future_result(below, &v, AUR_NO_DEADLINE));
            assert_int_equal(v, AUR_OK);
        }
        assert_int_equal(atomic_load(&shared->below), 1 + (int)retries);
        assert_int_equal(atomic_load(&shared->inner), 1 + (int)retries);
        aur_future_unref(inner);
        aur_future_unref(below);
        aurt_pool_end(pool);
    }
}

/* The same for an item of a map, which is blamed alone. */
static void test_limit_of_item(void **state)
{
    enum { N = 6 };
    aur_pool *pool = new_pool(0);
    aur_call_options opts = AUR_CALL_OPTIONS_INIT;
    aur_future *below, *map;
    int in[N], out[N];
    aur_err errs[N];

    (void)state;
    opts.item_timeout_ns = LIMIT_NS;
    opts.flags = AUR_CALL_ALL_ERRORS;
    opts.item_errs = errs;
    for (int i = 0; i < N; i++) {
        in[i] = i;
    }
    AURT_OK(aur_apply_async(pool, &below, waits, 0));
    AURT_OK(aur_map_async_with(pool, &opts, &map, blocks_at_three, in, N, out));
    shared->ids[0] = aur_future_id(map);
    aurt_event_set(&shared->ready);
    AURT_ERR(AUR_EDEADLINE, aur_future_outcome(map, AUR_NO_DEADLINE));
    AURT_ERR(AUR_EWORKER, aur_future_outcome(below, AUR_NO_DEADLINE));
    for (int i = 0; i < N; i++) {
        assert_int_equal(errs[i], i == 3 ? AUR_EDEADLINE : AUR_OK);
        assert_true(i == 3 || out[i] == i);
    }
    aur_future_unref(map);
    aur_future_unref(below);
    aurt_pool_end(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_circle),        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_cancel_below),  cmocka_unit_test(test_limit),
        cmocka_unit_test(test_limit_of_item),
    };

    shared = aurt_shared(sizeof(*shared));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
