/* Goal:    AUR_POOL_FIFO: calls begin in the order of their submits, whoever submits.
 * Method:  of two workers one is held, so that the order in which the other one runs calls is that of the
 *          pool; the calls note it.  Both are held while calls are submitted.
 * Guards:  take_outside() and take_in_order() in src/sched/worker.c, put_first() in src/sched/wait.c,
 *          threads_submit() in src/sched/threads.c.
 */
#include "aurt.h"

#include <stdatomic.h>

#include <auriga.h>

enum { N = 200, WORKERS = 2, HOLDERS = WORKERS + 1 };

static aurt_event held[HOLDERS];
static aurt_event go[HOLDERS];
static aurt_event all_noted;
static int order[N];
static atomic_int noted;
static aur_pool *pool;

static int hold(int which)
{
    aurt_event_set(&held[which]);
    aurt_event_wait(&go[which]);
    return which;
}
AUR_FN(int, hold, int);

static int note(int x)
{
    int n = atomic_fetch_add(&noted, 1);

    order[n] = x;
    if (n == N - 1) {
        aurt_event_set(&all_noted);
    }
    return x;
}
AUR_FN(int, note, int);

static int submit_rest(int from)
{
    for (int i = from; i < N; i++) {
        AURT_OK(aur_apply_async(pool, NULL, note, i));
    }
    return from;
}
AUR_FN(int, submit_rest, int);

static int setup(void **state)
{
    aur_options opts = AUR_OPTIONS_INIT;

    (void)state;
    opts.workers = WORKERS;
    opts.flags = AUR_POOL_FIFO | AUR_POOL_FIXED; /* nobody stands in for one that is held */
    AURT_OK(aur_pool_new(&opts, &pool, NULL));
    atomic_store(&noted, 0);
    all_noted = (aurt_event){ 0 };
    for (int i = 0; i < HOLDERS; i++) {
        held[i] = (aurt_event){ 0 };
        go[i] = (aurt_event){ 0 };
    }
    for (int i = 0; i < WORKERS; i++) {
        AURT_OK(aur_apply_async(pool, NULL, hold, i));
    }
    for (int i = 0; i < WORKERS; i++) {
        aurt_event_wait(&held[i]);
    }
    return 0;
}

static int check_order(void **state)
{
    (void)state;
    aurt_event_wait(&all_noted);
    for (int i = 1; i < HOLDERS; i++) {
        aurt_event_set(&go[i]);
    }
    for (int i = 0; i < N; i++) {
        assert_int_equal(order[i], i);
    }
    AURT_OK(aur_pool_join(pool, AUR_NO_DEADLINE));
    pool = aur_pool_unref(pool);
    return 0;
}

static void from_outside(void **state)
{
    (void)state;
    for (int i = 0; i < N; i++) {
        if (i == N / 2) {
            aurt_event_set(&go[0]);
        }
        AURT_OK(aur_apply_async(pool, NULL, note, i));
    }
}

/* What a task submits comes behind what was submitted before. */
static void from_inside(void **state)
{
    (void)state;
    AURT_OK(aur_apply_async(pool, NULL, submit_rest, 2));
    AURT_OK(aur_apply_async(pool, NULL, note, 0));
    AURT_OK(aur_apply_async(pool, NULL, note, 1));
    aurt_event_set(&go[0]);
}

/* The worker that begins the oldest call is held in it, and has taken no other with it. */
static void beside_one_that_is_held(void **state)
{
    (void)state;
    AURT_OK(aur_apply_async(pool, NULL, hold, WORKERS));
    for (int i = 0; i < N; i++) {
        AURT_OK(aur_apply_async(pool, NULL, note, i));
    }
    for (int i = 0; i < WORKERS; i++) {
        aurt_event_set(&go[i]);
    }
}

static aur_future *later[N];

static int wait_for(int i)
{
    int v = 0;

    AURT_OK(aur_future_result(later[i], &v, AUR_NO_DEADLINE));
    return v;
}
AUR_FN(int, wait_for, int);

static int wait_for_any(int i)
{
    aur_completed *set = NULL;
    size_t index = 1;

    AURT_OK(aur_as_completed(&later[i], 1, &set));
    AURT_OK(aur_completed_next(set, &index, AUR_NO_DEADLINE));
    assert_int_equal(index, 0);
    aur_completed_free(set);
    return i;
}
AUR_FN(int, wait_for_any, int);

/* More calls wait than there are stand-ins, for some that were submitted after all of them: each for one of
 * its own, or all for the last. */
static void wait_in_line(bool any)
{
    aur_options opts = AUR_OPTIONS_INIT;
    aur_future *first[N];
    aur_future *gate = NULL;
    int v = 0;

    opts.workers = 1;
    opts.spares_max = 2;
    opts.flags = AUR_POOL_FIFO | AUR_POOL_FIXED | AUR_POOL_NO_HELP;
    AURT_OK(aur_pool_new(&opts, &pool, NULL));
    held[0] = (aurt_event){ 0 };
    go[0] = (aurt_event){ 0 };
    AURT_OK(aur_apply_async(pool, &gate, hold, 0));
    for (int i = 0; i < N; i++) {
        AURT_OK(any ? aur_apply_async(pool, &first[i], wait_for_any, N - 1)
                    : aur_apply_async(pool, &first[i], wait_for, i));
    }
    for (int i = 0; i < N; i++) {
        AURT_OK(aur_apply_async(pool, &later[i], hold, 0));
    }
    aurt_event_set(&go[0]);
    for (int i = 0; i < N; i++) {
        AURT_OK(aur_future_result(first[i], &v, AUR_NO_DEADLINE));
        aur_future_unref(first[i]);
        aur_future_unref(later[i]);
    }
    aur_future_unref(gate);
    AURT_OK(aur_pool_join(pool, AUR_NO_DEADLINE));
    pool = aur_pool_unref(pool);
}

static void what_is_waited_for(void **state)
{
    (void)state;
    wait_in_line(false);
    wait_in_line(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(from_outside, setup, check_order),
        cmocka_unit_test_setup_teardown(from_inside, setup, check_order),
        cmocka_unit_test_setup_teardown(beside_one_that_is_held, setup, check_order),
        cmocka_unit_test(what_is_waited_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
