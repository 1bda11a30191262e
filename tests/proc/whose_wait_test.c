/* Goal:    a worker process is to others what its task waits for: a wait of another thread of it is on no circle,
 *          hides none, and is not refused in place of one that is.
 * Method:  a pool of one worker starts what is next in its queue only when the parent knows that the worker waits:
 *          so the order of waits is made.  Where that cannot be seen, each order has to give a right answer.
 * Guards:  src/proc/turns.c; show() and refused_index() in src/proc/waits.c; auri_detect_needs_answer().
 */
/* aurt: no-tsan */
/* aurt: no-valgrind */
#include "gates.h"

#include <pthread.h>
#include <sys/mman.h>

enum { ROUNDS = 20, LOOKS = 8 };

/* What the workers share with this program. */
static struct shared {
    struct gates gates;
    uint64_t id;       /* what another thread of the worker waits for */
    uint64_t other_id; /* what the task waits for */
    aurt_event waits[2];
    aurt_event asks;
    aurt_event told;
    int outcome; /* of the other thread's wait */
    int timed;
} * shared;

static aur_pool *others; /* of the parent, inherited by the workers of later pools */

/* Waits for the future with that number: its result, or an error, negative. */
static int waits_until(uint64_t id, aur_deadline deadline)
{
    aur_future *future = NULL;
    int v = 0;

    AURT_CHECK(aur_future_open(id, &future) == AUR_OK);
    aur_err err = aur_future_result(future, &v, deadline);
    aur_future_unref(future);
    return err == AUR_OK ? v : -err;
}

static int waits_for(uint64_t id)
{
    return waits_until(id, AUR_NO_DEADLINE);
}
AUR_FN(int, waits_for, uint64_t);

/* The same when that event has come. */
static int waits_then(uint64_t id)
{
    aurt_event_wait(&gates->begun);
    return waits_for(id);
}
AUR_FN(int, waits_then, uint64_t);

static int says_waits(int which)
{
    aurt_event_set(&shared->waits[which]);
    return which;
}
AUR_FN(int, says_waits, int);

/* The other thread. */
static int waits_and_tells(int x)
{
    aur_deadline deadline = shared->timed != 0 ? aur_deadline_in_ms(3600000) : AUR_NO_DEADLINE;

    shared->outcome = waits_until(shared->id, deadline);
    aurt_event_set(&shared->told);
    return x;
}
AUR_FN(int, waits_and_tells, int);

static void *waits_in_thread(void *event)
{
    aurt_event_wait(event);
    (void)waits_and_tells(0);
    aurt_event_set(&gates->begun); /* for a task that would wait for ever */
    return NULL;
}

/* It begins a thread by itself, that waits for what waits for the task; the task does not wait for that. */
static int begins_thread(int x, int last)
{
    pthread_t thread;

    MUST(pthread_create(&thread, NULL, waits_in_thread,
                        last != 0 ? &shared->waits[0] : &gates->ready) == 0);
    MUST(pthread_detach(thread) == 0);
    aurt_event_wait(last != 0 ? &gates->begun : &gates->go);
    return x;
}
AUR_FN(int, begins_thread, int, int);

/* Another thread waits for one of the parent's, then the task for another one, which waits for the task. */
static int is_refused(int x)
{
    static aur_pool *own; /* not joined: its thread may end after this task */

    own = aurt_pool_new(AUR_THREADS, 1, 0, 0);
    aurt_event_wait(&gates->ready);
    MUST(aur_apply_async(own, NULL, waits_and_tells, 0) == AUR_OK);
    aurt_event_wait(&gates->begun);
    aurt_event_wait(&shared->waits[0]);
    aurt_event_set(&shared->asks);
    MUST(waits_for(shared->other_id) == -AUR_EDEADLK);
    if (x == 3) { /* that can end before this task */
        aurt_event_set(&gates->go);
        aurt_event_wait(&shared->told);
    }
    return x;
}
AUR_FN(int, is_refused, int);

/* Asks the parent some times, while others come to wait. */
static void looks_at(uint64_t id)
{
    aur_future *future = NULL;

    AURT_CHECK(aur_future_open(id, &future) == AUR_OK);
    for (int i = 0; i < LOOKS; i++) {
        (void)aur_future_done(future);
    }
    aur_future_unref(future);
}

/* Waits for the task when the task does, or some time later. */
static int waits_after_it(uint64_t id)
{
    aurt_event_wait(&shared->asks);
    looks_at(id);
    return waits_for(id);
}
AUR_FN(int, waits_after_it, uint64_t);

/* Another thread waits for what is queued in this pool, which has no other worker. */
static int waits_for_queued(int x)
{
    (void)x;
    return waits_for(shared->other_id);
}
AUR_FN(int, waits_for_queued, int);

static int too_deep(int x)
{
    aur_pool *own = aurt_pool_new(AUR_THREADS, 2, 0, 0);
    aur_future *futures[2];
    int v = 0;

    aurt_event_wait(&gates->ready);
    MUST(aur_apply_async(own, &futures[x], waits_for_queued, 0) == AUR_OK);
    MUST(aur_apply_async(own, &futures[1 - x], waits_and_tells, 0) == AUR_OK);
    MUST(aur_future_result(futures[x], &v, AUR_NO_DEADLINE) == AUR_OK && v == -AUR_E2DEEP);
    aurt_event_set(&gates->go);
    MUST(aur_future_result(futures[1 - x], &v, AUR_NO_DEADLINE) == AUR_OK && shared->outcome == 5);
    aur_future_unref(futures[0]);
    aur_future_unref(futures[1]);
    aurt_pool_end(own);
    return 0;
}
AUR_FN(int, too_deep, int);

/* The same, left behind by the task. */
static int says_and_waits_for_queued(int x)
{
    aurt_event_set(&shared->waits[1]);
    int v = waits_for(shared->other_id);
    AURT_CHECK(v == -AUR_E2DEEP || v == 6);
    aurt_event_set(&gates->go);
    return x;
}
AUR_FN(int, says_and_waits_for_queued, int);

static int says_waits_and_tells(int x)
{
    aurt_event_set(&shared->waits[0]);
    return waits_and_tells(x);
}
AUR_FN(int, says_waits_and_tells, int);

static int leaves_two(int x)
{
    static aur_pool *own; /* not joined, as above */

    own = aurt_pool_new(AUR_THREADS, 2, 0, 0);
    aurt_event_wait(&gates->ready);
    for (int i = 0; i < 2; i++) {
        if (i == x) {
            MUST(aur_apply_async(own, NULL, says_and_waits_for_queued, 0) == AUR_OK);
        } else {
            MUST(aur_apply_async(own, NULL, says_waits_and_tells, 0) == AUR_OK);
        }
        aurt_event_wait(&shared->waits[i == x]);
    }
    looks_at(shared->id);
    return x;
}
AUR_FN(int, leaves_two, int);

/* The task waits for what is queued, another thread for what ends after that. */
static int runs_in_place(int x)
{
    static aur_pool *own; /* not joined, as above */

    own = aurt_pool_new(AUR_THREADS, 1, 0, 0);
    aurt_event_wait(&gates->ready);
    MUST(aur_apply_async(own, NULL, says_waits_and_tells, 0) == AUR_OK);
    aurt_event_wait(&shared->waits[0]);
    MUST(waits_for(shared->other_id) == 6);
    return x;
}
AUR_FN(int, runs_in_place, int);

/* ---- tests --------------------------------------------------------------------------------- */

static int setup(void **state)
{
    (void)state;
    memset(shared, 0, sizeof(*shared));
    others = aurt_pool_new(AUR_PROCESSES, 3, AUR_START_FORK, 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    aurt_event_set(&gates->go);
    aurt_pool_end(others);
    return 0;
}

static void begin_again(void)
{
    memset(shared, 0, sizeof(*shared));
}

static void name(aur_future *waited, aur_future *other)
{
    shared->id = aur_future_id(waited);
    shared->other_id = other != NULL ? aur_future_id(other) : 0;
    aurt_event_set(&gates->ready);
}

/* A thread that the task has made waits for the parent's call before that waits for the task, or after it. */
static void test_thread_of_its_own(void **state)
{
    (void)state;
    for (int last = 0; last < 2; last++) {
        aur_pool *mine = aurt_pool_new(AUR_PROCESSES, 1, AUR_START_FORK, 0);
        aur_pool *third = aurt_pool_new(AUR_PROCESSES, 1, AUR_START_FORK, 0);
        aur_future *task, *next, *back, *behind;

        begin_again();
        AURT_OK(aur_apply_async(mine, &task, begins_thread, 4, last));
        if (last != 0) {
            AURT_OK(aur_apply_async(third, &back, waits_for, aur_future_id(task)));
            AURT_OK(aur_apply_async(third, &behind, says_waits, 0));
        } else {
            AURT_OK(aur_apply_async(third, &back, waits_then, aur_future_id(task)));
            AURT_OK(aur_apply_async(third, &behind, lets_go, 0));
        }
        name(back, NULL);
        AURT_OK(aur_apply_async(mine, &next, says_begun, 2));
        assert_int_equal(result_of(next), 2);
        assert_int_equal(result_of(aur_future_ref(task)), 4);
        assert_int_equal(result_of(aur_future_ref(back)), 4); /* nobody was refused */
        assert_int_equal(result_of(behind), 0);
        aurt_pool_end(mine);
        assert_true(shared->outcome == 0 ||
                    shared->outcome == 4); /* 0: its process has ended before that */
        aur_future_unref(back);
        aur_future_unref(task);
        aurt_pool_end(third);
    }
}

/* The circle of the task is found, also if what another thread waits for can still end: without a deadline or with
 * one. */
static void test_circle_beside(void **state)
{
    (void)state;
    for (int timed = 0; timed < 2; timed++) {
        aur_pool *mine = aurt_pool_new(AUR_PROCESSES, 1, AUR_START_FORK, 0);
        aur_pool *third = aurt_pool_new(AUR_PROCESSES, 1, AUR_START_FORK, 0);
        aur_future *task, *next, *back, *behind, *beside;

        begin_again();
        shared->timed = timed;
        AURT_OK(aur_apply_async(mine, &task, is_refused, 3));
        AURT_OK(aur_apply_async(third, &back, waits_for, aur_future_id(task)));
        AURT_OK(aur_apply_async(third, &behind, says_waits, 0));
        AURT_OK(aur_apply_async(others, &beside, slow, 5));
        name(beside, back);
        AURT_OK(aur_apply_async(mine, &next, says_begun, 2));
        assert_int_equal(result_of(aur_future_ref(task)), 3); /* or the line that did not hold */
        assert_int_equal(shared->outcome, 5);
        assert_int_equal(result_of(aur_future_ref(beside)), 5);
        assert_int_equal(result_of(aur_future_ref(back)), 3);
        assert_int_equal(result_of(behind), 0);
        assert_int_equal(result_of(next), 2);
        aurt_pool_end(mine);
        aur_future_unref(beside);
        aur_future_unref(back);
        aur_future_unref(task);
        aurt_pool_end(third);
    }
}

/* A call that waits for the task is on no circle, if only another thread waits for it. */
static void test_beside_circle(void **state)
{
    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        aur_pool *mine = aurt_pool_new(AUR_PROCESSES, 1, AUR_START_FORK, 0);
        aur_pool *third = aurt_pool_new(AUR_PROCESSES, 1, AUR_START_FORK, 0);
        aur_future *task, *next, *back, *behind, *beside;

        begin_again();
        AURT_OK(aur_apply_async(mine, &task, is_refused, 4));
        AURT_OK(aur_apply_async(third, &back, waits_for, aur_future_id(task)));
        AURT_OK(aur_apply_async(third, &behind, says_waits, 0));
        AURT_OK(aur_apply_async(others, &beside, waits_after_it, aur_future_id(task)));
        name(beside, back);
        AURT_OK(aur_apply_async(mine, &next, says_begun, 2));
        assert_int_equal(result_of(aur_future_ref(task)), 4); /* or the line that did not hold */
        assert_int_equal(result_of(aur_future_ref(beside)), 4);
        assert_int_equal(result_of(aur_future_ref(back)), 4);
        assert_int_equal(result_of(behind), 0);
        assert_int_equal(result_of(next), 2);
        aurt_pool_end(mine);
        assert_true(shared->outcome == 0 || shared->outcome == 4); /* 0: as above */
        aur_future_unref(beside);
        aur_future_unref(back);
        aur_future_unref(task);
        aurt_pool_end(third);
    }
}

/* A pool of one worker, without spares: `task`, and what is queued behind it. */
struct lone {
    aur_pool *pool;
    aur_future *task, *queued, *beside;
};

static void lone_name(struct lone *lone)
{
    AURT_OK(aur_apply_async(lone->pool, &lone->queued, fast, 6));
    AURT_OK(aur_apply_async(others, &lone->beside, slow, 5));
    name(lone->beside, lone->queued);
}

static void lone_end(struct lone *lone)
{
    aurt_pool_end(lone->pool);
    assert_true(shared->outcome == 0 || shared->outcome == 5); /* 0: as above */
    aur_future_unref(lone->task);
    aur_future_unref(lone->queued);
    aur_future_unref(lone->beside);
}

/* Who is told that nobody can run what he waits for is the one who waits for that. */
static void test_too_deep(void **state)
{
    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        struct lone lone = { aurt_pool_new(AUR_PROCESSES, 1, AUR_START_FORK, AUR_NO_SPARES), NULL,
                             NULL, NULL };

        begin_again();
        AURT_OK(aur_apply_async(lone.pool, &lone.task, too_deep, i % 2));
        lone_name(&lone);
        assert_int_equal(result_of(aur_future_ref(lone.task)),
                         0); /* or the line that did not hold */
        assert_int_equal(result_of(aur_future_ref(lone.queued)), 6);
        assert_int_equal(result_of(aur_future_ref(lone.beside)), 5);
        lone_end(&lone);
    }
}

static void test_left_behind(void **state)
{
    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        struct lone lone = { aurt_pool_new(AUR_PROCESSES, 1, AUR_START_FORK, AUR_NO_SPARES), NULL,
                             NULL, NULL };

        begin_again();
        AURT_OK(aur_apply_async(lone.pool, &lone.task, leaves_two, i % 2));
        lone_name(&lone);
        assert_int_equal(result_of(aur_future_ref(lone.task)), i % 2);
        assert_int_equal(result_of(aur_future_ref(lone.queued)), 6);
        lone_end(&lone);
    }
}

/* The task's wait is served by what runs in its place, whoever else waits. */
static void test_runs_in_place(void **state)
{
    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        struct lone lone = { aurt_pool_new(AUR_PROCESSES, 1, AUR_START_FORK, AUR_NO_SPARES), NULL,
                             NULL, NULL };

        begin_again();
        AURT_OK(aur_apply_async(lone.pool, &lone.task, runs_in_place, 3));
        lone_name(&lone);
        assert_int_equal(result_of(aur_future_ref(lone.task)),
                         3); /* or the line that did not hold */
        aurt_event_set(&gates->go);
        lone_end(&lone);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_thread_of_its_own, setup, teardown),
        cmocka_unit_test_setup_teardown(test_circle_beside, setup, teardown),
        cmocka_unit_test_setup_teardown(test_beside_circle, setup, teardown),
        cmocka_unit_test_setup_teardown(test_too_deep, setup, teardown),
        cmocka_unit_test_setup_teardown(test_left_behind, setup, teardown),
        cmocka_unit_test_setup_teardown(test_runs_in_place, setup, teardown),
    };

    shared = aurt_shared(sizeof(*shared));
    gates = &shared->gates;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
