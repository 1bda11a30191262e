/* Goal:    imap: order, the window, failed items, generators, an early end.
 * Method:  tasks count themselves as started; the taker counts what it took.  Started minus taken
 *          never exceeds the window.
 * Guards:  src/pool/imap.c. */
#include "kinds.h"

#define N 500

static _Atomic(uint64_t) started;
static _Atomic(uint64_t) taken;
static _Atomic(uint64_t) window;

static int counted(int x)
{
    /* Others may start and be taken between the two looks: then the difference is too small, even
     * negative, but never too large. */
    uint64_t mine = atomic_fetch_add(&started, 1) + 1;

    AURT_CHECK(mine <= atomic_load(&taken) + atomic_load(&window));
    return 3 * x;
}
AUR_FN(int, counted, int);

static int odd_fails(int x)
{
    return x % 2 != 0 ? aur_fail(x, "odd: %d", x) : x;
}
AUR_FN(int, odd_fails, int);

static void reset(uint64_t size)
{
    atomic_store(&started, 0);
    atomic_store(&taken, 0);
    atomic_store(&window, size);
}

static void take_all(aur_imap_iter *iter, bool ordered, uint64_t n)
{
    bool seen[N] = { false };

    for (uint64_t i = 0; i < n; i++) {
        int v = -1;
        uint64_t index = UINT64_MAX;
        AURT_OK(aur_imap_next_sized(iter, &v, sizeof(v), &index, AUR_NO_DEADLINE));
        atomic_fetch_add(&taken, 1);
        assert_in_range(index, 0, n - 1);
        assert_false(seen[index]);
        seen[index] = true;
        assert_int_equal(v, 3 * (int)index);
        if (ordered) {
            assert_int_equal(index, i);
        }
    }
    int v = 77;
    uint64_t index = 88;
    AURT_ERR(AUR_END, aur_imap_next_sized(iter, &v, sizeof(v), &index, AUR_NO_DEADLINE));
    AURT_ERR(AUR_END, aur_imap_next(iter, &v, 0));
    assert_int_equal(v, 77);
    assert_int_equal(index, 88);
}

static void test_window(void **state)
{
    aur_pool *pool = aurt_pool(state);
    const uint64_t windows[] = { 1, 2, 7, 64, 100000 };
    int in[N];

    for (int i = 0; i < N; i++) {
        in[i] = i;
    }
    for (size_t w = 0; w < 2 * sizeof(windows) / sizeof(windows[0]); w++) {
        AUR_SCOPED(aur_imap_iter) *iter = NULL;
        aur_call_options opts = AUR_CALL_OPTIONS_INIT;
        bool ordered = w % 2 == 0;
        opts.window_items = windows[w / 2];
        reset(opts.window_items);
        if (ordered) {
            AURT_OK(aur_imap_with(pool, &opts, &iter, counted, in, N));
        } else {
            AURT_OK(aur_imap_unordered_with(pool, &opts, &iter, counted, in, N));
        }
        take_all(iter, ordered, N);
    }
    aurt_pool_end(pool);
}

static void test_window_bytes(void **state)
{
    aur_pool *pool = aurt_pool(state);
    AUR_SCOPED(aur_imap_iter) *iter = NULL;
    aur_call_options opts = AUR_CALL_OPTIONS_INIT;
    int in[50] = { 0 };
    int v;

    for (int i = 0; i < 50; i++) {
        in[i] = i;
    }
    opts.window_items = 1000;
    opts.window_bytes = 3 * 2 * sizeof(int) + 1; /* three items and a bit */
    reset(3);
    AURT_OK(aur_imap_with(pool, &opts, &iter, counted, in, 50));
    take_all(iter, true, 50);
    iter = aur_imap_free(iter);
    opts.window_bytes = 1; /* less than one item: one at a time */
    reset(1);
    AURT_OK(aur_imap_unordered_with(pool, &opts, &iter, counted, in, 50));
    AURT_OK(aur_imap_next(iter, &v, AUR_NO_DEADLINE));
    aurt_pool_end(pool);
}

static void test_defaults(void **state)
{
    aur_pool *pool = aurt_pool(state);
    AUR_SCOPED(aur_imap_iter) *iter = NULL;
    AUR_SCOPED(aur_imap_iter) *empty = NULL;
    int in[N];
    int v;

    for (int i = 0; i < N; i++) {
        in[i] = i;
    }
    reset(4 * 3);
    AURT_OK(aur_imap(pool, &iter, counted, in, N));
    take_all(iter, true, N);
    AURT_OK(aur_imap_unordered(pool, &empty, counted, (int *)NULL, 0));
    AURT_ERR(AUR_END, aur_imap_next(empty, &v, AUR_NO_DEADLINE));
    aurt_pool_end(pool);
}

static void test_errors(void **state)
{
    aur_pool *pool = aurt_pool(state);
    int in[N];

    for (int i = 0; i < N; i++) {
        in[i] = i;
    }
    for (int ordered = 0; ordered < 2; ordered++) {
        AUR_SCOPED(aur_imap_iter) *iter = NULL;
        int failures = 0;
        if (ordered) {
            AURT_OK(aur_imap(pool, &iter, odd_fails, in, N));
        } else {
            AURT_OK(aur_imap_unordered(pool, &iter, odd_fails, in, N));
        }
        for (int i = 0; i < N; i++) {
            int v = -1;
            uint64_t index = UINT64_MAX;
            aur_err err = aur_imap_next_sized(iter, &v, sizeof(v), &index, AUR_NO_DEADLINE);
            assert_true(ordered == 0 || index == (uint64_t)i);
            AURT_ERR(index % 2 != 0 ? AUR_ETASK : AUR_OK, err);
            if (err == AUR_OK) {
                assert_int_equal(v, index);
                continue;
            }
            failures++;
            assert_int_equal(v, -1);
            assert_int_equal(aur_last_error()->code, index);
            assert_int_equal(aur_last_error()->item, index);
            assert_string_equal(aur_last_error()->function, "odd_fails");
        }
        assert_int_equal(failures, N / 2);
        int v;
        AURT_ERR(AUR_END, aur_imap_next(iter, &v, AUR_NO_DEADLINE));
    }
    aur_stats stats = { .size = sizeof(stats) };
    AURT_OK(aur_pool_join(pool, AUR_NO_DEADLINE));
    AURT_OK(aur_pool_stats(pool, &stats));
    assert_int_equal(stats.failed, N);
    assert_int_equal(stats.unseen, 0);
    aur_pool_unref(pool);
}

/* ---- generators ---------------------------------------------------------------------------- */

struct countdown {
    int left;
    int calls;
    pid_t thread;
};

static bool countdown_next(void *ctx, void *args)
{
    struct countdown *down = ctx;

    down->calls++;
    AURT_CHECK((pid_t)syscall(SYS_gettid) == down->thread);
    if (down->left == 0) {
        return false;
    }
    *(struct counted_args *)args = (struct counted_args){ N - down->left-- };
    return true;
}

static void test_generator(void **state)
{
    aur_pool *pool = aurt_pool(state);

    for (int ordered = 0; ordered < 2; ordered++) {
        struct countdown down = { N, 0, (pid_t)syscall(SYS_gettid) };
        AUR_SCOPED(aur_imap_iter) *iter = NULL;
        aur_call_options opts = AUR_CALL_OPTIONS_INIT;
        opts.window_items = 5;
        reset(5);
        AURT_OK(aur_imap_from(pool, &opts, &iter, counted, countdown_next, &down, ordered != 0));
        assert_int_equal(down.calls, 0);
        int v;
        AURT_OK(aur_imap_next(iter, &v, AUR_NO_DEADLINE));
        assert_int_equal(down.calls, 5); /* never ahead of the window */
        iter = aur_imap_free(iter);
        down = (struct countdown){ N, 0, (pid_t)syscall(SYS_gettid) };
        reset(5 + 5); /* what the freed iterator left may still be starting */
        AURT_OK(aur_imap_from(pool, &opts, &iter, counted, countdown_next, &down, ordered != 0));
        take_all(iter, ordered != 0, N);
        assert_int_equal(down.calls, N + 1); /* not asked again after its end */
    }
    aurt_pool_end(pool);
}

/* ---- early ends, full queues, deadlines ------------------------------------------------------ */

static aurt_event go;

static int waits(int x)
{
    aurt_event_wait(&go);
    return x;
}
AUR_FN(int, waits, int);

static void test_early_free(void **state)
{
    for (int ordered = 0; ordered < 2; ordered++) {
        aur_options fixed = aurt_options(state);
        fixed.flags = AUR_POOL_FIXED; /* else others stand in for those that wait, and begin more */
        aur_pool *pool = aurt_pool_with(&fixed);
        aur_imap_iter *iter = NULL;
        aur_call_options opts = AUR_CALL_OPTIONS_INIT;
        int in[N] = { 0 };
        int v = 5;

        atomic_store(&go.set, 0);
        opts.window_items = 50;
        AURT_OK(ordered ? aur_imap_with(pool, &opts, &iter, waits, in, N)
                        : aur_imap_unordered_with(pool, &opts, &iter, waits, in, N));
        AURT_ERR(AUR_ETIMEDOUT, aur_imap_next(iter, &v, 0));
        AURT_ERR(AUR_ETIMEDOUT, aur_imap_next(iter, &v, aur_deadline_in_ms(1)));
        assert_int_equal(v, 5);
        assert_null(
            aur_imap_free(iter)); /* cancels what has not started; the rest ends by itself */
        aurt_event_set(&go);
        aur_stats stats = { .size = sizeof(stats) };
        AURT_OK(aur_pool_join(pool, AUR_NO_DEADLINE));
        AURT_OK(aur_pool_stats(pool, &stats));
        assert_int_equal(stats.submitted, 50);
        assert_true(stats.cancelled >= 50 - 3 && stats.done + stats.cancelled == 50);
        aur_pool_unref(pool);
    }
    assert_null(aur_imap_free(NULL));
}

static void test_full_queue(void **state)
{
    aur_options opts = aurt_options(state);
    int in[N];

    for (int i = 0; i < N; i++) {
        in[i] = i;
    }
    opts.queue_max = 2;
    for (int policy = AUR_QUEUE_BLOCK; policy <= AUR_QUEUE_CALLER_RUNS; policy++) {
        opts.queue_policy = policy;
        aur_pool *pool = aurt_pool_with(&opts);
        AUR_SCOPED(aur_imap_iter) *iter = NULL;
        reset(12);
        AURT_OK(aur_imap(pool, &iter, counted, in, N));
        take_all(iter, true, N);
        iter = aur_imap_free(iter);
        aurt_pool_end(pool);
    }
}

static void test_closed_between(void **state)
{
    aur_pool *pool = aurt_pool(state);
    AUR_SCOPED(aur_imap_iter) *iter = NULL;
    aur_call_options opts = AUR_CALL_OPTIONS_INIT;
    int in[N] = { 0 };
    int v;

    opts.window_items = 3;
    reset(3);
    AURT_OK(aur_imap_with(pool, &opts, &iter, counted, in, N));
    AURT_OK(aur_pool_close(pool));
    for (int i = 0; i < 3; i++) { /* what was accepted still comes */
        AURT_OK(aur_imap_next(iter, &v, AUR_NO_DEADLINE));
        atomic_fetch_add(&taken, 1);
    }
    AURT_ERR(AUR_ESHUTDOWN, aur_imap_next(iter, &v, AUR_NO_DEADLINE));
    aurt_pool_end(pool);
    AURT_ERR(AUR_ESHUTDOWN, aur_imap_next(iter, &v, AUR_NO_DEADLINE)); /* it may outlive its pool */
}

static int nested_sum(int n)
{
    AUR_SCOPED(aur_imap_iter) *iter = NULL;
    int in[20];
    int sum = 0;
    int v;

    for (int i = 0; i < 20; i++) {
        in[i] = i;
    }
    if ((n % 2 != 0 ? aur_imap(aur_pool_current(), &iter, odd_fails, in, 20)
                    : aur_imap_unordered(aur_pool_current(), &iter, odd_fails, in, 20)) != AUR_OK) {
        return aur_fail(1, "no iterator");
    }
    for (;;) {
        aur_err err = aur_imap_next(iter, &v, AUR_NO_DEADLINE);
        if (err == AUR_END) {
            return sum + n;
        }
        if (err != AUR_OK && err != AUR_ETASK) {
            return aur_fail(err, "%s", aur_err_name(err));
        }
        sum += err == AUR_OK ? v : 0;
    }
}
AUR_FN(int, nested_sum, int);

static void test_nested(void **state)
{
    aur_pool *pool = aurt_pool(state);
    int in[30];
    int out[30];

    for (int i = 0; i < 30; i++) {
        in[i] = i;
    }
    AURT_OK(aur_map(pool, nested_sum, in, 30, out));
    for (int i = 0; i < 30; i++) {
        assert_int_equal(out[i], 90 + i);
    }
    aurt_pool_end(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        AURT_SHARED(test_window),     AURT_SHARED(test_window_bytes),
        AURT_SHARED(test_defaults),   AURT_EACH(test_errors),
        AURT_SHARED(test_generator),  AURT_OF(test_early_free, threads),
        AURT_SHARED(test_full_queue), AURT_SHARED(test_closed_between),
        AURT_EACH(test_nested),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
