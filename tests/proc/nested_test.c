/* Tasks in worker processes that submit to their own pool and wait.
 *
 * Guards: nested work completes with one worker; a wait that can never end is refused at once, to each
 * task of the cycle that asks; a worker that waits holds nobody's work back; waits, cancels and
 * deadlines pass the border between processes; spares come and go. */
/* aurt: no-tsan */
#include "pools.h"

#include <signal.h>

static int power(int x, int y)
{
    int v = 1;

    while (y-- > 0) {
        v *= x;
    }
    return v;
}
AUR_FN(int, power, int, int);

/* The one-worker deadlock of other libraries. */
static int wait_on_future(int x)
{
    int v = 0;
    aur_err err = aur_apply(aur_pool_current(), &v, power, x, 2);

    return err == AUR_OK ? v : -err;
}
AUR_FN(int, wait_on_future, int);

static int chain(int n);
AUR_FN(int, chain, int);

static int chain(int n)
{
    int a = 0;
    aur_future *future = NULL;

    if (n < 2) {
        return n;
    }
    aur_err err = aur_apply_async(aur_pool_current(), &future, chain, n - 1);
    if (err != AUR_OK) {
        return aur_fail(err, "submit: %s", aur_err_name(err));
    }
    err = aur_future_result(future, &a, AUR_NO_DEADLINE);
    aur_future_unref(future);
    return err == AUR_OK ? a + 1 : aur_fail(err, "wait: %s", aur_err_name(err));
}

struct words {
    aurt_event ready;
    aurt_event begun;
    aurt_event go;
    _Atomic(int) runs;
    uint64_t ids[2];
};

static struct words *words_of(uint64_t id)
{
    void *data = NULL;
    size_t size = 0;

    AURT_CHECK(aur_buf_open(id, &data, &size) == AUR_OK);
    return data;
}

static aur_err mutual(uint64_t id, int other)
{
    struct words *words = words_of(id);
    aur_future *future = NULL;
    int v;

    aurt_event_wait(&words->ready);
    aur_err err = aur_future_open(words->ids[other], &future);
    if (err == AUR_OK) {
        err = aur_future_result(future, &v, AUR_NO_DEADLINE);
        aur_future_unref(future);
    }
    return err;
}
AUR_FN(aur_err, mutual, uint64_t, int);

static int blocks(uint64_t id)
{
    struct words *words = words_of(id);

    atomic_fetch_add(&words->runs, 1);
    aurt_event_set(&words->begun);
    aurt_event_wait(&words->go);
    return 3;
}
AUR_FN(int, blocks, uint64_t);

/* Waits for another task with a deadline. */
static int waits_shortly(uint64_t id)
{
    aur_future *future = NULL;
    int what = 0;
    int v = 0;

    if (aur_apply_async(aur_pool_current(), &future, blocks, id) != AUR_OK) {
        return -1;
    }
    aur_err err = AUR_ETIMEDOUT;
    while (err == AUR_ETIMEDOUT && atomic_load(&words_of(id)->runs) == 0) {
        /* Only while it waits is there a spare that begins the other one. */
        err = aur_future_result(future, &v, aur_deadline_in_ms(20));
    }
    if (err != AUR_ETIMEDOUT) {
        return -2;
    }
    aurt_event_wait(&words_of(id)->begun);
    if (aur_future_done(future)) {
        return -3;
    }
    if (aur_future_cancel(future, &what) != AUR_OK || what != AUR_CANCEL_KILLED) {
        return -4;
    }
    err = aur_future_outcome(future, AUR_NO_DEADLINE);
    aur_future_unref(future);
    return err == AUR_ECANCELED ? 1 : -5;
}
AUR_FN(int, waits_shortly, uint64_t);

static int dies(int x)
{
    kill(getpid(), SIGKILL);
    return x;
}
AUR_FN(int, dies, int);

static int sees_death(int x)
{
    int v = 0;
    aur_err err = aur_apply(aur_pool_current(), &v, dies, x);

    return err == AUR_EWORKER && aur_last_error()->signal == SIGKILL ? 1 : -err;
}
AUR_FN(int, sees_death, int);

static int square(int x)
{
    return x * x;
}
AUR_FN(int, square, int);

static int sum_of_squares(int n)
{
    int in[100], out[100], sum = 0;

    for (int i = 0; i < n; i++) {
        in[i] = i;
    }
    if (aur_map(aur_pool_current(), square, in, (size_t)n, out) != AUR_OK) {
        return -1;
    }
    for (int i = 0; i < n; i++) {
        sum += out[i];
    }
    return sum;
}
AUR_FN(int, sum_of_squares, int);

/* The bytes of every string, doubled; a string of one zero byte is refused. */
static aur_err doubles(const void *in, size_t size, aur_out *out)
{
    if (size == 1 && *(const char *)in == '\0') {
        return aur_fail(3, "a zero");
    }
    unsigned char *to = aur_out_alloc(out, 2 * size);
    if (to == NULL) {
        return AUR_ENOMEM;
    }
    for (size_t i = 0; i < 2 * size; i++) {
        to[i] = ((const unsigned char *)in)[i / 2];
    }
    return AUR_OK;
}
AUR_BYTES_FN(doubles);

/* Maps byte strings of 0 to `longest` bytes; item `bad` fails unless it is -1.  0, or the line that did not
 * hold. */
static int maps_bytes(int longest, int bad)
{
    enum { N = 100 };
    aur_bytes in[N], out[N];
    aur_err errs[N];
    unsigned char *bytes = calloc(1, (size_t)longest + 1);
    aur_call_options opts = AUR_CALL_OPTIONS_INIT;

    MUST(bytes != NULL);
    memset(bytes, 'x', (size_t)longest);
    for (int i = 0; i < N; i++) {
        in[i] = (aur_bytes){ bytes, (size_t)(i % 7 == 0 ? 0 : longest * i / N) };
    }
    if (bad >= 0) {
        in[bad] = (aur_bytes){ "", 1 };
        opts.flags = AUR_CALL_ALL_ERRORS;
        opts.item_errs = errs;
    }
    aur_err err = aur_map_bytes_with(aur_pool_current(), &opts, doubles, in, N, out);
    MUST(err == (bad >= 0 ? AUR_ETASK : AUR_OK));
    MUST(bad < 0 || (aur_last_error()->item == (uint64_t)bad && aur_last_error()->code == 3));
    for (int i = 0; i < N; i++) {
        if (i == bad) {
            MUST(errs[i] == AUR_ETASK && out[i].data == NULL);
            continue;
        }
        MUST(out[i].size == 2 * in[i].size && out[i].data != NULL);
        MUST(bad < 0 || errs[i] == AUR_OK);
        for (size_t j = 0; j < out[i].size; j++) {
            MUST(((const unsigned char *)out[i].data)[j] == 'x');
        }
    }
    aur_bytes_free(out, N);
    free(bytes);
    return 0;
}
AUR_FN(int, maps_bytes, int, int);

/* Says who it is, then waits for a nested call. */
static int tells_and_waits(uint64_t id, int x)
{
    int v = 0;

    atomic_store(&words_of(id)->runs, getpid());
    aur_err err = aur_apply(aur_pool_current(), &v, power, x, 2);
    return err == AUR_OK ? v : aur_fail(err, "nested: %s", aur_err_name(err));
}
AUR_FN(int, tells_and_waits, uint64_t, int);

/* ---- helpers ------------------------------------------------------------------------------- */

static aur_pool *pool_of(uint32_t workers, int start, uint32_t spares)
{
    return aurt_pool_new(AUR_PROCESSES, workers, start, spares);
}

static aur_buf *words_new(aur_pool *pool, struct words **ret_words)
{
    aur_buf *buf = NULL;

    AURT_OK(aur_buf_new(pool, sizeof(struct words), AUR_BUF_INOUT, &buf));
    *ret_words = aur_buf_data(buf);
    memset(*ret_words, 0, sizeof(**ret_words));
    return buf;
}

/* ---- tests --------------------------------------------------------------------------------- */

static void nested(int start)
{
    aur_pool *pool = pool_of(1, start, 0);
    int v = 0;

    AURT_OK(aur_apply(pool, &v, wait_on_future, 5));
    assert_int_equal(v, 25);
    for (int i = 0; i < 50; i++) {
        AURT_OK(aur_apply(pool, &v, wait_on_future, i));
        assert_int_equal(v, i * i);
    }
    AURT_OK(aur_apply(pool, &v, sum_of_squares, 100));
    assert_int_equal(v, 328350);
    aurt_pool_end(pool);
}

static void test_byte_strings(void **state)
{
    (void)state;
    for (int start = AUR_START_FORK; start <= AUR_START_SPAWN; start++) {
        aur_pool *pool = pool_of(2, start, 0);
        int line = -1;
        AURT_OK(aur_apply(pool, &line, maps_bytes, 20, -1));
        assert_int_equal(line, 0);
        AURT_OK(aur_apply(pool, &line, maps_bytes, 100000, -1));
        assert_int_equal(line, 0);
        AURT_OK(aur_apply(pool, &line, maps_bytes, 500, 42));
        assert_int_equal(line, 0);
        aurt_pool_end(pool);
    }
}

static void test_one_worker(void **state)
{
    (void)state;
    nested(AUR_START_FORK);
}

static void test_one_worker_spawn(void **state)
{
    (void)state;
    nested(AUR_START_SPAWN);
}

/* More waiters at once than there are workers and spares: what they wait for goes first. */
static void test_many_parents(void **state)
{
    enum { N = 200 };
    aur_pool *pool = pool_of(2, AUR_START_FORK, 2);
    aur_future *futures[N];

    (void)state;
    for (int i = 0; i < N; i++) {
        AURT_OK(aur_apply_async(pool, &futures[i], wait_on_future, i));
    }
    for (int i = 0; i < N; i++) {
        int v = 0;
        AURT_OK(aur_future_result(futures[i], &v, AUR_NO_DEADLINE));
        assert_int_equal(v, i * i);
        aur_future_unref(futures[i]);
    }
    aur_stats stats = { .size = sizeof(stats) };
    AURT_OK(aur_pool_stats(pool, &stats));
    assert_true(stats.workers <= 4);
    aurt_pool_end(pool);
}

static void test_depth(void **state)
{
    aur_pool *pool = pool_of(1, AUR_START_FORK, 16);
    int v = 0;

    (void)state;
    AURT_OK(aur_apply(pool, &v, chain, 15)); /* 14 waits, one inside the other */
    assert_int_equal(v, 15);
    AURT_OK(aur_apply(pool, &v, chain, 40)); /* deeper than there are spares */
    assert_int_equal(v, 40);
    aurt_pool_end(pool);
}

static int fib(int n);
AUR_FN(int, fib, int);

static int fib(int n)
{
    aur_future *futures[2] = { NULL, NULL };
    int v[2] = { 0, 0 };

    if (n < 2) {
        return n;
    }
    for (int i = 0; i < 2; i++) {
        aur_err err = aur_apply_async(aur_pool_current(), &futures[i], fib, n - 1 - i);
        if (err != AUR_OK) {
            return aur_fail(err, "submit: %s", aur_err_name(err));
        }
    }
    for (int i = 0; i < 2; i++) {
        aur_err err = aur_future_result(futures[i], &v[i], AUR_NO_DEADLINE);
        aur_future_unref(futures[i]);
        if (err != AUR_OK) {
            return aur_fail(err, "wait: %s", aur_err_name(err));
        }
    }
    return v[0] + v[1];
}

/* Without spares a worker runs what it waits for itself. */
static void test_no_spares(void **state)
{
    (void)state;
    for (int start = AUR_START_FORK; start <= AUR_START_SPAWN; start++) {
        for (uint32_t workers = 1; workers <= 2; workers++) {
            aur_pool *pool = pool_of(workers, start, AUR_NO_SPARES);
            aur_stats stats = { .size = sizeof(stats) };
            int line = -1;
            int v = 0;
            AURT_OK(aur_apply(pool, &v, chain, 60));
            assert_int_equal(v, 60);
            AURT_OK(aur_apply(pool, &v, fib, 12));
            assert_int_equal(v, 144);
            AURT_OK(aur_apply(pool, &v, sum_of_squares, 100));
            assert_int_equal(v, 328350);
            AURT_OK(aur_apply(pool, &line, maps_bytes, 20000, 42));
            assert_int_equal(line, 0);
            AURT_OK(aur_pool_stats(pool, &stats));
            assert_true(stats.spares == 0 && stats.workers <= workers);
            assert_true(workers == 2 || stats.helped > 0);
            aurt_pool_end(pool);
        }
    }
}

/* What runs in place shares the fate of its worker: with one worker both are lost, or tried again. */
static int dies_below(int x)
{
    int v = 0;

    (void)x;
    aur_err err = aur_apply(aur_pool_current(), &v, dies, x);
    return err == AUR_OK ? v : -err;
}
AUR_FN(int, dies_below, int);

static int fails_below(int x)
{
    int v = 0;
    aur_err err = aur_apply(aur_pool_current(), &v, chain, -x);

    return err == AUR_OK ? v : -err;
}
AUR_FN(int, fails_below, int);

static void test_fate_in_place(void **state)
{
    (void)state;
    for (int i = 0; i < 5; i++) {
        aur_pool *pool = pool_of(1, AUR_START_FORK, AUR_NO_SPARES);
        aur_stats stats = { .size = sizeof(stats) };
        int v = 0;
        AURT_ERR(AUR_EWORKER, aur_apply(pool, &v, dies_below, 3));
        assert_int_equal(aur_last_error()->signal, SIGKILL);
        AURT_OK(aur_apply(pool, &v, fails_below, 3));
        assert_int_equal(v, -3);
        AURT_OK(aur_pool_join(pool, AUR_NO_DEADLINE));
        AURT_OK(aur_pool_stats(pool, &stats));
        assert_int_equal(stats.failed, 2); /* both of the first call */
        assert_int_equal(stats.done + stats.failed + stats.cancelled, stats.submitted);
        aur_pool_unref(pool);
    }
}

/* What the log hook heard of a deadlock. */
struct report {
    aurt_event heard;
    char text[600];
};

static void hear_deadlock(void *ctx, int level, const char *text)
{
    struct report *report = ctx;

    if (level == AUR_LOG_WARN && strncmp(text, "deadlock: ", 10) == 0) {
        snprintf(report->text, sizeof(report->text), "%s", text + 10);
        aurt_event_set(&report->heard);
    }
}

/* Two edges, each with both names, and no more. */
static void check_report(struct report *report)
{
    const char *second;

    aurt_event_wait(&report->heard);
    second = strchr(report->text, '\n');
    assert_non_null(second);
    assert_null(strchr(second + 1, '\n'));
    assert_int_equal(strncmp(report->text, "mutual waits for mutual (", 25), 0);
    assert_int_equal(strncmp(second + 1, "mutual waits for mutual (", 25), 0);
}

static void mutual_wait(int start, uint32_t workers)
{
    struct report report = { 0 };
    aur_options opts = AUR_OPTIONS_INIT;
    aur_pool *pool = NULL;

    opts.kind = AUR_PROCESSES;
    opts.start = start;
    opts.workers = workers;
    opts.log = hear_deadlock;
    opts.log_ctx = &report;
    AURT_OK(aur_pool_new(&opts, &pool, NULL));
    struct words *words;
    aur_buf *buf = words_new(pool, &words);
    aur_future *futures[2];
    aur_err errs[2] = { 0, 0 };

    for (int i = 0; i < 2; i++) {
        AURT_OK(aur_apply_async(pool, &futures[i], mutual, aur_buf_id(buf), 1 - i));
        words->ids[i] = aur_future_id(futures[i]);
    }
    aurt_event_set(&words->ready);
    for (int i = 0; i < 2; i++) {
        AURT_OK(aur_future_result(futures[i], &errs[i], AUR_NO_DEADLINE));
    }
    /* One of them closed the cycle and was refused; it ended, so the other's wait succeeded. */
    assert_true((errs[0] == AUR_EDEADLK) + (errs[1] == AUR_EDEADLK) == 1);
    assert_true(errs[0] == AUR_OK || errs[1] == AUR_OK);
    check_report(&report);
    for (int i = 0; i < 2; i++) {
        aur_future_unref(futures[i]);
    }
    aur_buf_unref(buf);
    aurt_pool_end(pool);
}

static void test_mutual(void **state)
{
    (void)state;
    mutual_wait(AUR_START_FORK, 2);
    mutual_wait(AUR_START_SPAWN, 2);
    for (int i = 0; i < 20; i++) {
        mutual_wait(AUR_START_FORK, 3);
    }
}

/* With one worker the second of them is not begun until the first waits. */
static void test_mutual_one_worker(void **state)
{
    (void)state;
    mutual_wait(AUR_START_FORK, 1);
}

static void test_deadline_and_cancel(void **state)
{
    aur_pool *pool = pool_of(1, AUR_START_FORK, 0);
    struct words *words;
    aur_buf *buf = words_new(pool, &words);
    int v = 0;

    (void)state;
    AURT_OK(aur_apply(pool, &v, waits_shortly, aur_buf_id(buf)));
    assert_int_equal(v, 1);
    assert_int_equal(atomic_load(&words->runs), 1);
    aur_buf_unref(buf);
    aurt_pool_end(pool);
}

static void test_death_seen(void **state)
{
    aur_pool *pool = pool_of(1, AUR_START_FORK, 0);
    int v = 0;

    (void)state;
    for (int i = 0; i < 10; i++) {
        AURT_OK(aur_apply(pool, &v, sees_death, 1));
        assert_int_equal(v, 1);
    }
    aurt_pool_end(pool);
}

/* Workers are killed around the moment at which their tasks begin to wait. */
static void test_killed_waiters(void **state)
{
    enum { N = 400 };
    aur_pool *pool = pool_of(2, AUR_START_FORK, 4);
    struct words *words;
    aur_buf *buf = words_new(pool, &words);
    static aur_future *futures[N];
    int good = 0;

    (void)state;
    for (int i = 0; i < N; i++) {
        AURT_OK(aur_apply_async(pool, &futures[i], tells_and_waits, aur_buf_id(buf), i));
    }
    for (int i = 0; i < N; i++) {
        int v = -1;
        int pid = i % 3 == 0 ? atomic_exchange(&words->runs, 0) : 0;
        if (pid > 0) {
            kill(pid, SIGKILL);
        }
        aur_err err = aur_future_result(futures[i], &v, AUR_NO_DEADLINE);
        assert_true(err == AUR_OK || err == AUR_EWORKER || err == AUR_ETASK);
        assert_true(err != AUR_OK || v == i * i);
        good += err == AUR_OK;
        aur_future_unref(futures[i]);
    }
    assert_true(good > 0);
    aur_buf_unref(buf);
    aur_stats stats = { .size = sizeof(stats) };
    AURT_OK(aur_pool_join(pool, AUR_NO_DEADLINE));
    AURT_OK(aur_pool_stats(pool, &stats));
    assert_int_equal(stats.done + stats.failed + stats.cancelled, stats.submitted);
    aur_pool_unref(pool);
}

/* Nested work is accepted while the pool drains. */
static void test_draining(void **state)
{
    aur_pool *pool = pool_of(1, AUR_START_FORK, 0);
    aur_future *futures[30];

    (void)state;
    for (int i = 0; i < 30; i++) {
        AURT_OK(aur_apply_async(pool, &futures[i], wait_on_future, i));
    }
    AURT_OK(aur_pool_join(pool, AUR_NO_DEADLINE));
    aur_pool_unref(pool);
    for (int i = 0; i < 30; i++) {
        int v = 0;
        AURT_OK(aur_future_result(futures[i], &v, AUR_NO_DEADLINE));
        assert_int_equal(v, i * i);
        aur_future_unref(futures[i]);
    }
}

/* A worker that has been told to go home, and whose last task waits, makes room for nobody: where there
 * is no other, it runs what the task waits for. */
static void test_last_task_waits(void **state)
{
    aur_options opts = AUR_OPTIONS_INIT;
    aur_pool *pool = NULL;

    (void)state;
    opts.kind = AUR_PROCESSES;
    opts.workers = 1;
    opts.spares_max = AUR_NO_SPARES;
    opts.tasks_per_worker_max = 1;
    AURT_OK(aur_pool_new(&opts, &pool, NULL));
    for (int i = 0; i < 3; i++) {
        int v = 0;
        AURT_OK(aur_apply(pool, &v, wait_on_future, 5));
        assert_int_equal(v, 25);
        AURT_OK(aur_apply(pool, &v, square, 5));
        assert_int_equal(v, 25);
    }
    AURT_OK(aur_pool_join(pool, AUR_NO_DEADLINE));
    aur_pool_unref(pool);
}

static int square_in_own_pool(int x)
{
    aur_options opts = AUR_OPTIONS_INIT;
    aur_pool *pool = NULL;
    int v = -1;

    opts.kind = AUR_PROCESSES;
    opts.start = AUR_START_FORK;
    opts.workers = 2;
    aur_err err = aur_pool_new(&opts, &pool, NULL);
    if (err == AUR_OK) {
        err = aur_apply(pool, &v, square, x);
        (void)aur_pool_close(pool);
        (void)aur_pool_join(pool, AUR_NO_DEADLINE);
        aur_pool_unref(pool);
    }
    return err == AUR_OK ? v : -(int)err;
}
AUR_FN(int, square_in_own_pool, int);

/* The pool's workers are forked while the task runs, and are no children that it has left behind. */
static void test_pool_made_by_a_task(void **state)
{
    aur_options opts = AUR_OPTIONS_INIT;
    aur_pool *pool = NULL;

    (void)state;
    opts.kind = AUR_PROCESSES;
    opts.workers = 1;
    AURT_OK(aur_pool_new(&opts, &pool, NULL));
    for (int i = 0; i < 3; i++) {
        int v = 0;
        AURT_OK(aur_apply(pool, &v, square_in_own_pool, i));
        assert_int_equal(v, i * i);
    }
    AURT_OK(aur_pool_close(pool));
    AURT_OK(aur_pool_join(pool, AUR_NO_DEADLINE));
    aur_pool_unref(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_worker),
        cmocka_unit_test(test_one_worker_spawn),
        cmocka_unit_test(test_many_parents),
        cmocka_unit_test(test_byte_strings),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_no_spares),
        cmocka_unit_test(test_fate_in_place),
        cmocka_unit_test(test_mutual),
        cmocka_unit_test(test_mutual_one_worker),
        cmocka_unit_test(test_deadline_and_cancel),
        cmocka_unit_test(test_death_seen),
        cmocka_unit_test(test_killed_waiters),
        cmocka_unit_test(test_draining),
        cmocka_unit_test(test_last_task_waits),
        cmocka_unit_test(test_pool_made_by_a_task),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
