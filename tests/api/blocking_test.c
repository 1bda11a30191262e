/* Goal:   tasks that block do not hold up the others, whether they say so or not; what they say is
 *         balanced, also where a task forgets the end, or ends its thread.
 * Method: more blocked tasks than workers, each of which goes on only once all have started.
 * Guards: aur_blocking_begin(), the spares and the lot in src/sched/threads.c, src/sched/monitor.c. */
#include "aurt.h"

#include <auriga.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#define TASKS 64

static aur_pool *pool_of(uint32_t workers, uint32_t spares)
{
    aur_options opts = AUR_OPTIONS_INIT;
    aur_pool *pool = NULL;

    opts.workers = workers;
    opts.spares_max = spares;
    AURT_CHECK(aur_pool_new(&opts, &pool, NULL) == AUR_OK);
    return pool;
}

typedef aurt_barrier *barrier_ptr;

static int meet(barrier_ptr barrier)
{
    aur_blocking_begin();
    aur_blocking_begin(); /* they nest */
    aurt_barrier_wait(barrier);
    aur_blocking_end();
    aur_blocking_end();
    aur_blocking_end(); /* one too many does no harm */
    return 1;
}
AUR_FN(int, meet, barrier_ptr);

static void all_get_to_start(void **state)
{
    AUR_SCOPED(aur_pool) *pool = pool_of(2, 0);
    aurt_barrier barrier = { .parties = TASKS };
    aur_future *future[TASKS];

    (void)state;
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < TASKS; i++) {
            AURT_OK(aur_apply_async(pool, &future[i], meet, &barrier));
        }
        for (int i = 0; i < TASKS; i++) {
            AURT_OK(aur_future_outcome(future[i], AUR_NO_DEADLINE));
            aur_future_unref(future[i]);
        }
    }
    aur_stats stats = { .size = sizeof(stats) };
    AURT_OK(aur_pool_stats(pool, &stats));
    /* Two of the others run on the workers, and one may run here, in place of the wait. */
    assert_true(stats.spares >= TASKS - 3);
    assert_true(stats.workers <= 2 + 256 + 1); /* no more than the limits allow */
}

/* The same by tasks that say nothing. */
static int meet_silently(barrier_ptr barrier)
{
    aurt_barrier_wait(barrier);
    return 1;
}
AUR_FN(int, meet_silently, barrier_ptr);

static void meet_all(uint32_t workers, int tasks)
{
    AUR_SCOPED(aur_pool) *pool = pool_of(workers, 0);
    aurt_barrier barrier = { .parties = (uint32_t)tasks };
    aur_future *future[TASKS];
    aur_stats stats = { .size = sizeof(stats) };

    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < tasks; i++) {
            AURT_OK(aur_apply_async(pool, &future[i], meet_silently, &barrier));
        }
        for (int i = 0; i < tasks; i++) {
            /* No help: the waiting thread would be one of the parties. */
            AURT_OK(aur_future_outcome(future[i], aur_deadline_in_ms(600000)));
            aur_future_unref(future[i]);
        }
    }
    AURT_OK(aur_pool_stats(pool, &stats));
    assert_true(stats.spares >= (uint64_t)tasks - workers);
    assert_true(stats.workers <= workers + 64);
}

static void blocked_ones_are_seen(void **state)
{
    (void)state;
    meet_all(1, 2);
    meet_all(2, TASKS);
    meet_all(5, 40);
}

/* Silent tasks on the workers, then tasks that wait for queued ones: both kinds of stand-ins at once. */
static int submits_and_waits(barrier_ptr barrier)
{
    AUR_SCOPED(aur_future) *inner = NULL;
    int v = 0;

    if (aur_apply_async(aur_pool_current(), &inner, meet_silently, barrier) != AUR_OK ||
        aur_future_result(inner, &v, aur_deadline_in_ms(600000)) != AUR_OK) {
        return aur_fail(1, "the inner task failed");
    }
    return v;
}
AUR_FN(int, submits_and_waits, barrier_ptr);

static void seen_ones_beside_waits(void **state)
{
    AUR_SCOPED(aur_pool) *pool = pool_of(2, 0);
    aurt_barrier barrier = { .parties = 24 };
    aur_future *future[24];

    (void)state;
    for (int i = 0; i < 24; i++) {
        AURT_OK(i % 2 == 0 ? aur_apply_async(pool, &future[i], meet_silently, &barrier)
                           : aur_apply_async(pool, &future[i], submits_and_waits, &barrier));
    }
    for (int i = 0; i < 24; i++) {
        AURT_OK(aur_future_outcome(future[i], aur_deadline_in_ms(600000)));
        aur_future_unref(future[i]);
    }
}

static _Atomic(int) inside_now;
static _Atomic(int) inside_most;

/* The sleep is the task's work. */
static int sleeps(int ms)
{
    struct timespec pause = { 0, ms * 1000000L };
    int now = atomic_fetch_add(&inside_now, 1) + 1;

    for (int most = atomic_load(&inside_most);
         now > most && !atomic_compare_exchange_weak(&inside_most, &most, now);) {
    }
    nanosleep(&pause, NULL);
    atomic_fetch_sub(&inside_now, 1);
    return ms;
}
AUR_FN(int, sleeps, int);

/* Where the user wants no more than so many at once, or no spares, it stays at that. */
static void fixed_pools_stay_so(void **state)
{
    (void)state;
    for (int way = 0; way < 2; way++) {
        aur_options opts = AUR_OPTIONS_INIT;
        aur_pool *pool = NULL;
        opts.workers = 3;
        opts.flags = way == 0 ? AUR_POOL_FIXED : 0;
        opts.spares_max = way == 0 ? 0 : AUR_NO_SPARES;
        AURT_OK(aur_pool_new(&opts, &pool, NULL));
        atomic_store(&inside_most, 0);
        for (int i = 0; i < 60; i++) {
            AURT_OK(aur_apply_async(pool, NULL, sleeps, 5));
        }
        AURT_OK(aur_pool_join(pool, AUR_NO_DEADLINE));
        assert_true(atomic_load(&inside_most) <= 3);
        aur_pool_unref(pool);
    }
}

static int plain(int x)
{
    return x;
}
AUR_FN(int, plain, int);

static void check_works(aur_pool *pool, int n)
{
    aur_future *future[200];

    for (int i = 0; i < n; i++) {
        AURT_OK(aur_apply_async(pool, &future[i], plain, i));
    }
    for (int i = 0; i < n; i++) {
        int v = -1;
        AURT_OK(aur_future_result(future[i], &v, AUR_NO_DEADLINE));
        assert_int_equal(v, i);
        aur_future_unref(future[i]);
    }
}

/* No spare is to be had beyond the reserve: begin fails in silence, and end must not undo what it did
 * not do, or the pool loses a worker each time. */
static int block_in_vain(int x)
{
    aur_blocking_begin();
    for (volatile int i = 0; i < 1000; i++) {
    }
    aur_blocking_end();
    return x;
}
AUR_FN(int, block_in_vain, int);

static void without_spares(void **state)
{
    AUR_SCOPED(aur_pool) *pool = pool_of(1, AUR_NO_SPARES);
    aur_future *future[200];

    (void)state;
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < 200; i++) {
            AURT_OK(aur_apply_async(pool, &future[i], block_in_vain, i));
        }
        for (int i = 0; i < 200; i++) {
            AURT_OK(
                aur_future_wait(future[i], aur_deadline_in_ms(600000))); /* no help: workers only */
            aur_future_unref(future[i]);
        }
    }
}

static int forget(int x)
{
    aur_blocking_begin();
    return x;
}
AUR_FN(int, forget, int);

static void forgotten_ends(void **state)
{
    AUR_SCOPED(aur_pool) *pool = pool_of(2, 4);

    (void)state;
    for (int i = 0; i < 50; i++) {
        AUR_SCOPED(aur_future) *future = NULL;
        AURT_OK(aur_apply_async(pool, &future, forget, i));
        AURT_OK(aur_future_outcome(future, AUR_NO_DEADLINE));
    }
    check_works(pool, 200);
}

/* ---- tasks that end their thread ------------------------------------------------------------ */

static int leave(int how)
{
    if (how % 2 == 1) {
        aur_blocking_begin();
    }
    if (how >= 0) {
        pthread_exit(NULL);
    }
    return how;
}
AUR_FN(int, leave, int);

static void ended_threads_are_replaced(void **state)
{
    (void)state;
    for (uint32_t workers = 1; workers <= 2; workers++) {
        AUR_SCOPED(aur_pool) *pool = pool_of(workers, workers == 1 ? AUR_NO_SPARES : 0);
        for (int i = 0; i < 20; i++) {
            AUR_SCOPED(aur_future) *future = NULL;
            AUR_SCOPED(aur_future) *after = NULL;
            AURT_OK(aur_apply_async(pool, &future, leave, i));
            AURT_OK(aur_apply_async(pool, &after, plain, i));
            aur_deadline until = aur_deadline_in_ms(600000); /* never helps: this thread stays */
            AURT_ERR(AUR_EEXITED, aur_future_outcome(future, until));
            AURT_OK(aur_future_outcome(after, until));
        }
    }
}

static int leave_some(int number)
{
    for (volatile int i = 0; i < 20000; i++) {
    }
    if (number % 50 == 49) {
        pthread_exit(NULL);
    }
    return number;
}
AUR_FN(int, leave_some, int);

/* A map whose items end the threads that run them, owner and helpers: it ends, with that error. */
static void map_that_ends_threads(void **state)
{
    static int in[200];
    static int out[200];

    (void)state;
    for (int i = 0; i < 200; i++) {
        in[i] = i;
    }
    for (uint32_t workers = 1; workers <= 4; workers++) {
        AUR_SCOPED(aur_pool) *pool = pool_of(workers, 0);
        for (int round = 0; round < 10; round++) {
            AUR_SCOPED(aur_future) *future = NULL;
            AURT_OK(aur_map_async(pool, &future, leave_some, in, 200, out));
            AURT_ERR(AUR_EEXITED, aur_future_outcome(future, aur_deadline_in_ms(600000)));
        }
        check_works(pool, 200);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_get_to_start),       cmocka_unit_test(without_spares),
        cmocka_unit_test(forgotten_ends),         cmocka_unit_test(ended_threads_are_replaced),
        cmocka_unit_test(map_that_ends_threads),  cmocka_unit_test(blocked_ones_are_seen),
        cmocka_unit_test(seen_ones_beside_waits), cmocka_unit_test(fixed_pools_stay_so),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
