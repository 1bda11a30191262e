/* Goal:   calls that tasks submit to their own pool without asking for a future: each runs once, also
 *         where there are more of them than a worker's own queue holds; a pool that is closed meanwhile
 *         ends after the last of them and not before; and the statistics count what was submitted, not
 *         what a worker has counted in advance.
 * Method: trees of calls that count themselves; one worker for what has to be exact.
 * Guards: count_in_credit() in src/pool/submit.c, auri_finished_flush() in src/sched/run.c, SOLE in
 *         src/task/task.h, the full deque in threads_submit(). */
#include "kinds.h"

#include <sched.h>
#include <stdatomic.h>

#define WIDE 1000 /* a deque holds 256 */

static atomic_uint ran;

static void leaf(int x)
{
    (void)x;
    atomic_fetch_add_explicit(&ran, 1, memory_order_relaxed);
}
AUR_FN_VOID(leaf, int);

static void wide(int n)
{
    atomic_fetch_add_explicit(&ran, 1, memory_order_relaxed);
    for (int i = 0; i < n; i++) {
        AURT_OK(aur_apply_async(aur_pool_current(), NULL, leaf, i));
    }
}
AUR_FN_VOID(wide, int);

static void deep(int depth);
AUR_FN_VOID(deep, int);
static void deep(int depth)
{
    atomic_fetch_add_explicit(&ran, 1, memory_order_relaxed);
    for (int i = 0; depth > 0 && i < 3; i++) {
        AURT_OK(aur_apply_async(aur_pool_current(), NULL, deep, depth - 1));
    }
}
#define DEEP 7
#define DEEP_ALL ((2187 * 3 - 1) / 2) /* 3^0 + ... + 3^7 */

/* Closed at once: what is under way may go on submitting, and the pool waits for all of it. */
static void closed_meanwhile(void **state)
{
    (void)state;
    for (uint32_t workers = 1; workers <= 8; workers *= 2) {
        for (int round = 0; round < 20; round++) {
            aur_pool *pool = aurt_threads_of(workers);
            atomic_store(&ran, 0);
            AURT_OK(aur_apply_async(pool, NULL, wide, WIDE));
            AURT_OK(aur_apply_async(pool, NULL, deep, DEEP));
            AURT_OK(aur_pool_join(pool, AUR_NO_DEADLINE));
            assert_int_equal(atomic_load(&ran), WIDE + 1 + DEEP_ALL);
            aur_stats stats = aurt_stats(pool);
            assert_int_equal(stats.submitted, WIDE + 1 + DEEP_ALL);
            assert_int_equal(stats.done, stats.submitted);
            aur_pool_unref(pool);
        }
    }
}

/* What the only worker knows is exact. */
static int counts(int n)
{
    aur_pool *pool = aur_pool_current();
    uint64_t before = aurt_stats(pool).submitted;

    for (int i = 1; i <= n; i++) {
        AURT_OK(aur_apply_async(pool, NULL, leaf, i));
        if (aurt_stats(pool).submitted != before + (uint64_t)i) {
            return i;
        }
    }
    return 0;
}
AUR_FN(int, counts, int);

static void counted_as_submitted(void **state)
{
    aur_pool *pool = aurt_threads_of(1);
    AUR_SCOPED(aur_future) *future = NULL;
    int wrong = -1;

    (void)state;
    AURT_OK(aur_apply_async(pool, &future, counts, 200));
    AURT_OK(aur_pool_join(pool, AUR_NO_DEADLINE));
    AURT_OK(aur_future_result(future, &wrong, AUR_NO_DEADLINE));
    assert_int_equal(wrong, 0);
    assert_int_equal(aurt_stats(pool).submitted, 201);
    aur_pool_unref(pool);
}

/* A failure that nobody can ask for is counted, and frees what it holds. */
static void fails(int x)
{
    aur_fail(x, "as it should");
}
AUR_FN_VOID(fails, int);

static void submits_failures(int n)
{
    for (int i = 0; i < n; i++) {
        AURT_OK(aur_apply_async(aur_pool_current(), NULL, fails, i));
    }
}
AUR_FN_VOID(submits_failures, int);

static void failures_are_counted(void **state)
{
    aur_pool *pool = aurt_threads_of(2);

    (void)state;
    AURT_OK(aur_apply_async(pool, NULL, submits_failures, 300));
    AURT_OK(aur_pool_join(pool, AUR_NO_DEADLINE));
    aur_stats stats = aurt_stats(pool);
    assert_int_equal(stats.failed, 300);
    assert_int_equal(stats.unseen, 300);
    assert_int_equal(stats.done, 1);
    aur_pool_unref(pool);
}

/* Terminated: what has not started is cancelled, wherever it lies. */
static aurt_event submitted_all;

static void waits_for_end(int n)
{
    for (int i = 0; i < n; i++) {
        AURT_OK(aur_apply_async(aur_pool_current(), NULL, leaf, i));
    }
    aurt_event_set(&submitted_all);
    while (aur_checkpoint() == AUR_OK) {
        sched_yield();
    }
}
AUR_FN_VOID(waits_for_end, int);

static void terminated_meanwhile(void **state)
{
    aur_pool *pool = aurt_threads_of(1);

    (void)state;
    atomic_store(&ran, 0);
    AURT_OK(aur_apply_async(pool, NULL, waits_for_end, WIDE));
    aurt_event_wait(&submitted_all);
    AURT_OK(aur_pool_terminate(pool));
    AURT_OK(aur_pool_join(pool, AUR_NO_DEADLINE));
    aur_stats stats = aurt_stats(pool);
    assert_int_equal(stats.submitted, WIDE + 1);
    assert_int_equal(stats.done + stats.failed + stats.cancelled, WIDE + 1);
    assert_int_equal(atomic_load(&ran) + stats.cancelled, WIDE);
    aur_pool_unref(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(closed_meanwhile),
        cmocka_unit_test(counted_as_submitted),
        cmocka_unit_test(failures_are_counted),
        cmocka_unit_test(terminated_meanwhile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
