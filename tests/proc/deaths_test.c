/* The process engine from the outside: workers that die, are late, are renewed, or cannot start.
 *
 * Method: public API only; what tasks do to their process is done for real (SIGKILL, abort, exit).
 * Guards: each outcome is the one that its own task deserves, and what is stuck holds up nothing else. */
/* aurt: no-tsan */
#include "engine_rig.h"

/* Dies in its first `deaths` runs. */
static int dies_first(uint64_t id, int deaths)
{
    if (atomic_fetch_add(&words_of(id)->runs, 1) < deaths) {
        kill(getpid(), SIGKILL);
    }
    return 11;
}
AUR_FN(int, dies_first, uint64_t, int);

static int pid_of(int x)
{
    (void)x;
    return getpid();
}
AUR_FN(int, pid_of, int);

/* ---- deaths -------------------------------------------------------------------------------- */

static void one_death(aur_pool *pool, int how, int want_signal, int want_status)
{
    enum { N = 60 };
    aur_future *futures[N];
    int v = 0;

    for (int i = 0; i < N; i++) {
        AURT_OK(aur_apply_async(pool, &futures[i], die, i == 20 ? how : DIE_NOT));
    }
    for (int i = 0; i < N; i++) {
        if (i != 20) {
            AURT_OK(aur_future_result(futures[i], &v, AUR_NO_DEADLINE));
            assert_int_equal(v, DIE_NOT);
            continue;
        }
        AURT_ERR(AUR_EWORKER, aur_future_outcome(futures[i], AUR_NO_DEADLINE));
        const aur_error *error = aur_future_error(futures[i]);
        assert_non_null(error);
        assert_int_equal(error->signal, want_signal);
        assert_int_equal(error->exit_status, want_status);
        assert_string_equal(error->function, "die");
        assert_true(error->pid > 0);
        assert_true(error->worker >= 0);
        assert_int_equal(error->attempts, 1);
        assert_true(error->peak_rss > 0);
        assert_int_equal(error->item, AUR_NO_ITEM);
    }
    for (int i = 0; i < N; i++) {
        aur_future_unref(futures[i]);
    }
}

static void test_deaths(void **state)
{
    aur_pool *pool = pool_of(2);

    (void)state;
    one_death(pool, DIE_KILL, SIGKILL, -1);
    one_death(pool, DIE_SEGV, SIGSEGV, -1);
    one_death(pool, DIE_EXIT, 0, 3);
    one_death(pool, DIE_ABORT, SIGABRT, -1);
    aur_stats stats = { .size = sizeof(stats) };
    AURT_OK(aur_pool_stats(pool, &stats));
    assert_int_equal(stats.deaths, 4);
    aurt_pool_end(pool);
}

static void test_retries(void **state)
{
    aur_options opts = AUR_OPTIONS_INIT;
    struct words *words;
    int v = 0;

    (void)state;
    opts.retries = 2;
    aur_pool *pool = pool_with(1, opts);
    aur_buf *buf = words_new(pool, &words);
    AURT_OK(aur_apply(pool, &v, dies_first, aur_buf_id(buf), 2));
    assert_int_equal(v, 11);
    assert_int_equal(atomic_load(&words->runs), 3);
    /* A task that always kills its worker fails for good. */
    atomic_store(&words->runs, 0);
    AURT_ERR(AUR_EWORKER, aur_apply(pool, &v, dies_first, aur_buf_id(buf), 1000));
    assert_int_equal(atomic_load(&words->runs), 3);
    assert_int_equal(aur_last_error()->attempts, 3);
    aur_buf_unref(buf);
    aurt_pool_end(pool);
}

static void test_time_limit(void **state)
{
    aur_options opts = AUR_OPTIONS_INIT;
    aur_call_options limit = AUR_CALL_OPTIONS_INIT;
    struct words *words;
    aur_future *futures[20];
    int v = 0;

    (void)state;
    aur_pool *pool = pool_with(1, opts);
    aur_buf *buf = words_new(pool, &words);
    limit.item_timeout_ns = 30000000;
    uint64_t start = aurt_now_ns();
    AURT_OK(aur_apply_async_with(pool, &limit, &futures[0], wait_go, aur_buf_id(buf)));
    for (int i = 1; i < 20; i++) {
        AURT_OK(aur_apply_async(pool, &futures[i], add, i, i));
    }
    AURT_ERR(AUR_EDEADLINE, aur_future_outcome(futures[0], AUR_NO_DEADLINE));
    assert_true(aurt_now_ns() - start >= 30000000);
    assert_int_equal(aur_future_error(futures[0])->err, AUR_EDEADLINE);
    for (int i = 1; i < 20; i++) {
        AURT_OK(aur_future_result(futures[i], &v, AUR_NO_DEADLINE));
        assert_int_equal(v, 2 * i);
    }
    for (int i = 0; i < 20; i++) {
        aur_future_unref(futures[i]);
    }
    aur_buf_unref(buf);
    aurt_pool_end(pool);
}

static void test_renewal(void **state)
{
    aur_options opts = AUR_OPTIONS_INIT;
    int pids[100];
    int different = 1;

    (void)state;
    opts.tasks_per_worker_max = 10;
    aur_pool *pool = pool_with(1, opts);
    for (int i = 0; i < 100; i++) {
        AURT_OK(aur_apply(pool, &pids[i], pid_of, i));
        different += i > 0 && pids[i] != pids[i - 1];
    }
    assert_int_equal(different, 10);
    aurt_pool_end(pool);
}

static int bad_init(void *ctx, int worker)
{
    (void)ctx;
    (void)worker;
    return 1;
}

/* A log hook may ask the pool that it hears of. */
struct heard {
    _Atomic(aur_pool *) pool;
    aurt_event broken;
};

static void hears(void *ctx, int level, const char *text)
{
    struct heard *heard = ctx;
    aur_stats stats = { .size = sizeof(stats) };
    aur_pool *pool = atomic_load(&heard->pool);

    if (level == AUR_LOG_WARN && strstr(text, "is broken") != NULL) {
        AURT_CHECK(pool == NULL || aur_pool_stats(pool, &stats) == AUR_OK);
        aurt_event_set(&heard->broken);
    }
}

static void test_broken(void **state)
{
    aur_options opts = AUR_OPTIONS_INIT;
    aur_future *future = NULL;
    static struct heard heard;

    (void)state;
    opts.worker_init = bad_init;
    opts.log = hears;
    opts.log_ctx = &heard;
    aur_pool *pool = pool_with(1, opts);
    atomic_store(&heard.pool, pool);
    aur_err err = aur_apply_async(pool, &future, add, 1, 2);
    if (err == AUR_OK) {
        AURT_ERR(AUR_EBROKEN, aur_future_outcome(future, AUR_NO_DEADLINE));
        aur_future_unref(future);
    } else {
        AURT_ERR(AUR_EBROKEN, err);
    }
    AURT_ERR(AUR_EBROKEN, aur_apply_async(pool, &future, add, 1, 2));
    aurt_event_wait(&heard.broken);
    aurt_pool_end(pool);
}

/* ---- moving what is stuck -------------------------------------------------------------------- */

/* A long task, or a stopped worker, does not hold up what was sent after it. */
static void test_stuck(void **state)
{
    enum { N = 100 };
    struct words *words;
    aur_future *futures[N + 1];
    int pids[2] = { 0, 0 };
    int v = 0;

    (void)state;
    aur_pool *pool = pool_of(2);
    aur_buf *buf = words_new(pool, &words);
    for (int i = 0; i < 300; i++) { /* calls are known to be short: many are sent ahead */
        AURT_OK(aur_apply(pool, &v, add, i, i));
    }
    AURT_OK(aur_apply_async(pool, &futures[N], wait_go, aur_buf_id(buf)));
    for (int i = 0; i < N; i++) {
        AURT_OK(aur_apply_async(pool, &futures[i], add, i, i));
    }
    aurt_event_wait(&words->begun);
    for (int i = 0; i < N; i++) {
        AURT_OK(aur_future_result(futures[i], &v, AUR_NO_DEADLINE));
        assert_int_equal(v, 2 * i);
        aur_future_unref(futures[i]);
    }
    assert_false(aur_future_done(futures[N]));
    /* While the first is busy, the other one says who it is, then is stopped between two calls. */
    AURT_OK(aur_apply(pool, &pids[0], pid_of, 0));
    pids[1] = atomic_load(&words->pid);
    assert_int_not_equal(pids[0], pids[1]);
    assert_int_equal(kill(pids[0], SIGSTOP), 0);
    for (int i = 0; i < N; i++) {
        AURT_OK(aur_apply_async(pool, &futures[i], pid_of, i));
    }
    aurt_event_set(&words->go);
    for (int i = 0; i < N; i++) {
        AURT_OK(aur_future_result(futures[i], &v, AUR_NO_DEADLINE));
        assert_int_equal(v, pids[1]);
        aur_future_unref(futures[i]);
    }
    AURT_OK(aur_future_outcome(futures[N], AUR_NO_DEADLINE));
    aur_future_unref(futures[N]);
    assert_int_equal(kill(pids[0], SIGCONT), 0);
    aur_buf_unref(buf);
    aurt_pool_end(pool);
}

static void test_spawn(void **state)
{
    aur_options opts = AUR_OPTIONS_INIT;
    int v = 0;

    (void)state;
    opts.start = AUR_START_SPAWN;
    aur_pool *pool = pool_with(2, opts);
    for (int i = 0; i < 300; i++) {
        AURT_OK(aur_apply(pool, &v, add, i, 5));
        assert_int_equal(v, i + 5);
    }
    one_death(pool, DIE_KILL, SIGKILL, -1);
    one_death(pool, DIE_EXIT, 0, 3);
    aurt_pool_end(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_deaths),     cmocka_unit_test(test_retries),
        cmocka_unit_test(test_time_limit), cmocka_unit_test(test_renewal),
        cmocka_unit_test(test_broken),     cmocka_unit_test(test_stuck),
        cmocka_unit_test(test_spawn),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
