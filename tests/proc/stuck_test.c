/* Goal:    pools that wait for each other cannot hang, also if no worker is left to run what all wait for.
 * Method:  pools of one worker each, without spares; every task waits for one that is still in a queue.
 *          The parent makes all of them, so that what waits for what is known before anything waits.
 * Guards:  src/proc/spare.c, place.c; src/sched/detect.c.
 */
/* aurt: no-tsan */
/* aurt: no-valgrind */
#include "pools.h"

#include <pthread.h>

enum { POOLS_MAX = 4 };

/* What the workers share with this program. */
static struct shared {
    aurt_event ready;
    aurt_event begun[POOLS_MAX];
    aurt_event go;
    _Atomic(int) pids[8];
    uint64_t ids[8];
} * shared;

/* Waits for the task whose number stands at `at`; its own outcome is that of the wait. */
static aur_err waits(int at)
{
    aur_future *future = NULL;

    aurt_event_wait(&shared->ready);
    aur_err err = aur_future_open(shared->ids[at], &future);
    if (err == AUR_OK) {
        err = aur_future_outcome(future, AUR_NO_DEADLINE);
        aur_future_unref(future);
    }
    return err;
}

/* The first of its pool: says that it has begun, and waits for task `at`. */
static int first(int self, int at)
{
    aurt_event_set(&shared->begun[self]);
    aur_err err = waits(at);
    return err == AUR_OK ? (int)getpid() : -err;
}
AUR_FN(int, first, int, int);

static int second(int self)
{
    atomic_store(&shared->pids[self], (int)getpid());
    return self;
}
AUR_FN(int, second, int);

/* An item of a map. */
static int item(int x)
{
    return x + 1;
}
AUR_FN(int, item, int);

/* A second one that waits itself. */
static int second_waits(int self, int at)
{
    atomic_store(&shared->pids[self], (int)getpid());
    return -waits(at);
}
AUR_FN(int, second_waits, int, int);

struct waiter_thread {
    int at;
    aur_err err;
};

static void *wait_in_thread(void *arg)
{
    struct waiter_thread *waiter = arg;

    waiter->err = waits(waiter->at);
    return NULL;
}

/* As first(), but the wait is in a thread of its own, whose stack is not the worker's to use. */
static int first_by_thread(int self, int at)
{
    struct waiter_thread waiter = { .at = at };
    pthread_t thread;

    aurt_event_set(&shared->begun[self]);
    if (pthread_create(&thread, NULL, wait_in_thread, &waiter) != 0) {
        return -AUR_EAGAIN;
    }
    pthread_join(thread, NULL);
    return waiter.err == AUR_OK ? (int)getpid() : -waiter.err;
}
AUR_FN(int, first_by_thread, int, int);

/* ---- tests --------------------------------------------------------------------------------- */

static aur_pool *pool_of(int kind, uint32_t workers)
{
    return aurt_pool_new(kind, workers, AUR_START_DEFAULT, AUR_NO_SPARES);
}

/* n pools in a ring: the worker of each waits for a task in the queue of the next. */
static void ring(int kind, int n)
{
    aur_pool *pools[POOLS_MAX];
    aur_future *firsts[POOLS_MAX], *seconds[POOLS_MAX];

    memset(shared, 0, sizeof(*shared));
    for (int i = 0; i < n; i++) {
        pools[i] = pool_of(i == 0 ? kind : AUR_PROCESSES, 1);
    }
    for (int i = 0; i < n; i++) {
        AURT_OK(aur_apply_async(pools[i], &firsts[i], first, i, (i + 1) % n));
        aurt_event_wait(&shared->begun[i]);
    }
    for (int i = 0; i < n; i++) {
        AURT_OK(aur_apply_async(pools[i], &seconds[i], second, i));
        shared->ids[i] = aur_future_id(seconds[i]);
    }
    aurt_event_set(&shared->ready);
    for (int i = 0; i < n; i++) {
        int v = 0;
        AURT_OK(aur_future_result(seconds[i], &v, AUR_NO_DEADLINE));
        assert_int_equal(v, i);
        AURT_OK(aur_future_result(firsts[i], &v, AUR_NO_DEADLINE));
        assert_true(v > 0); /* its wait went well, and who it is */
        assert_true(i == 0 || v == atomic_load(&shared->pids[i]));
    }
    for (int i = 0; i < n; i++) { /* not before: the others open them by their numbers */
        aur_future_unref(firsts[i]);
        aur_future_unref(seconds[i]);
        aurt_pool_end(pools[i]);
    }
}

static void test_ring(void **state)
{
    (void)state;
    for (int i = 0; i < 5; i++) {
        for (int n = 1; n <= POOLS_MAX; n++) {
            ring(AUR_PROCESSES, n);
        }
    }
}

static void test_ring_with_threads(void **state)
{
    (void)state;
    for (int n = 2; n <= POOLS_MAX; n++) {
        ring(AUR_THREADS, n);
    }
}

/* The same with maps.  A part of each was in the ring of the worker that waits, and came back: they are begun,
 * and all of them is in the queue. */
static void test_ring_of_maps(void **state)
{
    enum { ITEMS = 6 };

    (void)state;
    for (int n = 1; n <= POOLS_MAX; n++) {
        aur_pool *pools[POOLS_MAX];
        aur_future *firsts[POOLS_MAX], *maps[POOLS_MAX];
        int in[ITEMS], out[POOLS_MAX][ITEMS];

        memset(shared, 0, sizeof(*shared));
        for (int i = 0; i < ITEMS; i++) {
            in[i] = i;
        }
        for (int i = 0; i < n; i++) {
            pools[i] = pool_of(AUR_PROCESSES, 1);
        }
        for (int i = 0; i < n; i++) {
            AURT_OK(aur_apply_async(pools[i], &firsts[i], first, i, (i + 1) % n));
            aurt_event_wait(&shared->begun[i]);
            AURT_OK(aur_map_async(pools[i], &maps[i], item, in, ITEMS, out[i]));
            shared->ids[i] = aur_future_id(maps[i]);
        }
        aurt_event_set(&shared->ready);
        for (int i = 0; i < n; i++) {
            int v = 0;
            AURT_OK(aur_future_outcome(maps[i], AUR_NO_DEADLINE));
            assert_int_equal(out[i][ITEMS - 1], ITEMS);
            AURT_OK(aur_future_result(firsts[i], &v, AUR_NO_DEADLINE));
            assert_true(v > 0);
        }
        for (int i = 0; i < n; i++) {
            aur_future_unref(firsts[i]);
            aur_future_unref(maps[i]);
            aurt_pool_end(pools[i]);
        }
    }
}

/* What runs in place closes a true circle. */
static void test_circle_in_place(void **state)
{
    (void)state;
    for (int i = 0; i < 10; i++) {
        aur_pool *pools[2];
        aur_future *firsts[2], *seconds[2];
        int v[4] = { 0 };
        int refused = 0;

        memset(shared, 0, sizeof(*shared));
        pools[0] = pool_of(AUR_PROCESSES, 1);
        pools[1] = pool_of(AUR_PROCESSES, 1);
        for (int k = 0; k < 2; k++) {
            AURT_OK(aur_apply_async(pools[k], &firsts[k], first, k, 1 - k));
            aurt_event_wait(&shared->begun[k]);
            shared->ids[2 + k] = aur_future_id(firsts[k]);
        }
        for (int k = 0; k < 2; k++) { /* ... and they wait for the first of the other pool */
            AURT_OK(aur_apply_async(pools[k], &seconds[k], second_waits, k, 3 - k));
            shared->ids[k] = aur_future_id(seconds[k]);
        }
        aurt_event_set(&shared->ready);
        for (int k = 0; k < 2; k++) {
            AURT_OK(aur_future_result(firsts[k], &v[k], AUR_NO_DEADLINE));
            AURT_OK(aur_future_result(seconds[k], &v[2 + k], AUR_NO_DEADLINE));
        }
        for (int k = 0; k < 4; k++) {
            assert_true(v[k] >= 0 || v[k] == -AUR_EDEADLK);
            refused += v[k] == -AUR_EDEADLK;
        }
        assert_true(refused >= 1);
        for (int k = 0; k < 2; k++) {
            aur_future_unref(firsts[k]);
            aur_future_unref(seconds[k]);
            aurt_pool_end(pools[k]);
        }
    }
}

/* Nobody can run anything in place: somebody is told so, and the rest goes on. */
static void test_no_room(void **state)
{
    aur_pool *pools[2];
    aur_future *firsts[2], *seconds[2];
    int refused = 0;

    (void)state;
    memset(shared, 0, sizeof(*shared));
    for (int k = 0; k < 2; k++) {
        pools[k] = pool_of(AUR_PROCESSES, 1);
        AURT_OK(aur_apply_async(pools[k], &firsts[k], first_by_thread, k, 1 - k));
        aurt_event_wait(&shared->begun[k]);
    }
    for (int k = 0; k < 2; k++) {
        AURT_OK(aur_apply_async(pools[k], &seconds[k], second, k));
        shared->ids[k] = aur_future_id(seconds[k]);
    }
    aurt_event_set(&shared->ready);
    for (int k = 0; k < 2; k++) {
        int v = 0;
        AURT_OK(aur_future_result(firsts[k], &v, AUR_NO_DEADLINE));
        assert_true(v > 0 || v == -AUR_E2DEEP);
        refused += v < 0;
        AURT_OK(aur_future_result(seconds[k], &v, AUR_NO_DEADLINE));
        assert_int_equal(v, k);
    }
    assert_true(refused >= 1);
    for (int k = 0; k < 2; k++) {
        aur_future_unref(firsts[k]);
        aur_future_unref(seconds[k]);
        aurt_pool_end(pools[k]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ring),         cmocka_unit_test(test_ring_with_threads),
        cmocka_unit_test(test_ring_of_maps), cmocka_unit_test(test_circle_in_place),
        cmocka_unit_test(test_no_room),
    };

    shared = aurt_shared(sizeof(*shared));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
