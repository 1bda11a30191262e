/* Goal:    queue_max: never more calls wait than that; each policy does what it says.
 * Method:  one worker that is held at a gate, and a queue that is filled behind it.
 * Guards:  take_room() in src/pool/submit.c. */
#include "kinds.h"

#include <pthread.h>

#define MAX 4

static aurt_event go;
static aurt_event running;
static aurt_event submitted;

static int gate(int x)
{
    aurt_event_set(&running);
    aurt_event_wait(&go);
    return x;
}
AUR_FN(int, gate, int);

static long on_thread(int unused)
{
    (void)unused;
    return syscall(SYS_gettid);
}
AUR_FN(long, on_thread, int);

/* A pool whose one worker is at the gate, and whose queue is empty. */
static aur_pool *held_pool(int policy)
{
    aur_options opts = AUR_OPTIONS_INIT;

    opts.workers = 1;
    opts.flags = AUR_POOL_FIXED; /* nobody stands in for it */
    opts.queue_max = MAX;
    opts.queue_policy = policy;
    atomic_store(&go.set, 0);
    atomic_store(&running.set, 0);
    atomic_store(&submitted.set, 0);
    aur_pool *pool = aurt_pool_with(&opts);
    AURT_OK(aur_apply_async(pool, NULL, gate, 0));
    aurt_event_wait(&running);
    return pool;
}

static aur_pool *full_pool(int policy)
{
    aur_pool *pool = held_pool(policy);

    for (int i = 0; i < MAX; i++) {
        AURT_OK(aur_apply_async(pool, NULL, gate, i));
    }
    return pool;
}

static void test_fail(void **state)
{
    (void)state;
    aur_pool *pool = full_pool(AUR_QUEUE_FAIL);
    aur_future *future = NULL;
    aur_future *dropped = NULL;
    int in = 1;

    AURT_ERR(AUR_EBUSY, aur_apply_async(pool, NULL, gate, 1));
    AURT_ERR(AUR_EBUSY, aur_apply_async(pool, &future, gate, 1));
    AURT_ERR(AUR_EBUSY, aur_map_async(pool, &future, gate, &in, 1, NULL));
    assert_int_equal(aur_last_error()->err, AUR_EBUSY);
    assert_null(future);
    long here = 0;
    AURT_OK(
        aur_apply(pool, &here, on_thread, 0)); /* never waits in the queue: the caller runs it */
    assert_int_equal(here, syscall(SYS_gettid));
    aurt_event_set(&go);
    while (aur_apply_async(pool, &dropped, gate, 5) == AUR_EBUSY) {
        sched_yield();
    }
    AURT_OK(aur_future_wait(dropped, AUR_NO_DEADLINE));
    aur_future_unref(dropped);
    aur_stats stats = { .size = sizeof(stats) };
    AURT_OK(aur_pool_join(pool, AUR_NO_DEADLINE));
    AURT_OK(aur_pool_stats(pool, &stats));
    assert_int_equal(stats.submitted, 1 + MAX + 1 + 1); /* what was refused does not count */
    assert_int_equal(stats.done, stats.submitted);
    aur_pool_unref(pool);
}

static void test_cancel_makes_room(void **state)
{
    (void)state;
    aur_pool *pool = held_pool(AUR_QUEUE_FAIL);

    for (int i = 0; i < 3 * MAX; i++) {
        aur_future *future = NULL;
        AURT_OK(aur_apply_async(pool, &future, gate, i));
        AURT_OK(aur_future_cancel(future, NULL));
        aur_future_unref(future);
    }
    for (int i = 0; i < MAX; i++) {
        AURT_OK(aur_apply_async(pool, NULL, gate, i));
    }
    AURT_ERR(AUR_EBUSY, aur_apply_async(pool, NULL, gate, 0));
    aurt_event_set(&go);
    aurt_pool_end(pool);
}

static void test_caller_runs(void **state)
{
    (void)state;
    aur_pool *pool = full_pool(AUR_QUEUE_CALLER_RUNS);
    aur_future *future = NULL;
    aur_future *map = NULL;
    long tid = 0;
    int in[3] = { 0 };
    long tids[3];

    AURT_OK(aur_apply_async(pool, &future, on_thread, 0));
    assert_true(aur_future_done(future));
    AURT_OK(aur_future_result(future, &tid, 0));
    assert_int_equal(tid, syscall(SYS_gettid));
    AURT_OK(aur_map_async(pool, &map, on_thread, in, 3, tids));
    AURT_OK(aur_future_outcome(map, 0));
    assert_int_equal(tids[0], syscall(SYS_gettid));
    aur_future_unref(future);
    aur_future_unref(map);
    aurt_event_set(&go);
    aurt_pool_end(pool);
}

static void *blocked_submitter(void *pool)
{
    aurt_event_set(&submitted);
    aur_err err = aur_apply_async(pool, NULL, gate, 9);

    AURT_CHECK(err == AUR_OK);
    return NULL;
}

static void test_block(void **state)
{
    (void)state;
    aur_pool *pool = full_pool(AUR_QUEUE_BLOCK);
    pthread_t thread[3];

    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_create(&thread[i], NULL, blocked_submitter, pool), 0);
    }
    aurt_event_wait(&submitted);
    aurt_event_set(&go);
    for (int i = 0; i < 3; i++) {
        pthread_join(thread[i], NULL);
    }
    for (int i = 0; i < 1000; i++) {
        AURT_OK(aur_apply_async(pool, NULL, gate, i));
    }
    aurt_pool_end(pool);
}

static void *refused_submitter(void *pool)
{
    aurt_event_set(&submitted);
    aur_err err = aur_apply_async(pool, NULL, gate, 9);

    AURT_CHECK(err == AUR_ESHUTDOWN || err == AUR_OK);
    return NULL;
}

static void test_end_while_blocked(void **state)
{
    (void)state;
    for (int terminate = 0; terminate < 2; terminate++) {
        aur_pool *pool = full_pool(AUR_QUEUE_BLOCK);
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, refused_submitter, pool), 0);
        aurt_event_wait(&submitted);
        AURT_OK(terminate ? aur_pool_terminate(pool) : aur_pool_close(pool));
        aurt_event_set(&go);
        pthread_join(thread, NULL);
        aurt_pool_end(pool);
    }
}

/* A task that fills the queue of its own pool: the calls beyond run in it. */
static int floods(int n)
{
    int before = 0;

    aurt_event_set(&running);
    for (int i = 0; i < n; i++) {
        AUR_SCOPED(aur_future) *future = NULL;
        if (aur_apply_async(aur_pool_current(), &future, on_thread, i) != AUR_OK) {
            return -1;
        }
        before += aur_future_done(future);
    }
    return before;
}
AUR_FN(int, floods, int);

static void test_inside(void **state)
{
    (void)state;
    aur_options opts = AUR_OPTIONS_INIT;
    AUR_SCOPED(aur_future) *future = NULL;
    int here = 0;

    opts.workers = 1;
    opts.spares_max = AUR_NO_SPARES;
    opts.queue_max = MAX;
    atomic_store(&running.set, 0);
    aur_pool *pool = aurt_pool_with(&opts);
    AURT_OK(aur_apply_async(pool, &future, floods, 100));
    aurt_event_wait(&running); /* else the waiter might run it, and the worker what it submits */
    AURT_OK(aur_future_result(future, &here, AUR_NO_DEADLINE));
    assert_int_equal(here, 100 - MAX);
    aurt_pool_end(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fail),        cmocka_unit_test(test_cancel_makes_room),
        cmocka_unit_test(test_caller_runs), cmocka_unit_test(test_block),
        cmocka_unit_test(test_inside),      cmocka_unit_test(test_end_while_blocked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
