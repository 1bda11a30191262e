/* Goal:    a failure says what failed, where and why; nothing of it is lost.
 * Method:  single calls and maps that fail with aur_fail(), with deadlines, with retries; the
 *          counters and the log of a pool with failures nobody asked about.
 * Guards:  src/pool/future.c, src/pool/map.c, report_unseen() in src/pool/pool.c. */
#include "kinds.h"

#define N 1000

static int fails(int code)
{
    aur_fail(code, "code %d: %s", code, "as told");
    return aur_fail(code + 1, "the second mark does not count");
}
AUR_FN(int, fails, int);

static int fails_at_7(int x)
{
    return x % 10 == 7 ? aur_fail(x, "seven") : x;
}
AUR_FN(int, fails_at_7, int);

static void test_one(void **state)
{
    aur_pool *pool = aurt_pool(state);
    AUR_SCOPED(aur_future) *future = NULL;
    int v = 5;

    AURT_OK(aur_apply_async(pool, &future, fails, 42));
    int line = __LINE__ - 1;
    AURT_ERR(AUR_ETASK, aur_future_result(future, &v, AUR_NO_DEADLINE));
    assert_int_equal(v, 5);
    char site[200];
    snprintf(site, sizeof(site), "%s:%d", __FILE__, line);
    const aur_error *error = aur_future_error(future);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(error->err, AUR_ETASK);
        assert_int_equal(error->code, 42);
        assert_int_equal(error->item, AUR_NO_ITEM);
        assert_string_equal(error->function, "fails");
        assert_string_equal(error->site, site);
        assert_string_equal(error->message, "code 42: as told");
        assert_int_equal(error->attempts, 1);
        assert_int_equal(error->signal, 0);
        assert_int_not_equal(error->pid, 0);
        error = aur_last_error();
    }
    AURT_ERR(AUR_ETASK, aur_apply(pool, &v, fails, -1));
    assert_int_equal(v, 5);
    assert_int_equal(aur_last_error()->code, -1);
    assert_int_equal(aur_fail(1, "outside a task: nothing"), 0);
    aurt_pool_end(pool);
}

static void test_no_error(void **state)
{
    aur_pool *pool = aurt_pool(state);
    AUR_SCOPED(aur_future) *future = NULL;

    AURT_OK(aur_apply_async(pool, &future, fails_at_7, 1));
    AURT_OK(aur_future_wait(future, AUR_NO_DEADLINE));
    assert_null(aur_future_error(future));
    assert_null(aur_future_error(NULL));
    aurt_pool_end(pool);
}

static void test_map(void **state)
{
    aur_pool *pool = aurt_pool(state);
    aur_call_options opts = AUR_CALL_OPTIONS_INIT;
    static aur_err errs[N];
    static int in[N];
    static int out[N];

    for (int i = 0; i < N; i++) {
        in[i] = i;
    }
    opts.item_errs = errs;
    opts.flags = AUR_CALL_ALL_ERRORS;
    AURT_ERR(AUR_ETASK, aur_map_with(pool, &opts, fails_at_7, in, N, out));
    assert_int_equal(aur_last_error()->item, 7); /* the lowest */
    assert_int_equal(aur_last_error()->code, 7);
    assert_string_equal(aur_last_error()->function, "fails_at_7");
    assert_non_null(strstr(aur_last_error()->site, "errors_test.c:"));
    for (int i = 0; i < N; i++) {
        assert_int_equal(errs[i], i % 10 == 7 ? AUR_ETASK : AUR_OK);
        assert_true(i % 10 == 7 || out[i] == i);
    }
    /* The first failure stops the map: what did not run says so, and the error is one that did. */
    opts.flags = 0;
    AURT_ERR(AUR_ETASK, aur_map_with(pool, &opts, fails_at_7, in, N, out));
    uint64_t item = aur_last_error()->item;
    assert_int_equal(item % 10, 7);
    for (uint64_t i = 0; i < N; i++) {
        if (errs[i] == AUR_ETASK) {
            assert_int_equal(i % 10, 7);
            assert_true(i >= item);
        } else {
            assert_true(errs[i] == AUR_OK || errs[i] == AUR_ECANCELED);
        }
    }
    assert_int_equal(errs[item], AUR_ETASK);
    aurt_pool_end(pool);
}

static void test_map_async(void **state)
{
    aur_pool *pool = aurt_pool(state);
    AUR_SCOPED(aur_future) *future = NULL;
    aur_call_options opts = AUR_CALL_OPTIONS_INIT;
    static aur_err errs[N];
    static int in[N];

    for (int i = 0; i < N; i++) {
        in[i] = i;
    }
    opts.item_errs = errs;
    opts.flags = AUR_CALL_ALL_ERRORS;
    AURT_OK(aur_map_async_with(pool, &opts, &future, fails_at_7, in, N, in));
    opts = (aur_call_options)AUR_CALL_OPTIONS_INIT; /* was copied */
    AURT_ERR(AUR_ETASK, aur_future_outcome(future, AUR_NO_DEADLINE));
    assert_int_equal(aur_future_error(future)->item, 7);
    assert_int_equal(aur_future_error(future)->code, 7);
    assert_int_equal(errs[7], AUR_ETASK);
    assert_int_equal(errs[8], AUR_OK);
    aurt_pool_end(pool);
}

static void odd_range(uint64_t lo, uint64_t hi, const int *limit)
{
    if (hi > (uint64_t)*limit) {
        aur_fail((int)lo, "beyond");
    }
}
AUR_RANGE_FN(odd_range, const int);

static void test_for(void **state)
{
    aur_pool *pool = aurt_pool(state);
    int limit = 500;

    AURT_ERR(AUR_ETASK, aur_for(pool, 0, N, odd_range, &limit));
    assert_string_equal(aur_last_error()->function, "odd_range");
    AURT_OK(aur_for(pool, 0, 500, odd_range, &limit));
    aurt_pool_end(pool);
}

/* ---- retries and deadlines ----------------------------------------------------------------- */

static _Atomic(int) tries;

static int third_time(int x)
{
    return atomic_fetch_add(&tries, 1) < 2 ? aur_fail(1, "not yet") : x;
}
AUR_FN(int, third_time, int);

static void test_retries(void **state)
{
    aur_options opts = aurt_options(state);
    aur_call_options call = AUR_CALL_OPTIONS_INIT;
    int in = 9;
    int v = 0;

    opts.retries = 2;
    opts.retry_on = AUR_RETRY_ERROR;
    aur_pool *pool = aurt_pool_with(&opts);
    atomic_store(&tries, 0);
    AURT_OK(aur_apply(pool, &v, third_time, 5));
    assert_int_equal(v, 5);
    assert_int_equal(tries, 3);
    atomic_store(&tries, 0);
    AURT_OK(aur_map(pool, third_time, &in, 1, &v));
    assert_int_equal(v, 9);
    call.retries = 1;
    atomic_store(&tries, 0);
    AURT_ERR(AUR_ETASK, aur_apply_with(pool, &call, &v, third_time, 5));
    assert_int_equal(aur_last_error()->attempts, 2);
    call.retries = UINT32_MAX; /* none although the pool has some */
    atomic_store(&tries, 0);
    AURT_ERR(AUR_ETASK, aur_map_with(pool, &call, third_time, &in, 1, &v));
    assert_int_equal(tries, 1);
    call.retries = 5;
    call.retry_on = AUR_RETRY_WORKER; /* not for this kind of failure */
    atomic_store(&tries, 0);
    AURT_ERR(AUR_ETASK, aur_apply_with(pool, &call, &v, third_time, 5));
    assert_int_equal(tries, 1);
    aur_stats stats = { .size = sizeof(stats) };
    AURT_OK(aur_pool_stats(pool, &stats));
    assert_int_equal(stats.retried, 2 + 2 + 1);
    aurt_pool_end(pool);
}

/* Runs until it is told to stop, and says why. */
static int until_told(int x)
{
    aur_err why;

    while ((why = aur_checkpoint()) == AUR_OK) {
    }
    return x + why;
}
AUR_FN(int, until_told, int);

static void test_deadlines(void **state)
{
    aur_options opts = aurt_options(state);
    aur_call_options call = AUR_CALL_OPTIONS_INIT;
    int in[3] = { 0 };
    int v = 5;

    opts.item_timeout_ns = 2000000;
    aur_pool *pool = aurt_pool_with(&opts);
    AURT_ERR(AUR_EDEADLINE, aur_apply(pool, &v, until_told, 0));
    assert_int_equal(v, 5);
    assert_int_equal(aur_last_error()->err, AUR_EDEADLINE);
    AURT_ERR(AUR_EDEADLINE, aur_map(pool, until_told, in, 3, NULL));
    call.item_timeout_ns = 1;
    call.retries = 3;
    call.retry_on = AUR_RETRY_DEADLINE;
    AURT_ERR(AUR_EDEADLINE, aur_apply_with(pool, &call, &v, until_told, 0));
    assert_int_equal(aur_last_error()->attempts, 4);
    aurt_pool_end(pool);
}

/* Takes long enough to be looked at. */
static int some_ms(int x)
{
    uint64_t end = aurt_now_ns() + 5000000;

    while (aurt_now_ns() < end) {
    }
    return x;
}
AUR_FN(int, some_ms, int);

/* A call of a pool with a limit can have none only by a large one. */
static void test_far_deadlines(void **state)
{
    static const uint64_t limits[] = { UINT64_MAX, UINT64_MAX - 1, (uint64_t)INT64_MAX + 1 };
    aur_options opts = aurt_options(state);
    int in[3] = { 1, 2, 3 };
    int out[3];
    int v = 0;

    opts.item_timeout_ns = UINT64_MAX;
    aur_pool *pool = aurt_pool_with(&opts);
    AURT_OK(aur_apply(pool, &v, some_ms, 7));
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        aur_call_options call = AUR_CALL_OPTIONS_INIT;
        call.item_timeout_ns = limits[i];
        AURT_OK(aur_apply_with(pool, &call, &v, some_ms, 8));
        AURT_OK(aur_map_with(pool, &call, some_ms, in, 3, out));
        assert_int_equal(out[2], 3);
    }
    aurt_pool_end(pool);
}

/* ---- cancelled ------------------------------------------------------------------------------- */

static aurt_event go;
static aurt_event running;

static int gate(int x)
{
    aurt_event_set(&running);
    aurt_event_wait(&go);
    return x;
}
AUR_FN(int, gate, int);

static void test_cancel(void **state)
{
    aur_options opts = aurt_options(state);
    aur_future *runs = NULL;
    aur_future *waits = NULL;
    int what = 0;
    int v = 0;

    opts.workers = 1;
    opts.flags = AUR_POOL_FIXED; /* nobody stands in for the one at the gate */
    aur_pool *pool = aurt_pool_with(&opts);
    atomic_store(&go.set, 0);
    atomic_store(&running.set, 0);
    AURT_OK(aur_apply_async(pool, &runs, gate, 3));
    aurt_event_wait(&running);
    AURT_OK(aur_apply_async(pool, &waits, gate, 4));
    assert_false(aur_future_done(waits));
    AURT_ERR(AUR_ETIMEDOUT, aur_future_wait(waits, 0));
    AURT_ERR(AUR_ETIMEDOUT, aur_future_outcome(waits, aur_deadline_in_ms(1)));
    AURT_OK(aur_future_cancel(waits, &what));
    assert_int_equal(what, AUR_CANCEL_DROPPED);
    assert_true(aur_future_done(waits));
    AURT_ERR(AUR_ECANCELED, aur_future_result(waits, &v, AUR_NO_DEADLINE));
    assert_int_equal(aur_future_error(waits)->err, AUR_ECANCELED);
    assert_string_equal(aur_future_error(waits)->function, "gate");
    AURT_OK(aur_future_cancel(runs, &what));
    assert_int_equal(what, AUR_CANCEL_SIGNALLED);
    aurt_event_set(&go);
    AURT_OK(aur_future_result(runs, &v, AUR_NO_DEADLINE)); /* it finished normally */
    assert_int_equal(v, 3);
    AURT_OK(aur_future_cancel(runs, &what));
    assert_int_equal(what, AUR_CANCEL_TOO_LATE);
    AURT_OK(aur_future_cancel(waits, NULL));
    aur_future_unref(runs);
    aur_future_unref(waits);
    aur_stats stats = { .size = sizeof(stats) };
    AURT_OK(aur_pool_stats(pool, &stats));
    assert_int_equal(stats.cancelled, 1);
    aurt_pool_end(pool);
}

/* ---- unseen ---------------------------------------------------------------------------------- */

struct log {
    int lines;
    char last[256];
};

static void keep_log(void *ctx, int level, const char *text)
{
    struct log *log = ctx;

    AURT_CHECK(level == AUR_LOG_WARN || level == AUR_LOG_INFO);
    log->lines++;
    snprintf(log->last, sizeof(log->last), "%s", text);
}

static void test_unseen(void **state)
{
    struct log log = { 0 };
    aur_options opts = aurt_options(state);
    aur_stats stats = { .size = sizeof(stats) };
    AUR_SCOPED(aur_future) *asked = NULL;
    AUR_SCOPED(aur_future) *kept = NULL;

    opts.name = "lyra";
    opts.log = keep_log;
    opts.log_ctx = &log;
    aur_pool *pool = aurt_pool_with(&opts);
    AURT_OK(aur_apply_async(pool, &asked, fails, 1));
    AURT_OK(aur_apply_async(pool, &kept, fails, 2));
    AURT_OK(aur_apply_async(pool, NULL, fails, 3));
    AURT_ERR(AUR_ETASK, aur_future_outcome(asked, AUR_NO_DEADLINE));
    AURT_OK(aur_future_wait(kept, AUR_NO_DEADLINE)); /* done, but nobody asked how it went */
    assert_int_equal(log.lines, 0);
    AURT_OK(aur_pool_join(pool, AUR_NO_DEADLINE));
    assert_int_equal(log.lines, 1);
    assert_non_null(strstr(log.last, "lyra"));
    assert_non_null(strstr(log.last, "2 of 3"));
    AURT_OK(aur_pool_join(pool, AUR_NO_DEADLINE));
    assert_int_equal(log.lines, 1);
    AURT_OK(aur_pool_stats(pool, &stats));
    assert_int_equal(stats.failed, 3);
    assert_int_equal(stats.unseen, 2);
    assert_int_equal(aur_future_error(kept)->code, 2);
    AURT_OK(aur_pool_stats(pool, &stats));
    assert_int_equal(stats.unseen, 1);
    aur_pool_unref(pool);
    assert_int_equal(aur_future_error(kept)->code, 2); /* the future outlives its pool */
    AURT_ERR(AUR_ETASK, aur_future_outcome(kept, 0));
}

static void test_all_seen(void **state)
{
    struct log log = { 0 };
    aur_options opts = aurt_options(state);
    int v;

    opts.log = keep_log;
    opts.log_ctx = &log;
    aur_pool *pool = aurt_pool_with(&opts);
    AURT_ERR(AUR_ETASK, aur_apply(pool, &v, fails, 1));
    AURT_ERR(AUR_ETASK, aur_map(pool, fails, &(int){ 1 }, 1, NULL));
    aurt_pool_end(pool);
    assert_int_equal(log.lines, 0);
}

/* ---- callbacks ------------------------------------------------------------------------------- */

struct told {
    _Atomic(int) times;
    aur_future *future;
    aurt_event once;
};

static void tell(void *ctx, aur_future *future)
{
    struct told *told = ctx;

    AURT_CHECK(aur_future_done(future));
    told->future = future;
    atomic_fetch_add(&told->times, 1);
    aurt_event_set(&told->once);
}

static void test_on_done(void **state)
{
    aur_pool *pool = aurt_pool(state);
    aur_future *future = NULL;
    struct told early = { 0 };
    struct told late = { 0 };

    AURT_OK(aur_apply_async(pool, &future, fails_at_7, 1));
    AURT_OK(aur_future_on_done(future, tell, &early));
    aurt_event_wait(&early.once);
    assert_int_equal(early.times, 1);
    assert_ptr_equal(early.future, future);
    AURT_OK(aur_future_on_done(future, tell, &late)); /* done: at once */
    assert_int_equal(late.times, 1);
    aur_future_unref(future);
    aurt_pool_end(pool);
}

static void test_future_id(void **state)
{
    aur_pool *pool = aurt_pool(state);
    aur_future *future = NULL;
    aur_future *again = NULL;

    AURT_OK(aur_apply_async(pool, &future, fails_at_7, 1));
    uint64_t id = aur_future_id(future);
    AURT_OK(aur_future_open(id, &again));
    assert_ptr_equal(again, future);
    AURT_OK(aur_future_wait(again, AUR_NO_DEADLINE));
    aur_future_unref(again);
    aur_future_unref(future);
    aurt_pool_end(pool);
    again = NULL;
    AURT_ERR(AUR_EINVAL, aur_future_open(id, &again));
    AURT_ERR(AUR_EINVAL, aur_future_open(UINT64_MAX, &again));
    AURT_ERR(AUR_EINVAL, aur_future_open(UINT64_C(1) << 60, &again));
    assert_null(again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        AURT_EACH(test_one),           AURT_EACH(test_no_error),      AURT_EACH(test_map),
        AURT_EACH(test_map_async),     AURT_EACH(test_for),           AURT_SHARED(test_retries),
        AURT_SHARED(test_deadlines),   AURT_OF(test_cancel, threads), AURT_EACH(test_unseen),
        AURT_EACH(test_all_seen),      AURT_EACH(test_on_done),       AURT_EACH(test_future_id),
        AURT_EACH(test_far_deadlines),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
