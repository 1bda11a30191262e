/* Goal:    tasks that find no room in a worker's deque, and no memory for a longer one, go back to the
 *          inbox: none is lost, each runs once, and one that somebody else has claimed meanwhile is left
 *          alone.
 * Method:  the program has its own malloc() over glibc's, which refuses the second array of a deque.  The
 *          only worker fills its deque from inside a task; so the next batch from outside does not fit.  The
 *          second task of that batch runs in a thread that waits for it, from before the batch is taken until
 *          the first one, which runs after the others went back, lets it go.  The thread then ends, and
 *          has to find that it runs nothing.
 * Guards:  take_outside() in src/sched/worker.c. */
/* The tools have a malloc() of their own, which this one would replace: */
/* aurt: no-asan */
/* aurt: no-tsan */
/* aurt: no-valgrind */
#include "aurt.h"

#include <auriga.h>
#include <pthread.h>

#include "sync/deque.h"

#define DEQUE 256   /* AURI_DEQUE_FIRST in sync/deque.c */
#define INSIDE 300  /* more than that: some go to the inbox at once */
#define OUTSIDE 200 /* more than a batch */

extern void *__libc_malloc(size_t size);

static atomic_bool armed;
static _Atomic(uint32_t) refusals;

void *malloc(size_t size)
{
    size_t longer =
        sizeof(struct auri_deque_array) + 2 * DEQUE * sizeof(_Atomic(struct aur_future *));

    if (size == longer && atomic_load(&armed)) {
        atomic_fetch_add(&refusals, 1);
        return NULL;
    }
    return __libc_malloc(size);
}

/* ---- tasks ----------------------------------------------------------------------------------- */

static aurt_event started;  /* the worker is in fill() */
static aurt_event queued;   /* all of outside[] is in the inbox */
static aurt_event kept;     /* keep() runs, in the thread that waits for it */
static aurt_event returned; /* the rest of a batch is back in the inbox */
static aur_future *inside[INSIDE];
static aur_future *outside[OUTSIDE];
static _Atomic(uint32_t) runs[INSIDE + OUTSIDE];

static void count(int number)
{
    atomic_fetch_add(&runs[number], 1);
}
AUR_FN_VOID(count, int);

/* The worker's first task. */
static void fill(int unused)
{
    (void)unused;
    aurt_event_set(&started);
    aurt_event_wait(&queued);
    aurt_event_wait(&kept);
    for (int i = 0; i < INSIDE; i++) {
        AURT_CHECK(aur_apply_async(aur_pool_current(), &inside[i], count, i) == AUR_OK);
    }
}
AUR_FN_VOID(fill, int);

/* The oldest from outside: who takes a batch runs it, once the others are where they belong. */
static void release(int number)
{
    count(number);
    aurt_event_set(&returned);
}
AUR_FN_VOID(release, int);

/* The second oldest, so the last that goes back. */
static void keep(int number)
{
    count(number);
    aurt_event_set(&kept);
    aurt_event_wait(&returned);
}
AUR_FN_VOID(keep, int);

static void *wait_for(void *future)
{
    AURT_CHECK(aur_future_outcome(future, AUR_NO_DEADLINE) == AUR_OK);
    return NULL;
}

/* ---- the test -------------------------------------------------------------------------------- */

static void expect_once(aur_future *future, int number)
{
    AURT_OK(aur_future_outcome(future, AUR_NO_DEADLINE));
    assert_int_equal(atomic_load(&runs[number]), 1);
    aur_future_unref(future);
}

static void batch_that_does_not_fit(void **state)
{
    aur_options opts = AUR_OPTIONS_INIT;
    aur_pool *pool = NULL;
    aur_stats stats = { .size = sizeof(stats) };
    AUR_SCOPED(aur_future) *first = NULL;
    pthread_t waiter;

    (void)state;
    opts.workers = 1;
    opts.spares_max = AUR_NO_SPARES; /* nobody stands in for the worker */
    AURT_OK(aur_pool_new(&opts, &pool, NULL));
    AURT_OK(aur_apply_async(pool, &first, fill, 0));
    aurt_event_wait(&started);
    AURT_OK(aur_apply_async(pool, &outside[0], release, INSIDE));
    AURT_OK(aur_apply_async(pool, &outside[1], keep, INSIDE + 1));
    for (int i = 2; i < OUTSIDE; i++) {
        AURT_OK(aur_apply_async(pool, &outside[i], count, INSIDE + i));
    }
    atomic_store(&armed, true);
    aurt_event_set(&queued);
    AURT_CHECK(pthread_create(&waiter, NULL, wait_for, outside[1]) == 0);
    AURT_CHECK(pthread_join(waiter, NULL) == 0);

    AURT_OK(aur_future_outcome(first, AUR_NO_DEADLINE));
    for (int i = 0; i < INSIDE; i++) {
        expect_once(inside[i], i);
    }
    for (int i = 0; i < OUTSIDE; i++) {
        expect_once(outside[i], INSIDE + i);
    }
    AURT_OK(aur_pool_join(pool, AUR_NO_DEADLINE));
    AURT_OK(aur_pool_stats(pool, &stats));
    assert_int_equal(stats.submitted, 1 + INSIDE + OUTSIDE);
    assert_int_equal(stats.done, stats.submitted);
    assert_true(atomic_load(&refusals) > 0);
    aur_pool_unref(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batch_that_does_not_fit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
