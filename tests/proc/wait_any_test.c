/* Goal:    in a worker process a wait for any of several ends with the first of them, and is a part of a
 *          circle only if each of them is.
 * Method:  slow calls end when the test says so, or when the task does that the fast one was for.  A pool of
 *          one worker starts what is next in its queue only when the parent knows that the worker waits: so
 *          the order of waits is the order of submits.
 * Guards:  src/proc/any.c, remote.c, ask.c; src/sched/untold.c; the spares and the dry pools of an any-wait.
 */
/* aurt: no-tsan */
/* aurt: no-valgrind */
#include "gates.h"

#include <signal.h>

enum { MANY = 3000 };

/* What the workers share with this program. */
static struct shared {
    struct gates gates;
    _Atomic(int) pid;
    size_t n;
    uint64_t ids[MANY];
} * shared;

static void open_all(aur_future **futures, size_t from, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        AURT_CHECK(aur_future_open(shared->ids[from + i], &futures[i]) == AUR_OK);
    }
}

static void drop_all(aur_future **futures, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        futures[i] = aur_future_unref(futures[i]);
    }
}

/* The index of the first of shared->n futures from `from` on that is done, or an error, negative. */
static int waits_any(int from, int timed)
{
    static aur_future *futures[MANY];
    size_t index = MANY;

    atomic_store(&shared->pid, (int)getpid());
    aurt_event_wait(&gates->ready);
    open_all(futures, (size_t)from, shared->n);
    aur_err err = aur_wait_any(futures, shared->n, &index,
                               timed != 0 ? aur_deadline_in_ms((uint64_t)timed) : AUR_NO_DEADLINE);
    drop_all(futures, shared->n);
    return err == AUR_OK ? (int)index : -err;
}
AUR_FN(int, waits_any, int, int);

/* Takes the second of two as it is done, and only then lets the first one end. */
static int completes(int timed)
{
    AUR_SCOPED(aur_completed) *set = NULL;
    aur_deadline deadline = timed != 0 ? aur_deadline_in_ms(3600000) : AUR_NO_DEADLINE;
    aur_future *futures[2];
    size_t index = 9;
    int v = -1;

    aurt_event_wait(&gates->ready);
    open_all(futures, 0, 2);
    MUST(aur_as_completed(futures, 2, &set) == AUR_OK);
    MUST(aur_completed_next(set, &index, deadline) == AUR_OK && index == 1);
    MUST(aur_future_result(futures[1], &v, 0) == AUR_OK && v == 1);
    MUST(!aur_future_done(futures[0]));
    aurt_event_set(&gates->go);
    MUST(aur_completed_next(set, &index, deadline) == AUR_OK && index == 0);
    MUST(aur_future_result(futures[0], &v, 0) == AUR_OK && v == 0);
    MUST(aur_completed_next(set, &index, deadline) == AUR_END);
    drop_all(futures, 2);
    return 0;
}
AUR_FN(int, completes, int);

/* Two items, neither of which ends before the iterator is waited for. */
static int slow_first(int x)
{
    aurt_event_wait(x == 0 ? &gates->go : &gates->begun);
    return x;
}
AUR_FN(int, slow_first, int);

/* The same by an iterator. */
static int iterates(int x)
{
    AUR_SCOPED(aur_imap_iter) *iter = NULL;
    int in[2] = { 0, 1 };
    uint64_t index = 9;
    int v = -1;

    (void)x;
    MUST(aur_imap_unordered(others, &iter, slow_first, in, 2) == AUR_OK);
    MUST(aur_imap_next_sized(iter, &v, sizeof(v), &index, AUR_NO_DEADLINE) == AUR_OK && index == 1);
    aurt_event_set(&gates->go);
    MUST(aur_imap_next_sized(iter, &v, sizeof(v), &index, AUR_NO_DEADLINE) == AUR_OK && index == 0);
    MUST(aur_imap_next(iter, &v, AUR_NO_DEADLINE) == AUR_END);
    return 0;
}
AUR_FN(int, iterates, int);

/* Waits for one. */
static int waits_one(int at)
{
    aur_future *future;
    int v = 0;

    aurt_event_wait(&gates->ready);
    open_all(&future, (size_t)at, 1);
    aur_err err = aur_future_result(future, &v, AUR_NO_DEADLINE);
    aur_future_unref(future);
    return err == AUR_OK ? v : -err;
}
AUR_FN(int, waits_one, int);

/* Two calls to its own pool, which has nobody else: the index, or an error. */
static int waits_for_own(int x)
{
    aur_future *futures[2];
    size_t index = 9;

    for (int i = 0; i < 2; i++) {
        MUST(aur_apply_async(aur_pool_current(), &futures[i], fast, x + i) == AUR_OK);
    }
    aur_err err = aur_wait_any(futures, 2, &index, AUR_NO_DEADLINE);
    for (int i = 0; i < 2; i++) {
        int v = -1;
        MUST(aur_future_result(futures[i], &v, AUR_NO_DEADLINE) == AUR_OK && v == x + i);
        aur_future_unref(futures[i]);
    }
    return err == AUR_OK ? (int)index : -err;
}
AUR_FN(int, waits_for_own, int);

/* ---- tests --------------------------------------------------------------------------------- */

static aur_pool *pool_of(uint32_t workers, uint32_t spares)
{
    return aurt_pool_new(AUR_PROCESSES, workers, AUR_START_FORK, spares);
}

static void name(size_t at, aur_future *future)
{
    shared->ids[at] = aur_future_id(future);
}

/* The second begins when what was submitted to its pool before waits. */
static void two_calls(aur_pool *mine, aur_future **futures)
{
    AURT_OK(aur_apply_async(others, &futures[0], slow, 0));
    AURT_OK(aur_apply_async(mine, &futures[1], fast, 1));
    name(0, futures[0]);
    name(1, futures[1]);
    shared->n = 2;
    aurt_event_set(&gates->ready);
}

static void test_fast_second(void **state)
{
    aur_pool *mine = pool_of(1, 0);

    (void)state;
    for (int timed = 0; timed < 2; timed++) {
        aur_future *any, *futures[2];
        gates_reset();
        AURT_OK(aur_apply_async(mine, &any, waits_any, 0, timed * 3600000));
        two_calls(mine, futures);
        assert_int_equal(result_of(any), 1);
        aurt_event_set(&gates->go);
        for (int i = 0; i < 2; i++) {
            assert_int_equal(result_of(futures[i]), i);
        }
    }
    aurt_pool_end(mine);
}

static void test_as_completed(void **state)
{
    aur_pool *mine = pool_of(1, 0);

    (void)state;
    for (int timed = 0; timed < 2; timed++) {
        aur_future *any, *futures[2];
        gates_reset();
        AURT_OK(aur_apply_async(mine, &any, completes, timed));
        two_calls(mine, futures);
        assert_int_equal(result_of(any), 0); /* the line that did not hold */
        for (int i = 0; i < 2; i++) {
            assert_int_equal(result_of(futures[i]), i);
        }
    }
    aurt_pool_end(mine);
}

static void test_iterator(void **state)
{
    aur_pool *mine = pool_of(1, 0);
    aur_future *any, *next;

    (void)state;
    AURT_OK(aur_apply_async(mine, &any, iterates, 0));
    AURT_OK(aur_apply_async(mine, &next, says_begun, 2)); /* when the other one waits */
    assert_int_equal(result_of(any), 0);                  /* the line that did not hold */
    assert_int_equal(result_of(next), 2);
    aurt_pool_end(mine);
}

/* More than two workers can begin, but for the last. */
static void test_many(void **state)
{
    static aur_future *futures[MANY];
    aur_pool *mine = pool_of(1, 0);
    aur_future *any;

    (void)state;
    AURT_OK(aur_apply_async(mine, &any, waits_any, 0, 0));
    for (int i = 0; i < MANY; i++) {
        AURT_OK(i < MANY - 1 ? aur_apply_async(others, &futures[i], slow, i)
                             : aur_apply_async(mine, &futures[i], fast, i));
        name((size_t)i, futures[i]);
    }
    shared->n = MANY;
    aurt_event_set(&gates->ready);
    assert_int_equal(result_of(any), MANY - 1);
    aurt_event_set(&gates->go);
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(result_of(futures[i]), i);
    }
    aurt_pool_end(mine);
}

/* One waits for any of another one, which waits for it, and a third one, which can end. */
static void test_no_circle(void **state)
{
    aur_pool *mine = pool_of(1, 2);
    aur_future *any, *one, *third, *next;

    (void)state;
    AURT_OK(aur_apply_async(others, &third, slow, 3));
    AURT_OK(aur_apply_async(mine, &any, waits_any, 1, 0));
    AURT_OK(aur_apply_async(mine, &one, waits_one, 0));
    AURT_OK(aur_apply_async(mine, &next, lets_go, 4)); /* when both wait */
    name(0, any);
    name(1, one);
    name(2, third);
    shared->n = 2;
    aurt_event_set(&gates->ready);
    assert_int_equal(result_of(third), 3);
    assert_int_equal(result_of(one), 1); /* it was not refused, and got the index */
    assert_int_equal(result_of(any), 1);
    assert_int_equal(result_of(next), 4);
    aurt_pool_end(mine);
}

/* Both that it waits for wait for it: the last one to do so is refused. */
static void test_circle(void **state)
{
    aur_pool *mine = pool_of(1, 2);
    aur_future *any, *first, *second;

    (void)state;
    AURT_OK(aur_apply_async(mine, &any, waits_any, 1, 0));
    AURT_OK(aur_apply_async(mine, &first, waits_one, 0));
    AURT_OK(aur_apply_async(mine, &second, waits_one, 0));
    name(0, any);
    name(1, first);
    name(2, second);
    shared->n = 2;
    aurt_event_set(&gates->ready);
    assert_int_equal(result_of(second), -AUR_EDEADLK);
    assert_int_equal(result_of(first), 1);
    assert_int_equal(result_of(any), 1);
    aurt_pool_end(mine);
}

/* The same, and it comes last if it can: it is queued behind them. */
static void test_circle_closed_by_any(void **state)
{
    (void)state;
    for (int i = 0; i < 10; i++) {
        aur_pool *mine = pool_of(2, 0);
        aur_future *any, *first, *second;
        gates_reset();
        AURT_OK(aur_apply_async(mine, &first, waits_one, 0));
        AURT_OK(aur_apply_async(mine, &second, waits_one, 0));
        AURT_OK(aur_apply_async(mine, &any, waits_any, 1, 0));
        name(0, any);
        name(1, first);
        name(2, second);
        shared->n = 2;
        aurt_event_set(&gates->ready);
        int v[3] = { result_of(first), result_of(second), result_of(any) };
        int refused = 0;
        for (int k = 0; k < 3; k++) {
            refused += v[k] == -AUR_EDEADLK;
        }
        /* If the any-wait was refused the others got its result, which says so. */
        assert_true(v[2] == -AUR_EDEADLK ? refused == 3 : refused == 1);
        aurt_pool_end(mine);
    }
}

/* Nobody else is left to run what it waits for. */
static void test_no_spares(void **state)
{
    aur_pool *mine = pool_of(1, AUR_NO_SPARES);

    (void)state;
    for (int i = 0; i < 20; i++) {
        int v = -1;
        AURT_OK(aur_apply(mine, &v, waits_for_own, i));
        assert_true(v == 0 || v == 1);
    }
    aurt_pool_end(mine);
}

static void test_deadline(void **state)
{
    aur_pool *mine = pool_of(1, 0);
    aur_future *futures[2];
    int v = 0;

    (void)state;
    for (int i = 0; i < 2; i++) {
        AURT_OK(aur_apply_async(others, &futures[i], slow, i));
        name((size_t)i, futures[i]);
    }
    shared->n = 2;
    aurt_event_set(&gates->ready);
    AURT_OK(aur_apply(mine, &v, waits_any, 0, 1));
    assert_int_equal(v, -AUR_ETIMEDOUT);
    aurt_event_set(&gates->go);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(result_of(futures[i]), i);
    }
    aurt_pool_end(mine);
}

/* The worker dies in its wait; what it waited for ends later. */
static void test_death(void **state)
{
    (void)state;
    for (int i = 0; i < 5; i++) {
        aur_pool *mine = pool_of(1, 1);
        aur_future *futures[2], *any, *next;
        gates_reset();
        for (int k = 0; k < 2; k++) {
            AURT_OK(aur_apply_async(others, &futures[k], slow, k));
            name((size_t)k, futures[k]);
        }
        shared->n = 2;
        aurt_event_set(&gates->ready);
        AURT_OK(aur_apply_async(mine, &any, waits_any, 0, 0));
        AURT_OK(aur_apply_async(mine, &next, says_begun, 2)); /* when the other one waits */
        aurt_event_wait(&gates->begun);
        kill(atomic_load(&shared->pid), SIGKILL);
        AURT_ERR(AUR_EWORKER, aur_future_outcome(any, AUR_NO_DEADLINE));
        aur_future_unref(any);
        assert_int_equal(result_of(next), 2);
        aurt_event_set(&gates->go);
        for (int k = 0; k < 2; k++) {
            assert_int_equal(result_of(futures[k]), k);
        }
        aurt_pool_end(mine);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_fast_second, gates_setup, gates_teardown),
        cmocka_unit_test_setup_teardown(test_as_completed, gates_setup, gates_teardown),
        cmocka_unit_test_setup_teardown(test_iterator, gates_setup, gates_teardown),
        cmocka_unit_test_setup_teardown(test_many, gates_setup, gates_teardown),
        cmocka_unit_test_setup_teardown(test_no_circle, gates_setup, gates_teardown),
        cmocka_unit_test_setup_teardown(test_circle, gates_setup, gates_teardown),
        cmocka_unit_test_setup_teardown(test_circle_closed_by_any, gates_setup, gates_teardown),
        cmocka_unit_test_setup_teardown(test_no_spares, gates_setup, gates_teardown),
        cmocka_unit_test_setup_teardown(test_deadline, gates_setup, gates_teardown),
        cmocka_unit_test_setup_teardown(test_death, gates_setup, gates_teardown),
    };

    shared = gates_new(sizeof(*shared));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
