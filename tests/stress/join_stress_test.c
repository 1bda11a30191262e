/* Goal:   forks lose nothing, run nothing twice and hang nowhere under load: from workers and from
 *         outside threads at once, with thieves that take back and forth, mixed with tasks, waits and
 *         maps; and the counts of a pool come out.
 * Method: sums that come out right only if each branch ran once; a lost branch hangs.
 * Guards: src/sched/join.c, src/sched/lane.c.
 * AURT_SMALL shrinks it under the sanitizers, which slow it down tenfold. */
#include "aurt.h"

#include <auriga.h>
#include <pthread.h>

#if AURT_EXTRA_THREADS || defined(__SANITIZE_ADDRESS__)
#define AURT_SMALL 1
#else
#define AURT_SMALL 0
#endif

static aur_pool *pool_of(uint32_t workers)
{
    aur_options opts = AUR_OPTIONS_INIT;
    aur_pool *pool = NULL;

    opts.workers = workers;
    AURT_CHECK(aur_pool_new(&opts, &pool, NULL) == AUR_OK);
    return pool;
}

static int64_t fib(int n);
AUR_FN(int64_t, fib, int);
static int64_t fib(int n)
{
    if (n < 2) {
        return n;
    }
    aur_fork(left, fib, n - 1);
    int64_t right = fib(n - 2);
    return aur_joined(left, fib) + right;
}

#define N (AURT_SMALL ? 18 : 27)
#define FIB_N (AURT_SMALL ? 2584 : 196418)

static void many_workers(void **state)
{
    (void)state;
    for (uint32_t workers = 1; workers <= 16; workers *= 2) {
        AUR_SCOPED(aur_pool) *pool = pool_of(workers);
        for (int i = 0; i < 4; i++) {
            AUR_SCOPED(aur_future) *f = NULL;
            int64_t v = 0;
            AURT_OK(aur_apply_async(pool, &f, fib, N));
            if (i % 2 == 0) { /* with this thread, or by a worker that got it first */
                AURT_OK(aur_apply(pool, &v, fib, N));
                assert_int_equal(v, FIB_N);
            }
            AURT_OK(aur_future_result(f, &v, AUR_NO_DEADLINE));
            assert_int_equal(v, FIB_N);
        }
    }
}

/* ---- a mix --------------------------------------------------------------------------------- */

static int one(int x)
{
    return x - x + 1;
}
AUR_FN(int, one, int);

static int mix(int depth, uint32_t seed);
AUR_FN(int, mix, int, uint32_t);

static void mix_branch(void *arg)
{
    struct mix_args *args = arg;

    args->a1 = mix(args->a1, args->a2);
}

/* 3 to the power of depth, by whatever way. */
static int mix(int depth, uint32_t seed)
{
    if (depth == 0) {
        return 1;
    }
    seed = seed * 1664525u + 1013904223u;
    uint32_t how = seed >> 24;
    aur_fork(first, mix, depth - 1, seed);
    AUR_SCOPED(aur_future) *second = NULL;
    int v = 0;
    if (how % 3 == 0) {
        AURT_CHECK(aur_apply_async(aur_pool_current(), &second, mix, depth - 1, seed + 1) ==
                   AUR_OK);
        v = mix(depth - 1, seed + 2);
        int more = 0;
        AURT_CHECK(aur_future_result(second, &more, AUR_NO_DEADLINE) == AUR_OK);
        v += more;
    } else if (how % 3 == 1) {
        struct mix_args a = { depth - 1, seed + 1 };
        struct mix_args b = { depth - 1, seed + 2 };
        AURT_CHECK(aur_join(mix_branch, &a, mix_branch, &b) == AUR_OK);
        v = a.a1 + b.a1;
    } else {
        int in[30] = { 0 };
        int out[30];
        AURT_CHECK(aur_map(aur_pool_current(), one, in, 30, out) == AUR_OK && out[29] == 1);
        aur_fork(third, mix, depth - 1, seed + 1);
        v = mix(depth - 1, seed + 2);
        v += aur_joined(third, mix);
    }
    return v + aur_joined(first, mix);
}

struct outside {
    aur_pool *pool;
    uint32_t seed;
};

static void *outside(void *arg)
{
    struct outside *o = arg;
    int in[4] = { 5, 6, 5, 6 };
    struct mix_args params[4];
    int out[4];
    int v = 0;

    AURT_CHECK(aur_apply(o->pool, &v, mix, 7, o->seed) == AUR_OK && v == 2187);
    for (uint32_t i = 0; i < 4; i++) {
        params[i] = (struct mix_args){ in[i], o->seed + i };
    }
    AURT_CHECK(aur_starmap(o->pool, mix, params, 4, out) == AUR_OK);
    AURT_CHECK(out[0] == 243 && out[1] == 729 && out[2] == 243 && out[3] == 729);
    return NULL;
}

static void mix_of_everything(void **state)
{
    (void)state;
    for (uint32_t round = 0; round < (AURT_SMALL ? 4 : 30); round++) {
        aur_pool *pool = pool_of(1 + round % 4);
        struct outside o[3];
        pthread_t threads[3];
        for (uint32_t i = 0; i < 3; i++) {
            o[i] = (struct outside){ pool, round * 100 + i };
            assert_int_equal(pthread_create(&threads[i], NULL, outside, &o[i]), 0);
        }
        for (int i = 0; i < 3; i++) {
            pthread_join(threads[i], NULL);
        }
        AURT_OK(aur_pool_join(pool, AUR_NO_DEADLINE));
        aur_stats stats = { .size = sizeof(stats) };
        AURT_OK(aur_pool_stats(pool, &stats));
        assert_int_equal(stats.submitted, stats.done);
        aur_pool_unref(pool);
    }
}

/* ---- failures ------------------------------------------------------------------------------ */

static int fails_at(int n, int which);
AUR_FN(int, fails_at, int, int);
static int fails_at(int n, int which)
{
    if (n == 1) {
        return which == 0 ? aur_fail(which, "this one") : 1;
    }
    aur_fork(right, fails_at, n - n / 2, which - n / 2);
    int left = fails_at(n / 2, which);
    return left + aur_joined(right, fails_at);
}

static void one_leaf_fails(void **state)
{
    AUR_SCOPED(aur_pool) *pool = pool_of(3);

    (void)state;
    for (int which = 0; which < 300; which++) {
        AUR_SCOPED(aur_future) *f = NULL;
        AURT_OK(aur_apply_async(pool, &f, fails_at, 300, which));
        AURT_ERR(AUR_ETASK, aur_future_outcome(f, AUR_NO_DEADLINE));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_workers),
        cmocka_unit_test(mix_of_everything),
        cmocka_unit_test(one_leaf_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
