/* Goal:    in a worker process, threads wait for futures of the parent, of pools that the worker made, and of both;
 *          no wait and no call is held up by another one, and a wait is refused only if nothing can end it.
 * Method:  a pool of one worker starts what is next in its queue only when the parent knows that the worker waits:
 *          what ends a wait is let go by that.  Where a test needs an order of waits that cannot be seen, each order
 *          has to give a right answer.
 * Guards:  src/proc/turns.c; recalled waits in src/proc/request.c, waits.c; auri_detect_needs_answer().
 */
/* aurt: no-tsan */
/* aurt: no-valgrind */
#include "gates.h"

#include <pthread.h>

enum { THREADS = 4, CALLS = 40 };

/* What the workers share with this program. */
static struct shared {
    struct gates gates;
    uint64_t id;
    uint64_t other_id;
    aurt_event waits[2];
    aurt_event told;
    int outcome;
} * shared;

/* In a pool that a task made: when the parent knows that the task waits. */
static int when_begun(int x)
{
    aurt_event_wait(&gates->begun);
    return x;
}
AUR_FN(int, when_begun, int);

static aur_future *open_one(uint64_t id)
{
    aur_future *future = NULL;

    AURT_CHECK(aur_future_open(id, &future) == AUR_OK);
    return future;
}

/* Waits for the future with that number: its result, or an error, negative. */
static int waits_for(uint64_t id)
{
    aur_future *future = open_one(id);
    int v = 0;
    aur_err err = aur_future_result(future, &v, AUR_NO_DEADLINE);

    aur_future_unref(future);
    return err == AUR_OK ? v : -err;
}
AUR_FN(int, waits_for, uint64_t);

/* The same for a future that is made later. */
static int waits_for_named(int x)
{
    (void)x;
    aurt_event_wait(&gates->ready);
    return waits_for(shared->id);
}
AUR_FN(int, waits_for_named, int);

static int waits_when_begun(int x)
{
    aurt_event_wait(&gates->begun);
    return waits_for_named(x);
}
AUR_FN(int, waits_when_begun, int);

/* A slow one of the parent's, and one of the worker's own that ends when the parent knows of the wait. */
static int own_comes_first(int kind, int timed)
{
    aur_deadline deadline = timed != 0 ? aur_deadline_in_ms(3600000) : AUR_NO_DEADLINE;
    aur_pool *own = aurt_pool_new(kind, 1, AUR_START_FORK, 0);
    AUR_SCOPED(aur_completed) *set = NULL;
    aur_future *futures[2];
    size_t index = 9;
    int v = -1;

    MUST(aur_apply_async(others, &futures[0], slow, 5) == AUR_OK);
    MUST(aur_apply_async(own, &futures[1], when_begun, 6) == AUR_OK);
    MUST(aur_wait_any(futures, 2, &index, deadline) == AUR_OK && index == 1);
    MUST(aur_as_completed(futures, 2, &set) == AUR_OK);
    MUST(aur_completed_next(set, &index, deadline) == AUR_OK && index == 1);
    MUST(aur_future_result(futures[1], &v, 0) == AUR_OK && v == 6);
    MUST(!aur_future_done(futures[0]));
    aurt_event_set(&gates->go);
    MUST(aur_completed_next(set, &index, deadline) == AUR_OK && index == 0);
    MUST(aur_future_result(futures[0], &v, 0) == AUR_OK && v == 5);
    MUST(aur_completed_next(set, &index, deadline) == AUR_END);
    aur_future_unref(futures[0]);
    aur_future_unref(futures[1]);
    aurt_pool_end(own);
    return 0;
}
AUR_FN(int, own_comes_first, int, int);

/* The other way round; and neither before the deadline. */
static int own_comes_last(int kind, int timed)
{
    aur_pool *own = aurt_pool_new(kind, 1, AUR_START_FORK, 0);
    aur_future *futures[3];
    size_t index = 9;

    MUST(aur_apply_async(own, &futures[0], slow, 6) == AUR_OK);
    MUST(aur_apply_async(others, &futures[1], slow, 5) == AUR_OK);
    MUST(aur_wait_any(futures, 2, &index, aur_deadline_in_ms(timed != 0)) == AUR_ETIMEDOUT);
    MUST(aur_apply_async(others, &futures[2], when_begun, 5) == AUR_OK);
    MUST(aur_wait_any(futures, 3, &index, AUR_NO_DEADLINE) == AUR_OK && index == 2);
    aurt_event_set(&gates->go);
    for (int i = 0; i < 3; i++) {
        MUST(aur_future_wait(futures[i], AUR_NO_DEADLINE) == AUR_OK);
        aur_future_unref(futures[i]);
    }
    aurt_pool_end(own);
    return 0;
}
AUR_FN(int, own_comes_last, int, int);

/* Of the worker's own pool, one call holds the thread, the other one is cancelled while it is waited for. */
static void *cancels(void *future)
{
    aurt_event_wait(&gates->begun);
    AURT_CHECK(aur_future_cancel(future, NULL) == AUR_OK);
    return NULL;
}

static int own_is_cancelled(int x)
{
    aur_options opts = AUR_OPTIONS_INIT;
    aur_pool *own = NULL;
    aur_future *futures[3];
    pthread_t thread;
    size_t index = 9;

    (void)x;
    opts.workers = 1;
    opts.flags = AUR_POOL_FIXED;
    MUST(aur_pool_new(&opts, &own, NULL) == AUR_OK);
    MUST(aur_apply_async(own, &futures[2], slow, 7) == AUR_OK);
    MUST(aur_apply_async(own, &futures[1], fast, 6) == AUR_OK);
    MUST(aur_apply_async(others, &futures[0], slow, 5) == AUR_OK);
    MUST(pthread_create(&thread, NULL, cancels, futures[1]) == 0);
    MUST(aur_wait_any(futures, 2, &index, AUR_NO_DEADLINE) == AUR_OK && index == 1);
    MUST(aur_future_outcome(futures[1], 0) == AUR_ECANCELED);
    MUST(pthread_join(thread, NULL) == 0);
    aurt_event_set(&gates->go);
    for (int i = 0; i < 3; i++) {
        MUST(aur_future_wait(futures[i], AUR_NO_DEADLINE) == AUR_OK);
        aur_future_unref(futures[i]);
    }
    aurt_pool_end(own);
    return 0;
}
AUR_FN(int, own_is_cancelled, int);

/* The parent's one waits for this task; one of the own pool's can end it. */
static int own_breaks_circle(int x)
{
    aur_pool *own = aurt_pool_new(AUR_THREADS, 1, 0, 0);
    aur_future *futures[2];
    size_t index = 9;

    (void)x;
    aurt_event_wait(&gates->ready);
    MUST(aur_apply_async(own, &futures[1], when_begun, 6) == AUR_OK);
    futures[0] = open_one(shared->id);
    MUST(aur_wait_any(futures, 2, &index, AUR_NO_DEADLINE) == AUR_OK && index == 1);
    aur_future_unref(futures[0]);
    aur_future_unref(futures[1]);
    aurt_pool_end(own);
    return 0;
}
AUR_FN(int, own_breaks_circle, int);

/* ... and here that waits for the parent's one as well: before, or after, as x says. */
static int own_is_in_circle(int x)
{
    aur_pool *own = aurt_pool_new(AUR_THREADS, 1, 0, 0);
    aur_future *futures[2];
    size_t index = 9;
    int v = 0;

    aurt_event_wait(&gates->ready);
    if (x == 0) {
        MUST(aur_apply_async(own, &futures[1], waits_for_named, 0) == AUR_OK);
    } else {
        MUST(aur_apply_async(own, &futures[1], waits_when_begun, 0) == AUR_OK);
    }
    futures[0] = open_one(shared->id);
    aur_err err = aur_wait_any(futures, 2, &index, AUR_NO_DEADLINE);
    MUST(err == AUR_EDEADLK || (err == AUR_OK && index < 2)); /* 0: the parent's one was refused */
    /* Was this one refused, this wait closes the same circle again. */
    MUST(aur_future_result(futures[1], &v, AUR_NO_DEADLINE) == AUR_OK && v == -AUR_EDEADLK);
    aur_future_unref(futures[0]);
    aur_future_unref(futures[1]);
    aurt_pool_end(own);
    return AUR_EDEADLK;
}
AUR_FN(int, own_is_in_circle, int);

/* In a thread of the task's: a call of the parent's, when the task waits for another one. */
static int calls_others(int x)
{
    int v = 0;

    aurt_event_wait(&gates->begun);
    aur_err err = aur_apply(others, &v, fast, x);
    AURT_CHECK(err == AUR_OK && v == x);
    aurt_event_set(&gates->go);
    return x;
}
AUR_FN(int, calls_others, int);

static int call_passes_wait(int x)
{
    aur_pool *own = aurt_pool_new(AUR_THREADS, 1, 0, 0);
    aur_future *futures[2];
    int v = 0;

    MUST(aur_apply_async(own, &futures[1], calls_others, x) == AUR_OK);
    MUST(aur_apply_async(others, &futures[0], slow, 5) == AUR_OK);
    MUST(aur_future_result(futures[0], &v, AUR_NO_DEADLINE) == AUR_OK && v == 5);
    MUST(aur_future_result(futures[1], &v, AUR_NO_DEADLINE) == AUR_OK && v == x);
    aur_future_unref(futures[0]);
    aur_future_unref(futures[1]);
    aurt_pool_end(own);
    return 0;
}
AUR_FN(int, call_passes_wait, int);

/* ... and a wait with a deadline is not held up by one without. */
static int times_out(int x)
{
    aurt_event_wait(&gates->begun);
    aur_future *future = open_one(shared->id);
    aur_err err = aur_future_wait(future, aur_deadline_in_ms(1));
    aur_future_unref(future);
    aurt_event_set(&gates->go);
    return err == AUR_ETIMEDOUT ? x : -err;
}
AUR_FN(int, times_out, int);

static int deadline_passes_wait(int x)
{
    aur_pool *own = aurt_pool_new(AUR_THREADS, 1, 0, 0);
    aur_future *future;
    int v = 0;

    aurt_event_wait(&gates->ready);
    MUST(aur_apply_async(own, &future, times_out, x) == AUR_OK);
    MUST(waits_for(shared->id) == 5);
    MUST(aur_future_result(future, &v, AUR_NO_DEADLINE) == AUR_OK && v == x);
    aur_future_unref(future);
    aurt_pool_end(own);
    return 0;
}
AUR_FN(int, deadline_passes_wait, int);

/* A thread of the task's waits for what waits for the task, and the task does not wait. */
static int goes_on(int x, int until_go)
{
    static aur_pool *own; /* not joined: its thread ends after this task */

    own = aurt_pool_new(AUR_THREADS, 1, 0, 0);
    MUST(aur_apply_async(own, NULL, waits_for_named, 0) == AUR_OK);
    aurt_event_wait(until_go != 0 ? &gates->go : &gates->begun);
    return x;
}
AUR_FN(int, goes_on, int, int);

static int waits_then(uint64_t id)
{
    aurt_event_wait(&gates->begun);
    return waits_for(id);
}
AUR_FN(int, waits_then, uint64_t);

/* It is left behind by its task, while it waits for the queue of the only worker. */
static int says_and_waits(int x)
{
    aurt_event_wait(&gates->ready);
    aurt_event_set(&gates->begun);
    return waits_for(shared->id) + x;
}
AUR_FN(int, says_and_waits, int);

static int leaves(int x)
{
    static aur_pool *own; /* not joined, as above */

    own = aurt_pool_new(AUR_THREADS, 1, 0, 0);
    MUST(aur_apply_async(own, NULL, says_and_waits, 0) == AUR_OK);
    aurt_event_wait(&gates->begun);
    return x;
}
AUR_FN(int, leaves, int);

/* ... and here it does, before that or after it. */
static int waits_for_own(int after)
{
    aur_pool *own = aurt_pool_new(AUR_THREADS, 2, 0, 0);
    aur_future *future;
    int v = 0;

    MUST(aur_apply_async(own, &future, waits_for_named, 0) == AUR_OK);
    if (after != 0) {
        aurt_event_wait(&gates->begun);
    }
    MUST(aur_future_result(future, &v, AUR_NO_DEADLINE) == AUR_OK);
    aur_future_unref(future);
    aurt_pool_end(own);
    return v;
}
AUR_FN(int, waits_for_own, int);

/* What was put before it in a pool of one worker waits. */
static int says_waits(int which)
{
    aurt_event_set(&shared->waits[which]);
    return which;
}
AUR_FN(int, says_waits, int);

static int waits_and_tells(int x)
{
    shared->outcome = waits_for(shared->other_id);
    aurt_event_set(&shared->told);
    return x;
}
AUR_FN(int, waits_and_tells, int);

/* The thread of the task's waits for what waits for the task, and then the task for what waits for it, too. */
static int circle_is_own(int x)
{
    static aur_pool *own; /* not joined, as above */

    own = aurt_pool_new(AUR_THREADS, 1, 0, 0);
    aurt_event_wait(&gates->ready);
    aur_future *future =
        open_one(shared->id); /* now, so that the thread's question stands until the wait */
    MUST(aur_apply_async(own, NULL, waits_and_tells, 0) == AUR_OK);
    aurt_event_wait(&gates->begun);
    aurt_event_wait(&shared->waits[0]);
    aurt_event_wait(&shared->waits[1]);
    MUST(aur_future_result(future, &x, AUR_NO_DEADLINE) == AUR_EDEADLK);
    aur_future_unref(future);
    return 0;
}
AUR_FN(int, circle_is_own, int);

static int calls_many(int x)
{
    for (int i = 0; i < CALLS; i++) {
        aur_future *futures[2];
        size_t index = 9;
        int v = 0;
        MUST(aur_apply_async(others, &futures[0], fast, x) == AUR_OK);
        MUST(aur_apply_async(others, &futures[1], fast, i) == AUR_OK);
        MUST(aur_wait_any(futures, 2, &index, AUR_NO_DEADLINE) == AUR_OK && index < 2);
        for (int k = 0; k < 2; k++) {
            MUST(aur_future_result(futures[k], &v, AUR_NO_DEADLINE) == AUR_OK);
            MUST(v == (k == 0 ? x : i));
            aur_future_unref(futures[k]);
        }
    }
    return 0;
}
AUR_FN(int, calls_many, int);

/* Threads that ask the parent at the same time, and the task that waits for them and for one of its. */
static int many_threads(int x)
{
    aur_pool *own = aurt_pool_new(AUR_THREADS, THREADS, 0, 0);
    AUR_SCOPED(aur_completed) *set = NULL;
    aur_future *futures[THREADS + 1];
    size_t index = 9;
    int v = 0;

    MUST(aur_apply_async(others, &futures[THREADS], fast, x) == AUR_OK);
    for (int i = 0; i < THREADS; i++) {
        MUST(aur_apply_async(own, &futures[i], calls_many, i) == AUR_OK);
    }
    MUST(aur_as_completed(futures, THREADS + 1, &set) == AUR_OK);
    for (int i = 0; i <= THREADS; i++) {
        MUST(aur_completed_next(set, &index, AUR_NO_DEADLINE) == AUR_OK);
        MUST(aur_future_result(futures[index], &v, 0) == AUR_OK);
        MUST(v == (index == THREADS ? x : 0));
    }
    for (int i = 0; i <= THREADS; i++) {
        aur_future_unref(futures[i]);
    }
    aurt_pool_end(own);
    return 0;
}
AUR_FN(int, many_threads, int);

/* ---- tests --------------------------------------------------------------------------------- */

static aur_pool *mine; /* one worker, and spares */

static int setup(void **state)
{
    gates_setup(state);
    mine = aurt_pool_new(AUR_PROCESSES, 1, AUR_START_FORK, 0);
    return 0;
}

static int teardown(void **state)
{
    aurt_event_set(&gates->go);
    aurt_pool_end(mine);
    return gates_teardown(state);
}

/* The result of the task, which is followed by one that says so when it waits. */
static int followed(aur_future *task)
{
    aur_future *next = NULL;

    AURT_OK(aur_apply_async(mine, &next, says_begun, 2));
    int v = result_of(task);
    assert_int_equal(result_of(next), 2);
    return v;
}

/* The task's future is kept until the other one, which opens it by its number, has ended. */
static int followed_and_kept(aur_future *task)
{
    return followed(aur_future_ref(task));
}

static void name(aur_future *future)
{
    shared->id = aur_future_id(future);
    aurt_event_set(&gates->ready);
}

/* The result of the task, for which a worker of others waits; and that one's. */
static int awaited(aur_future *task, int *ret_back)
{
    aur_future *back = NULL;

    AURT_OK(aur_apply_async(others, &back, waits_for, aur_future_id(task)));
    name(back);
    int v = followed_and_kept(task);
    *ret_back = result_of(back);
    aur_future_unref(task);
    return v;
}

static const int kinds[] = { AUR_THREADS, AUR_PROCESSES };

static void test_own_first(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        aur_future *task = NULL;
        gates_reset();
        AURT_OK(aur_apply_async(mine, &task, own_comes_first, kinds[i / 2], i % 2));
        assert_int_equal(followed(task), 0); /* the line that did not hold */
    }
}

static void test_own_last(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        aur_future *task = NULL;
        gates_reset();
        AURT_OK(aur_apply_async(mine, &task, own_comes_last, kinds[i / 2], i % 2));
        assert_int_equal(followed(task), 0);
    }
}

static void test_own_cancelled(void **state)
{
    aur_future *task = NULL;

    (void)state;
    AURT_OK(aur_apply_async(mine, &task, own_is_cancelled, 0));
    assert_int_equal(followed(task), 0);
}

static void test_own_breaks_circle(void **state)
{
    aur_future *task = NULL;
    int back = -1;

    (void)state;
    AURT_OK(aur_apply_async(mine, &task, own_breaks_circle, 0));
    assert_int_equal(awaited(task, &back), 0);
    assert_int_equal(back, 0);
}

static void test_own_in_circle(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        aur_future *task = NULL;
        int w = 0;
        gates_reset();
        AURT_OK(aur_apply_async(mine, &task, own_is_in_circle, i % 2));
        int v = awaited(task, &w);
        /* The third of the circle may come last, and be refused; then the others get what it returned. */
        assert_true((v == AUR_EDEADLK && w == v) || w == -AUR_EDEADLK);
    }
}

static void test_call_passes_wait(void **state)
{
    aur_future *task = NULL;

    (void)state;
    AURT_OK(aur_apply_async(mine, &task, call_passes_wait, 3));
    assert_int_equal(followed(task), 0);
}

static void test_deadline_passes_wait(void **state)
{
    aur_future *task = NULL;
    aur_future *other = NULL;

    (void)state;
    AURT_OK(aur_apply_async(others, &other, slow, 5));
    name(other);
    AURT_OK(aur_apply_async(mine, &task, deadline_passes_wait, 3));
    assert_int_equal(followed(task), 0);
    assert_int_equal(result_of(other), 5);
}

static void test_goes_on(void **state)
{
    aur_future *task = NULL;
    int back = -1;

    (void)state;
    AURT_OK(aur_apply_async(mine, &task, goes_on, 4, 0));
    assert_int_equal(awaited(task, &back), 4);
    assert_int_equal(back, 4); /* nobody was refused */
}

/* The same, where the thread waits first, and the task ends when the other one waits. */
static void test_goes_on_before(void **state)
{
    aur_pool *third = aurt_pool_new(AUR_PROCESSES, 1, AUR_START_FORK, 0);
    aur_future *task = NULL;
    aur_future *back = NULL;
    aur_future *last = NULL;

    (void)state;
    AURT_OK(aur_apply_async(mine, &task, goes_on, 4, 1));
    AURT_OK(aur_apply_async(third, &back, waits_then, aur_future_id(task)));
    AURT_OK(aur_apply_async(third, &last, lets_go, 5));
    name(back);
    assert_int_equal(followed_and_kept(task), 4);
    assert_int_equal(result_of(back), 4); /* nobody was refused */
    assert_int_equal(result_of(last), 5);
    aur_future_unref(task);
    aurt_pool_end(third);
}

static void test_left_behind(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        aur_pool *alone = aurt_pool_new(AUR_PROCESSES, 1, AUR_START_FORK, AUR_NO_SPARES);
        aur_future *task = NULL;
        aur_future *next = NULL;
        gates_reset();
        AURT_OK(aur_apply_async(alone, &task, leaves, 4));
        AURT_OK(aur_apply_async(alone, &next, fast, 5));
        name(next);
        assert_int_equal(result_of(task), 4);
        assert_int_equal(result_of(aur_future_ref(next)),
                         5); /* whether the thread was refused, or got it */
        aurt_pool_end(alone);
        aur_future_unref(next); /* not before: the thread opens it by its number */
    }
}

static void test_waits_for_own(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        aur_future *task = NULL;
        int w = 0;
        gates_reset();
        AURT_OK(aur_apply_async(mine, &task, waits_for_own, i % 2));
        int v = awaited(task, &w);
        assert_true((v == -AUR_EDEADLK && w == v) || (w == -AUR_EDEADLK && v == w));
    }
}

/* Only the task's wait is on a circle; its thread's ends when that is broken, and so is not refused. */
static void test_own_circle(void **state)
{
    aur_pool *pools[2];
    aur_future *task, *back[2], *next[2];

    (void)state;
    gates_reset();
    AURT_OK(aur_apply_async(mine, &task, circle_is_own, 0));
    for (int i = 0; i < 2; i++) {
        pools[i] = aurt_pool_new(AUR_PROCESSES, 1, AUR_START_FORK, 0);
        AURT_OK(aur_apply_async(pools[i], &back[i], waits_for, aur_future_id(task)));
        AURT_OK(aur_apply_async(pools[i], &next[i], says_waits, i));
    }
    shared->other_id = aur_future_id(back[1]);
    name(back[0]);
    assert_int_equal(followed_and_kept(task), 0);
    assert_int_equal(shared->outcome, 0); /* as it was, if the worker has ended before */
    for (int i = 0; i < 2; i++) {
        assert_int_equal(result_of(next[i]), i);
        assert_int_equal(result_of(back[i]), 0);
        aurt_pool_end(pools[i]);
    }
    aur_future_unref(task);
}

static void test_many_threads(void **state)
{
    int v = -1;

    (void)state;
    for (int i = 0; i < 5; i++) {
        AURT_OK(aur_apply(mine, &v, many_threads, 1000 + i));
        assert_int_equal(v, 0); /* the line that did not hold */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_own_first, setup, teardown),
        cmocka_unit_test_setup_teardown(test_own_last, setup, teardown),
        cmocka_unit_test_setup_teardown(test_own_cancelled, setup, teardown),
        cmocka_unit_test_setup_teardown(test_own_breaks_circle, setup, teardown),
        cmocka_unit_test_setup_teardown(test_own_in_circle, setup, teardown),
        cmocka_unit_test_setup_teardown(test_call_passes_wait, setup, teardown),
        cmocka_unit_test_setup_teardown(test_deadline_passes_wait, setup, teardown),
        cmocka_unit_test_setup_teardown(test_goes_on, setup, teardown),
        cmocka_unit_test_setup_teardown(test_goes_on_before, setup, teardown),
        cmocka_unit_test_setup_teardown(test_left_behind, setup, teardown),
        cmocka_unit_test_setup_teardown(test_waits_for_own, setup, teardown),
        cmocka_unit_test_setup_teardown(test_own_circle, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_threads, setup, teardown),
    };

    shared = gates_new(sizeof(*shared));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
