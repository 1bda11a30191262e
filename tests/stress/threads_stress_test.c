/* Goal:   nothing is lost, run twice or left hanging under load: floods of tasks from outside and from
 *         inside, nested waits, mixes of every verb, pools that come and go or wait for each other.
 * Method: sums that come out right only if each call ran once; a lost wake hangs.
 * Guards: src/sched, src/task, src/sync as a whole.
 * AURT_SMALL shrinks it under the sanitizers, which slow it down tenfold. */
#include "aurt.h"

#include <auriga.h>
#include <pthread.h>

#if AURT_EXTRA_THREADS || defined(__SANITIZE_ADDRESS__)
#define AURT_SMALL 10u
#else
#define AURT_SMALL 1u
#endif
#define FLOOD (1000000u / AURT_SMALL)

static aur_pool *pool_of(uint32_t workers)
{
    aur_options opts = AUR_OPTIONS_INIT;
    aur_pool *pool = NULL;

    opts.workers = workers;
    AURT_CHECK(aur_pool_new(&opts, &pool, NULL) == AUR_OK);
    return pool;
}

typedef _Atomic(uint64_t) *counter;

static void add_one(counter sum)
{
    atomic_fetch_add_explicit(sum, 1, memory_order_relaxed);
}
AUR_FN_VOID(add_one, counter);

struct flood {
    aur_pool *pool;
    counter sum;
    uint32_t n;
};

static void *flood(void *ctx)
{
    struct flood *f = ctx;

    for (uint32_t i = 0; i < f->n; i++) {
        AURT_CHECK(aur_apply_async(f->pool, NULL, add_one, f->sum) == AUR_OK);
    }
    return NULL;
}

static void flood_from_outside(void **state)
{
    (void)state;
    for (uint32_t workers = 1; workers <= 16; workers *= 4) {
        _Atomic(uint64_t) sum = 0;
        struct flood f = { pool_of(workers), &sum, FLOOD };
        flood(&f);
        AURT_OK(aur_pool_join(f.pool, AUR_NO_DEADLINE));
        assert_int_equal(atomic_load(&sum), FLOOD);
        aur_stats stats = { .size = sizeof(stats) };
        AURT_OK(aur_pool_stats(f.pool, &stats));
        assert_int_equal(stats.done, FLOOD);
        aur_pool_unref(f.pool);
    }
}

static void flood_from_four_threads(void **state)
{
    _Atomic(uint64_t) sum = 0;
    struct flood f = { pool_of(2), &sum, FLOOD / 4 };
    pthread_t threads[4];

    (void)state;
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, flood, &f), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    AURT_OK(aur_pool_join(f.pool, AUR_NO_DEADLINE));
    assert_int_equal(atomic_load(&sum), FLOOD);
    aur_pool_unref(f.pool);
}

typedef struct flood *flood_ptr;
static void flood_inside(flood_ptr f)
{
    flood(f);
}
AUR_FN_VOID(flood_inside, flood_ptr);

static void flood_from_inside(void **state)
{
    _Atomic(uint64_t) sum = 0;
    struct flood f = { pool_of(2), &sum, FLOOD };

    (void)state;
    AURT_OK(aur_apply_async(f.pool, NULL, flood_inside, &f));
    AURT_OK(aur_pool_join(f.pool, AUR_NO_DEADLINE)); /* closed at once: nested submits go on */
    assert_int_equal(atomic_load(&sum), FLOOD);
    aur_pool_unref(f.pool);
}

static int64_t fib(int n);
AUR_FN(int64_t, fib, int);
static int64_t fib(int n)
{
    AUR_SCOPED(aur_future) *left = NULL;
    int64_t x = 0;

    if (n < 2) {
        return n;
    }
    AURT_CHECK(aur_apply_async(aur_pool_current(), &left, fib, n - 1) == AUR_OK);
    int64_t y = fib(n - 2);
    aur_err err = aur_future_result(left, &x, AUR_NO_DEADLINE);
    if (err != AUR_OK) {
        fprintf(stderr, "%s: %s\n", aur_err_name(err), aur_last_error()->message);
    }
    AURT_CHECK(err == AUR_OK);
    return x + y;
}

static void fork_and_join(void **state)
{
    (void)state;
    for (uint32_t workers = 1; workers <= 16; workers *= 4) {
        AUR_SCOPED(aur_pool) *pool = pool_of(workers);
        AUR_SCOPED(aur_future) *root = NULL;
        int64_t v = 0;
        AURT_OK(aur_apply_async(pool, &root, fib, AURT_SMALL == 1 ? 22 : 16));
        AURT_OK(aur_future_result(root, &v, AUR_NO_DEADLINE));
        assert_int_equal(v, AURT_SMALL == 1 ? 17711 : 987);
    }
}

/* ---- a mix --------------------------------------------------------------------------------- */

struct mix {
    aur_pool *pool;
    _Atomic(uint64_t) callbacks;
    _Atomic(uint64_t) asked; /* callbacks */
};
typedef struct mix *mix_ptr;

static void called_back(void *ctx, aur_future *future)
{
    AURT_CHECK(aur_future_done(future));
    atomic_fetch_add_explicit((counter)ctx, 1, memory_order_relaxed);
}

static int twice(int x)
{
    return 2 * x;
}
AUR_FN(int, twice, int);

static int tree(mix_ptr mix, uint32_t seed, int depth);
AUR_FN(int, tree, mix_ptr, uint32_t, int);

/* Waits for `n` children in one of several ways.  A cancelled child counts as nothing. */
static int gather(aur_future **child, size_t n, uint32_t how)
{
    int ran = 0;
    size_t index;

    if (how % 4 == 0) {
        AURT_CHECK(aur_wait_all(child, n, AUR_NO_DEADLINE) == AUR_OK);
    } else if (how % 4 == 1) {
        AUR_SCOPED(aur_completed) *set = NULL;
        size_t seen = 0;
        AURT_CHECK(aur_as_completed(child, n, &set) == AUR_OK);
        while (aur_completed_next(set, &index, AUR_NO_DEADLINE) == AUR_OK) {
            AURT_CHECK(aur_future_done(child[index]));
            seen++;
        }
        AURT_CHECK(seen == n);
    } else if (how % 4 == 2) {
        AURT_CHECK(aur_wait_any(child, n, &index, AUR_NO_DEADLINE) == AUR_OK);
        AURT_CHECK(aur_future_done(child[index]));
    } else {
        (void)aur_future_cancel(child[n / 2], NULL);
    }
    for (size_t i = 0; i < n; i++) {
        int v = 0;
        aur_deadline until = how % 3 == 0 ? aur_deadline_in_ms(600000) : AUR_NO_DEADLINE;
        aur_err err = aur_future_result(child[i], &v, until);
        AURT_CHECK(err == AUR_OK || (err == AUR_ECANCELED && how % 4 == 3));
        ran += err == AUR_OK;
        aur_future_unref(child[i]);
    }
    return ran;
}

static int tree(mix_ptr mix, uint32_t seed, int depth)
{
    aur_future *child[4];
    int in[40];
    int out[40];

    if (depth == 0) {
        return 1;
    }
    for (uint32_t i = 0; i < 4; i++) {
        AURT_CHECK(aur_apply_async(mix->pool, &child[i], tree, mix, seed * 31 + i, depth - 1) ==
                   AUR_OK);
        if ((seed + i) % 5 == 0) {
            AURT_CHECK(aur_future_on_done(child[i], called_back, &mix->callbacks) == AUR_OK);
            atomic_fetch_add_explicit(&mix->asked, 1, memory_order_relaxed);
        }
    }
    if (seed % 3 == 0) {
        for (int i = 0; i < 40; i++) {
            in[i] = i;
        }
        AURT_CHECK(aur_map(mix->pool, twice, in, 40, out) == AUR_OK && out[39] == 78);
    }
    return gather(child, 4, seed);
}

static void mix_of_everything(void **state)
{
    (void)state;
    for (uint32_t round = 0; round < 60 / AURT_SMALL; round++) {
        struct mix mix = { .pool = pool_of(1 + round % 4) };
        aur_future *root[3];
        for (uint32_t i = 0; i < 3; i++) {
            AURT_OK(aur_apply_async(mix.pool, &root[i], tree, &mix, round * 3 + i, 4));
        }
        for (uint32_t i = 0; i < 3; i++) {
            AURT_OK(aur_future_outcome(root[i], AUR_NO_DEADLINE));
            aur_future_unref(root[i]);
        }
        AURT_OK(aur_pool_join(mix.pool, AUR_NO_DEADLINE));
        assert_int_equal(atomic_load(&mix.callbacks), atomic_load(&mix.asked));
        aur_pool_unref(mix.pool);
    }
}

/* ---- pools --------------------------------------------------------------------------------- */

/* A worker that stops must not take along the wake of another. */
static void pools_come_and_go(void **state)
{
    (void)state;
    for (uint32_t round = 0; round < 600 / AURT_SMALL; round++) {
        _Atomic(uint64_t) sum = 0;
        struct flood f = { pool_of(1 + round % 6), &sum, round % 50 };
        flood(&f);
        if (round % 3 == 0) {
            AURT_OK(aur_pool_terminate(f.pool));
        }
        if (round % 3 == 1) { /* dropped with work in it; the next pool comes meanwhile */
            aur_pool_ref(f.pool);
            aur_pool_unref(f.pool);
        }
        AURT_OK(aur_pool_join(f.pool, AUR_NO_DEADLINE));
        assert_true(atomic_load(&sum) == f.n || (round % 3 == 0 && atomic_load(&sum) < f.n));
        aur_pool_unref(f.pool);
    }
}

static void dropped_pools_finish(void **state)
{
    static _Atomic(uint64_t) sum;
    size_t before = aurt_thread_count();

    (void)state;
    for (uint32_t round = 0; round < 100 / AURT_SMALL; round++) {
        struct flood f = { pool_of(2), &sum, 100 };
        flood(&f);
        aur_pool_unref(f.pool);
    }
    aurt_threads_settle(before);
    assert_int_equal(atomic_load(&sum), 100 / AURT_SMALL * 100);
}

struct pair {
    aur_pool *pool[2];
};
typedef struct pair *pair_ptr;

static int ping(pair_ptr pair, int depth);
AUR_FN(int, ping, pair_ptr, int);
static int ping(pair_ptr pair, int depth)
{
    AUR_SCOPED(aur_future) *there = NULL;
    int v = 0;

    if (depth == 0) {
        return 0;
    }
    AURT_CHECK(aur_apply_async(pair->pool[depth % 2], &there, ping, pair, depth - 1) == AUR_OK);
    AURT_CHECK(aur_future_result(there, &v, AUR_NO_DEADLINE) == AUR_OK);
    return v + 1;
}

static void two_pools_wait_for_each_other(void **state)
{
    (void)state;
    static const uint32_t flags[] = { 0, AUR_POOL_NO_HELP, AUR_POOL_NO_HELP | AUR_POOL_FIFO };
    for (size_t way = 0; way < sizeof(flags) / sizeof(flags[0]); way++) {
        aur_options opts = AUR_OPTIONS_INIT;
        struct pair pair;
        opts.workers = 1;
        opts.flags = flags[way];
        AURT_OK(aur_pool_new(&opts, &pair.pool[0], NULL));
        AURT_OK(aur_pool_new(&opts, &pair.pool[1], NULL));
        aur_future *root[20];
        for (int i = 0; i < 20; i++) {
            AURT_OK(aur_apply_async(pair.pool[i % 2], &root[i], ping, &pair, 10));
        }
        for (int i = 0; i < 20; i++) {
            int v = 0;
            AURT_OK(aur_future_result(root[i], &v, AUR_NO_DEADLINE));
            assert_int_equal(v, 10);
            aur_future_unref(root[i]);
        }
        for (int i = 0; i < 2; i++) {
            AURT_OK(aur_pool_join(pair.pool[i], AUR_NO_DEADLINE));
            aur_pool_unref(pair.pool[i]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flood_from_outside),   cmocka_unit_test(flood_from_four_threads),
        cmocka_unit_test(flood_from_inside),    cmocka_unit_test(fork_and_join),
        cmocka_unit_test(mix_of_everything),    cmocka_unit_test(pools_come_and_go),
        cmocka_unit_test(dropped_pools_finish), cmocka_unit_test(two_pools_wait_for_each_other),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
