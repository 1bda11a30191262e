/* Goal:    a task in a worker process uses the other pools of its parent as the parent does: results,
 *          errors, maps, cancels; a circle of waits across them is reported; calls to a serial pool run
 *          in the worker.
 * Method:  workers inherit the pools that were made before theirs.  Circles are closed on purpose, by
 *          the numbers of futures.
 * Guards:  src/proc/request.c, nested.c, waits.c, remote.c; src/task/pool.c; src/pool/serial.c.
 */
/* aurt: no-tsan */
/* aurt: no-valgrind */
#include "pools.h"

/* What the workers inherit, and what the thread pool shares with this program. */
static aur_pool *threads, *others, *serial, *closed_serial, *gone;
static aur_pool *mine;
static uint64_t *ids; /* in shared memory */
static aurt_event *ready;

static int twice(int x)
{
    return 2 * x;
}
AUR_FN(int, twice, int);

static int pid_of(int x)
{
    return (int)getpid() + 0 * x;
}
AUR_FN(int, pid_of, int);

static int fails(int x)
{
    return aur_fail(x, "no %d", x);
}
AUR_FN(int, fails, int);

static aur_err reverse(const void *in, size_t size, aur_out *out)
{
    unsigned char *to = aur_out_alloc(out, size);

    for (size_t i = 0; to != NULL && i < size; i++) {
        to[i] = ((const unsigned char *)in)[size - 1 - i];
    }
    return to != NULL ? AUR_OK : AUR_ENOMEM;
}
AUR_BYTES_FN(reverse);

#define N 50

/* Everything once, on the pool that `which` names.  0: it was all right; else the line. */
static int uses(int which)
{
    aur_pool *pool = which == 0 ? threads : others;
    int in[N], out[N], v = 0;
    aur_future *futures[N];
    const void *data;
    size_t size;

    MUST(aur_apply(pool, &v, twice, 4) == AUR_OK && v == 8);
    MUST(aur_apply(pool, &v, pid_of, 0) == AUR_OK && v != (int)getpid());
    MUST(which != 0 || v == (int)ids[2]);
    MUST(which == 0 || v != (int)ids[2]);
    MUST(aur_apply(pool, &v, fails, 7) == AUR_ETASK && aur_last_error()->code == 7);
    MUST(strcmp(aur_last_error()->message, "no 7") == 0);
    for (int i = 0; i < N; i++) {
        in[i] = i;
        MUST(aur_apply_async(pool, &futures[i], twice, i) == AUR_OK);
    }
    for (int i = N; i-- > 0;) {
        MUST(aur_future_result(futures[i], &v, AUR_NO_DEADLINE) == AUR_OK && v == 2 * i);
        aur_future_unref(futures[i]);
    }
    MUST(aur_map(pool, twice, in, N, out) == AUR_OK);
    for (int i = 0; i < N; i++) {
        MUST(out[i] == 2 * i);
    }
    MUST(aur_apply_bytes(pool, &futures[0], reverse, "abcdef", 6) == AUR_OK);
    MUST(aur_future_view(futures[0], &data, &size, AUR_NO_DEADLINE) == AUR_OK);
    MUST(size == 6 && memcmp(data, "fedcba", 6) == 0);
    aur_future_unref(futures[0]);
    MUST(aur_apply(gone, &v, twice, 4) == AUR_ESHUTDOWN);
    return 0;
}
AUR_FN(int, uses, int);

/* A serial call that waits for the parent's threads: their sum of twice x and twice x. */
static int asks_threads(int x)
{
    int a = 0, b = 0;

    if (aur_apply(threads, &a, twice, x) != AUR_OK || aur_apply(threads, &b, twice, x) != AUR_OK) {
        return -1;
    }
    return a + b;
}
AUR_FN(int, asks_threads, int);

/* Serial calls inside serial calls, until the stack is used up: how many there were. */
static int goes_deep(int depth);
AUR_FN(int, goes_deep, int);

static int goes_deep(int depth)
{
    int below = 0;
    aur_err err = aur_apply(serial, &below, goes_deep, depth + 1);

    if (err == AUR_E2DEEP) {
        return depth;
    }
    return err == AUR_OK ? below : -1;
}

/* What a serial pool of the parent does in a worker: all of it here. */
static int uses_serial(int x)
{
    int in[N], out[N], v = 0;
    int in_map[2] = { 1, 2 };
    aur_future *futures[3];
    const void *data;
    size_t size, index = 9;
    aur_stats stats = { .size = sizeof(stats) };

    MUST(aur_apply(serial, &v, twice, x) == AUR_OK && v == 2 * x);
    MUST(aur_apply(serial, &v, pid_of, 0) == AUR_OK && v == (int)getpid());
    MUST(aur_apply(serial, &v, fails, 7) == AUR_ETASK && aur_last_error()->code == 7);
    MUST(aur_apply(serial, &v, asks_threads, 4) == AUR_OK && v == 16);
    MUST(aur_apply(serial, &v, goes_deep, 0) == AUR_OK && v > 1);
    MUST(aur_apply_async(serial, &futures[1], twice, 8) == AUR_OK);
    MUST(aur_future_done(futures[1]));
    MUST(aur_future_id(futures[1]) == UINT64_MAX); /* the parent does not know it */
    MUST(aur_apply_async(threads, &futures[0], twice, 8) == AUR_OK);
    MUST(aur_wait_any(futures, 2, &index, AUR_NO_DEADLINE) == AUR_OK && index < 2);
    uint64_t id = aur_future_id(futures[0]);
    MUST(id != UINT64_MAX && aur_future_open(id, &futures[2]) == AUR_OK);
    MUST(aur_future_id(futures[2]) == id);
    aur_future_unref(futures[2]);
    MUST(aur_map_async(threads, &futures[2], twice, in_map, 2, out) == AUR_OK);
    MUST(aur_future_id(futures[2]) == UINT64_MAX);
    aur_future_unref(futures[2]);
    MUST(aur_future_open(UINT64_MAX, &futures[2]) == AUR_EINVAL);
    for (int i = 0; i < 2; i++) {
        MUST(aur_future_result(futures[i], &v, AUR_NO_DEADLINE) == AUR_OK && v == 16);
        aur_future_unref(futures[i]);
    }
    for (int i = 0; i < N; i++) {
        in[i] = i;
    }
    MUST(aur_map(serial, pid_of, in, N, out) == AUR_OK);
    for (int i = 0; i < N; i++) {
        MUST(out[i] == (int)getpid());
    }
    MUST(aur_apply_bytes(serial, &futures[0], reverse, "abcdef", 6) == AUR_OK);
    MUST(aur_future_view(futures[0], &data, &size, AUR_NO_DEADLINE) == AUR_OK);
    MUST(size == 6 && memcmp(data, "fedcba", 6) == 0);
    aur_future_unref(futures[0]);
    MUST(aur_pool_stats(serial, &stats) == AUR_OK && stats.submitted >= 7);
    MUST(aur_apply(closed_serial, &v, twice, 4) == AUR_ESHUTDOWN);
    MUST(aur_pool_close(serial) == AUR_ENOTSUP && aur_pool_terminate(serial) == AUR_ENOTSUP);
    MUST(aur_pool_join(serial, AUR_NO_DEADLINE) == AUR_EDEADLK);
    return 0;
}
AUR_FN(int, uses_serial, int);

/* Waits for the task whose number stands at `at`. */
static aur_err waits_for(int at)
{
    aur_future *future = NULL;
    aur_err outcome = AUR_OK;

    aurt_event_wait(ready);
    aur_err err = aur_future_open(ids[at], &future);
    if (err == AUR_OK) {
        err = aur_future_result(future, &outcome, AUR_NO_DEADLINE);
        aur_future_unref(future);
    }
    return err;
}
AUR_FN(aur_err, waits_for, int);

/* Waits for a call in another pool, which waits for this one. */
static aur_err circles(int which)
{
    aur_err inner = AUR_OK;

    aurt_event_wait(ready);
    aur_err err = aur_apply(which == 0 ? threads : others, &inner, waits_for, 0);
    return err != AUR_OK ? err : inner;
}
AUR_FN(aur_err, circles, int);

/* Sleeps until the caller's flag is up, or it is asked to stop. */
static int blocks(int x)
{
    aurt_event_set(ready);
    while (aur_checkpoint() == AUR_OK) {
        sched_yield();
    }
    return x;
}
AUR_FN(int, blocks, int);

static int cancels(int which)
{
    aur_future *future = NULL;
    int what = 0;

    MUST(aur_apply_async(which == 0 ? threads : others, &future, blocks, 1) == AUR_OK);
    aurt_event_wait(ready);
    MUST(aur_future_cancel(future, &what) == AUR_OK);
    MUST(what == (which == 0 ? AUR_CANCEL_SIGNALLED : AUR_CANCEL_KILLED));
    MUST(aur_future_wait(future, AUR_NO_DEADLINE) == AUR_OK);
    aur_future_unref(future);
    return 0;
}
AUR_FN(int, cancels, int);

/* ---- tests --------------------------------------------------------------------------------- */

static aur_pool *pool_of(int kind, uint32_t workers)
{
    return aurt_pool_new(kind, workers, AUR_START_DEFAULT, 0);
}

static int setup(void **state)
{
    gone = pool_of(AUR_THREADS, 1);
    serial = pool_of(AUR_SERIAL, 0);
    closed_serial = pool_of(AUR_SERIAL, 0);
    AURT_OK(aur_pool_close(closed_serial));
    threads = pool_of(AUR_THREADS, 2);
    void *shared = aurt_shared(4096);
    ids = shared;
    ready = (aurt_event *)(void *)(ids + 8);
    ids[2] = (uint64_t)getpid();
    others = pool_of(AUR_PROCESSES, 1);
    mine = pool_of(AUR_PROCESSES, 1);
    aurt_pool_end(gone);
    *state = shared;
    return 0;
}

static int teardown(void **state)
{
    aurt_pool_end(mine);
    aurt_pool_end(others);
    aurt_pool_end(threads);
    aurt_pool_end(serial);
    aurt_pool_end(closed_serial);
    return munmap(*state, 4096);
}

static void test_uses(void **state)
{
    (void)state;
    for (int which = 0; which < 2; which++) {
        int line = -1;
        AURT_OK(aur_apply(mine, &line, uses, which));
        assert_int_equal(line, 0);
    }
}

static void test_serial(void **state)
{
    aur_stats stats = { .size = sizeof(stats) };

    (void)state;
    for (int i = 0; i < 2; i++) {
        int line = -1;
        AURT_OK(aur_apply(mine, &line, uses_serial, 3));
        assert_int_equal(line, 0);
    }
    AURT_OK(aur_pool_stats(serial, &stats));
    assert_int_equal(stats.submitted, 0); /* the parent had nothing to do with it */
}

static void test_circle(void **state)
{
    (void)state;
    for (int which = 0; which < 2; which++) {
        for (int i = 0; i < 10; i++) {
            aur_future *future = NULL;
            aur_err outcome = AUR_OK;
            atomic_store(&ready->set, 0);
            AURT_OK(aur_apply_async(mine, &future, circles, which));
            ids[0] = aur_future_id(future);
            aurt_event_set(ready);
            /* Whoever closed the circle was refused, and the other one heard of it, or got on. */
            AURT_OK(aur_future_result(future, &outcome, AUR_NO_DEADLINE));
            AURT_ERR(AUR_EDEADLK, outcome);
            aur_future_unref(future);
        }
    }
}

static void test_cancel(void **state)
{
    (void)state;
    for (int which = 0; which < 2; which++) {
        int line = -1;
        atomic_store(&ready->set, 0);
        AURT_OK(aur_apply(mine, &line, cancels, which));
        assert_int_equal(line, 0);
    }
}

/* What a worker cannot do with the parent's futures and pools. */
static aur_future *inherited;

static int is_refused(int x)
{
    const void *data = NULL;
    aur_buf *buf = NULL;
    size_t size = 0;

    (void)x;
    MUST(aur_future_wait(inherited, 0) == AUR_ETIMEDOUT);
    MUST(aur_future_view(inherited, &data, &size, AUR_NO_DEADLINE) == AUR_ENOTSUP);
    MUST(aur_last_error()->err == AUR_ENOTSUP && data == NULL);
    MUST(aur_buf_new(others, 64, 0, &buf) == AUR_ENOTSUP && buf == NULL);
    MUST(aur_buf_new(aur_pool_current(), 64, AUR_BUF_INOUT, &buf) == AUR_ENOTSUP && buf == NULL);
    MUST(aur_pool_close(others) == AUR_ENOTSUP && aur_pool_terminate(others) == AUR_ENOTSUP);
    MUST(aur_pool_join(others, AUR_NO_DEADLINE) == AUR_EDEADLK);
    return 0;
}
AUR_FN(int, is_refused, int);

static void test_refused(void **state)
{
    int line = -1;

    (void)state;
    atomic_store(&ready->set, 0);
    AURT_OK(aur_apply_async(others, &inherited, blocks, 1));
    aurt_event_wait(ready);
    aur_pool *pool = pool_of(AUR_PROCESSES, 1); /* whose workers know that future */
    AURT_OK(aur_apply(pool, &line, is_refused, 0));
    assert_int_equal(line, 0);
    aurt_pool_end(pool);
    AURT_OK(aur_future_cancel(inherited, NULL));
    AURT_ERR(AUR_ECANCELED, aur_future_outcome(inherited, AUR_NO_DEADLINE));
    inherited = aur_future_unref(inherited);
}

/* The pool is closed, but still there. */
static int sees_closed(int x)
{
    int v = 0;

    return aur_apply(threads, &v, twice, x) == AUR_ESHUTDOWN;
}
AUR_FN(int, sees_closed, int);

static void test_closed(void **state)
{
    int v = 0;

    (void)state;
    aur_pool_close(threads);
    AURT_OK(aur_apply(mine, &v, sees_closed, 1));
    assert_int_equal(v, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_uses),    cmocka_unit_test(test_serial),
        cmocka_unit_test(test_circle),  cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_closed),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
