/* The process engine from the outside: calls, results, deaths, limits, cancels, ends.
 *
 * Method: public API only; what tasks do to their process is done for real (SIGKILL, abort, exit).  A
 * writable shared buffer carries words that tasks and test meet on.  Guards: each outcome is the one
 * that its own task deserves, and nothing of a pool is left after join. */
/* aurt: no-tsan */
#include "aurt.h"

#include <auriga.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

/* ---- tasks --------------------------------------------------------------------------------- */

static int add(int a, int b)
{
    return a + b;
}
AUR_FN(int, add, int, int);

static int empty(int a)
{
    return a;
}
AUR_FN(int, empty, int);

struct big {
    unsigned char bytes[100000];
};
static struct big flip(struct big b)
{
    for (size_t i = 0; i < sizeof(b.bytes); i++) {
        b.bytes[i] ^= 0xff;
    }
    return b;
}
AUR_FN(struct big, flip, struct big);

struct middle {
    unsigned char bytes[40];
};
static struct middle turn(struct middle m)
{
    for (size_t i = 0; i < 20; i++) {
        unsigned char c = m.bytes[i];
        m.bytes[i] = m.bytes[39 - i];
        m.bytes[39 - i] = c;
    }
    return m;
}
AUR_FN(struct middle, turn, struct middle);

enum { DIE_KILL, DIE_SEGV, DIE_EXIT, DIE_ABORT, DIE_NOT };
static int die(int how)
{
    switch (how) {
    case DIE_KILL:
        kill(getpid(), SIGKILL);
        break;
    case DIE_SEGV:
        signal(SIGSEGV, SIG_DFL);
        raise(SIGSEGV);
        break;
    case DIE_EXIT:
        _exit(3);
    case DIE_ABORT:
        signal(SIGABRT, SIG_DFL);
        abort();
    default:
        break;
    }
    return how;
}
AUR_FN(int, die, int);

static int fails(int code)
{
    return aur_fail(code, "code is %d", code);
}
AUR_FN(int, fails, int);

/* What tests and tasks share. */
struct words {
    aurt_event go;
    aurt_event begun;
    _Atomic(int) runs;
    _Atomic(int) pid;
};

static struct words *words_of(uint64_t id)
{
    void *data = NULL;
    size_t size = 0;

    AURT_CHECK(aur_buf_open(id, &data, &size) == AUR_OK && size >= sizeof(struct words));
    return data;
}

static int wait_go(uint64_t id)
{
    struct words *words = words_of(id);

    atomic_store(&words->pid, getpid());
    atomic_fetch_add(&words->runs, 1);
    aurt_event_set(&words->begun);
    aurt_event_wait(&words->go);
    return 7;
}
AUR_FN(int, wait_go, uint64_t);

/* Dies in its first `deaths` runs. */
static int dies_first(uint64_t id, int deaths)
{
    if (atomic_fetch_add(&words_of(id)->runs, 1) < deaths) {
        kill(getpid(), SIGKILL);
    }
    return 11;
}
AUR_FN(int, dies_first, uint64_t, int);

static int counts(uint64_t id)
{
    return atomic_fetch_add(&words_of(id)->runs, 1);
}
AUR_FN(int, counts, uint64_t);

static int pid_of(int x)
{
    (void)x;
    return getpid();
}
AUR_FN(int, pid_of, int);

static aur_err invert(const void *in, size_t size, aur_out *out)
{
    unsigned char *to = aur_out_alloc(out, size);

    if (to == NULL) {
        return AUR_ENOMEM;
    }
    for (size_t i = 0; i < size; i++) {
        to[i] = (unsigned char)~((const unsigned char *)in)[i];
    }
    return AUR_OK;
}
AUR_BYTES_FN(invert);

/* ---- helpers ------------------------------------------------------------------------------- */

static aur_pool *pool_with(uint32_t workers, aur_options opts)
{
    aur_pool *pool = NULL;
    aur_diag diag = { 0 };

    opts.kind = AUR_PROCESSES;
    opts.workers = workers;
    aur_err err = aur_pool_new(&opts, &pool, &diag);
    if (err != AUR_OK) {
        fail_msg("aur_pool_new: %s, %s: %s", aur_err_name(err), diag.step, diag.text);
    }
    return pool;
}

static aur_pool *pool_of(uint32_t workers)
{
    aur_options opts = AUR_OPTIONS_INIT;

    return pool_with(workers, opts);
}

static void end(aur_pool *pool)
{
    AURT_OK(aur_pool_join(pool, AUR_NO_DEADLINE));
    aur_pool_unref(pool);
}

static aur_buf *words_new(aur_pool *pool, struct words **ret_words)
{
    aur_buf *buf = NULL;

    AURT_OK(aur_buf_new(pool, sizeof(struct words), AUR_BUF_INOUT, &buf));
    *ret_words = aur_buf_data(buf);
    memset(*ret_words, 0, sizeof(**ret_words));
    return buf;
}

/* ---- calls --------------------------------------------------------------------------------- */

static void calls_on(uint32_t workers)
{
    aur_pool *pool = pool_of(workers);
    aur_future *futures[500];

    for (int i = 0; i < 500; i++) {
        AURT_OK(aur_apply_async(pool, &futures[i], add, i, 1000));
    }
    for (int i = 0; i < 500; i++) {
        int v = 0;
        AURT_OK(aur_future_result(futures[i], &v, AUR_NO_DEADLINE));
        assert_int_equal(v, i + 1000);
        aur_future_unref(futures[i]);
    }
    end(pool);
}

static void test_calls(void **state)
{
    (void)state;
    calls_on(1);
    calls_on(2);
    calls_on(16);
}

static void test_many_empty(void **state)
{
    enum { N = 1000000 };
    aur_pool *pool = pool_of(2);
    aur_future **futures = calloc(N, sizeof(*futures));

    (void)state;
    assert_non_null(futures);
    for (int i = 0; i < N; i++) {
        AURT_OK(aur_apply_async(pool, &futures[i], empty, i));
    }
    for (int i = 0; i < N; i++) {
        int v = -1;
        AURT_OK(aur_future_result(futures[i], &v, AUR_NO_DEADLINE));
        if (v != i) {
            fail_msg("task %d gave %d", i, v);
        }
        aur_future_unref(futures[i]);
    }
    free(futures);
    aur_stats stats = { .size = sizeof(stats) };
    AURT_OK(aur_pool_join(pool, AUR_NO_DEADLINE));
    AURT_OK(aur_pool_stats(pool, &stats));
    assert_int_equal(stats.done, N);
    assert_int_equal(stats.workers, 0);
    aur_pool_unref(pool);
}

static void test_sizes(void **state)
{
    aur_pool *pool = pool_of(2);
    struct middle m, n;
    static struct big b, c;

    (void)state;
    for (int round = 0; round < 300; round++) {
        for (int i = 0; i < 40; i++) {
            m.bytes[i] = (unsigned char)(i + round);
        }
        AURT_OK(aur_apply(pool, &n, turn, m));
        for (int i = 0; i < 40; i++) {
            assert_int_equal(n.bytes[i], (unsigned char)(39 - i + round));
        }
        memset(b.bytes, round, sizeof(b.bytes));
        AURT_OK(aur_apply(pool, &c, flip, b));
        assert_int_equal(c.bytes[0], (unsigned char)~round);
        assert_int_equal(c.bytes[sizeof(c.bytes) - 1], (unsigned char)~round);
    }
    end(pool);
}

static void test_bytes(void **state)
{
    static const size_t sizes[] = { 0, 1, 31, 32, 33, 48, 49, 4096, 100000, (size_t)64 << 20 };
    aur_pool *pool = pool_of(2);

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        size_t n = sizes[i];
        unsigned char *in = malloc(n + 1);
        const void *view = NULL;
        size_t size = 99;
        aur_future *future = NULL;
        assert_non_null(in);
        memset(in, 0x5a, n);
        AURT_OK(aur_apply_bytes(pool, &future, invert, in, n));
        AURT_OK(aur_future_view(future, &view, &size, AUR_NO_DEADLINE));
        assert_int_equal(size, n);
        memset(in, 0xa5, n);
        assert_int_equal(memcmp(in, view, n), 0);
        aur_future_unref(future);
        free(in);
    }
    end(pool);
}

static aur_err refuse(const void *in, size_t size, aur_out *out)
{
    (void)in;
    (void)out;
    return size != 0 ? AUR_EINVAL : AUR_OK;
}
AUR_BYTES_FN(refuse);

/* Arguments that lie in the arena go back to it when the task fails, too. */
static void test_large_failures(void **state)
{
    static unsigned char in[100000];
    aur_pool *pool = pool_of(2);

    (void)state;
    for (int round = 0; round < 50; round++) {
        aur_future *future = NULL;
        AURT_OK(aur_apply_bytes(pool, &future, refuse, in, sizeof(in)));
        AURT_ERR(AUR_EINVAL, aur_future_outcome(future, AUR_NO_DEADLINE));
        aur_future_unref(future);
    }
    end(pool);
}

/* More than the memory of any machine: refused before a byte is read. */
static void test_beyond_memory(void **state)
{
    aur_pool *pool = pool_of(1);
    aur_future *future = NULL;
    int v = 0;

    (void)state;
    AURT_ERR(AUR_ENOMEM, aur_apply_bytes(pool, &future, invert, "x", (size_t)1 << 46));
    assert_null(future);
    AURT_OK(aur_apply(pool, &v, die, DIE_NOT)); /* and the pool goes on */
    end(pool);
}

/* A view stays readable after its worker and its pool are gone. */
static void test_view_outlives(void **state)
{
    aur_pool *pool = pool_of(1);
    unsigned char in[5000];
    const void *view = NULL;
    size_t size = 0;
    int v;
    aur_future *future = NULL;

    (void)state;
    memset(in, 1, sizeof(in));
    AURT_OK(aur_apply_bytes(pool, &future, invert, in, sizeof(in)));
    AURT_OK(aur_future_view(future, &view, &size, AUR_NO_DEADLINE));
    AURT_ERR(AUR_EWORKER, aur_apply(pool, &v, die, DIE_KILL));
    for (int i = 0; i < 20; i++) { /* the successor must not write there */
        aur_future *other = NULL;
        AURT_OK(aur_apply_bytes(pool, &other, invert, "abc", 3));
        AURT_OK(aur_future_wait(other, AUR_NO_DEADLINE));
        aur_future_unref(other);
    }
    end(pool);
    assert_int_equal(size, sizeof(in));
    for (size_t i = 0; i < size; i++) {
        assert_int_equal(((const unsigned char *)view)[i], 0xfe);
    }
    aur_future_unref(future);
}

static void test_failures(void **state)
{
    aur_pool *pool = pool_of(2);
    int v = 5;

    (void)state;
    AURT_ERR(AUR_ETASK, aur_apply(pool, &v, fails, 42));
    assert_int_equal(v, 5);
    const aur_error *error = aur_last_error();
    assert_non_null(error);
    assert_int_equal(error->code, 42);
    assert_string_equal(error->message, "code is 42");
    assert_string_equal(error->function, "fails");
    assert_non_null(strstr(error->site, "engine_test.c"));
    assert_true(error->pid > 0 && error->pid != getpid());
    assert_int_equal(error->attempts, 1);
    end(pool);
}

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
    end(pool);
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
    end(pool);
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
    end(pool);
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
    end(pool);
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
    end(pool);
}

/* ---- cancel -------------------------------------------------------------------------------- */

static void test_cancel(void **state)
{
    aur_options opts = AUR_OPTIONS_INIT;
    struct words *words;
    aur_future *futures[400];
    int what = 0, v = 0;

    (void)state;
    aur_pool *pool = pool_with(1, opts);
    aur_buf *buf = words_new(pool, &words);
    for (int i = 0; i < 50; i++) { /* so that many are sent ahead */
        AURT_OK(aur_apply(pool, &v, counts, aur_buf_id(buf)));
    }
    atomic_store(&words->runs, 0);
    AURT_OK(aur_apply_async(pool, &futures[0], wait_go, aur_buf_id(buf)));
    for (int i = 1; i < 400; i++) {
        AURT_OK(aur_apply_async(pool, &futures[i], counts, aur_buf_id(buf)));
    }
    aurt_event_wait(&words->begun);
    for (int i = 1; i < 400; i += 2) { /* some of them dispatched, some queued */
        AURT_OK(aur_future_cancel(futures[i], &what));
        assert_int_equal(what, AUR_CANCEL_DROPPED);
    }
    AURT_OK(aur_future_cancel(futures[0], &what));
    assert_int_equal(what, AUR_CANCEL_KILLED);
    AURT_ERR(AUR_ECANCELED, aur_future_outcome(futures[0], AUR_NO_DEADLINE));
    for (int i = 1; i < 400; i++) {
        if (i % 2 == 1) {
            AURT_ERR(AUR_ECANCELED, aur_future_outcome(futures[i], AUR_NO_DEADLINE));
        } else {
            AURT_OK(aur_future_outcome(futures[i], AUR_NO_DEADLINE));
        }
    }
    assert_int_equal(atomic_load(&words->runs), 1 + 199); /* each of the others once */
    AURT_OK(aur_future_cancel(futures[2], &what));
    assert_int_equal(what, AUR_CANCEL_TOO_LATE);
    for (int i = 0; i < 400; i++) {
        aur_future_unref(futures[i]);
    }
    aur_buf_unref(buf);
    end(pool);
}

static void test_terminate(void **state)
{
    struct words *words;
    aur_future *futures[300];

    (void)state;
    aur_pool *pool = pool_of(2);
    aur_buf *buf = words_new(pool, &words);
    for (int i = 0; i < 300; i++) {
        AURT_OK(aur_apply_async(pool, &futures[i], wait_go, aur_buf_id(buf)));
    }
    aurt_event_wait(&words->begun);
    AURT_OK(aur_pool_terminate(pool));
    for (int i = 0; i < 300; i++) {
        AURT_ERR(AUR_ECANCELED, aur_future_outcome(futures[i], AUR_NO_DEADLINE));
        aur_future_unref(futures[i]);
    }
    aur_buf_unref(buf);
    end(pool);
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
    end(pool);
}

/* ---- queue limit --------------------------------------------------------------------------- */

static void test_queue_limit(void **state)
{
    aur_options opts = AUR_OPTIONS_INIT;
    struct words *words;
    aur_future *futures[4];
    int v = 0;

    (void)state;
    opts.queue_max = 2;
    opts.queue_policy = AUR_QUEUE_FAIL;
    aur_pool *pool = pool_with(1, opts);
    aur_buf *buf = words_new(pool, &words);
    AURT_OK(aur_apply_async(pool, &futures[0], wait_go, aur_buf_id(buf)));
    aurt_event_wait(&words->begun);
    AURT_OK(aur_apply_async(pool, &futures[1], add, 1, 1));
    AURT_OK(aur_apply_async(pool, &futures[2], add, 2, 2));
    AURT_ERR(AUR_EBUSY, aur_apply_async(pool, &futures[3], add, 3, 3));
    aurt_event_set(&words->go);
    for (int i = 0; i < 3; i++) {
        AURT_OK(aur_future_result(futures[i], &v, AUR_NO_DEADLINE));
        aur_future_unref(futures[i]);
    }
    assert_int_equal(v, 4);
    aur_buf_unref(buf);
    end(pool);

    opts.queue_policy = AUR_QUEUE_BLOCK;
    pool = pool_with(2, opts);
    for (int i = 0; i < 5000; i++) {
        AURT_OK(aur_apply_async(pool, NULL, add, i, i));
    }
    aur_stats stats = { .size = sizeof(stats) };
    AURT_OK(aur_pool_join(pool, AUR_NO_DEADLINE));
    AURT_OK(aur_pool_stats(pool, &stats));
    assert_int_equal(stats.done, 5000);
    aur_pool_unref(pool);
}

/* ---- noticing without waiting ----------------------------------------------------------------- */

static void set_event(void *ctx, aur_future *future)
{
    (void)future;
    aurt_event_set(ctx);
}

static void test_on_done(void **state)
{
    aur_pool *pool = pool_of(2);

    (void)state;
    for (int i = 0; i < 300; i++) {
        aurt_event event = { 0 };
        aur_future *future = NULL;
        AURT_OK(aur_apply_async(pool, &future, add, i, 1));
        AURT_OK(aur_future_on_done(future, set_event, &event));
        aurt_event_wait(&event); /* no thread looks after the rings but the guardian */
        assert_true(aur_future_done(future));
        aur_future_unref(future);
    }
    end(pool);
}

struct waiter {
    aur_pool *pool;
    int from;
    int bad;
};

static void *waiter_main(void *arg)
{
    struct waiter *waiter = arg;

    for (int i = 0; i < 3000; i++) {
        int v = 0;
        waiter->bad += aur_apply(waiter->pool, &v, add, waiter->from, i) != AUR_OK;
        waiter->bad += v != waiter->from + i;
    }
    return NULL;
}

/* Leadership goes from thread to thread. */
static void test_many_waiters(void **state)
{
    enum { N = 6 };
    aur_pool *pool = pool_of(2);
    struct waiter waiters[N];
    pthread_t threads[N];

    (void)state;
    for (int i = 0; i < N; i++) {
        waiters[i] = (struct waiter){ pool, i * 100000, 0 };
        assert_int_equal(pthread_create(&threads[i], NULL, waiter_main, &waiters[i]), 0);
    }
    for (int i = 0; i < N; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(waiters[i].bad, 0);
    }
    end(pool);
}

/* ---- nothing is left ----------------------------------------------------------------------- */

static void test_nothing_left(void **state)
{
    int v = 0;

    (void)state;
    calls_on(2); /* what the process makes once is made */
    size_t fds = aurt_fd_count();
    size_t threads = aurt_thread_count();
    size_t maps = aurt_map_count();
    size_t shm = aurt_dir_count_("/dev/shm");
    for (int i = 0; i < 5; i++) {
        aur_pool *pool = pool_of(3);
        for (int j = 0; j < 20; j++) {
            AURT_OK(aur_apply(pool, &v, add, i, j));
        }
        AURT_ERR(AUR_EWORKER, aur_apply(pool, &v, die, DIE_KILL));
        assert_int_equal(aurt_dir_count_("/dev/shm"), shm);
        AURT_OK(aur_pool_join(pool, AUR_NO_DEADLINE));
        aurt_threads_settle(threads);
        assert_int_equal(aurt_fd_count(), fds);
        assert_int_equal(aurt_child_count(), 0);
        aur_pool_unref(pool);
    }
    assert_true(aurt_map_count() <= maps + 3);
}

/* The last unref ends everything by itself. */
static void test_unref_only(void **state)
{
    (void)state;
    size_t fds = aurt_fd_count();
    size_t threads = aurt_thread_count();
    aur_future *future = NULL;
    int v = 0;

    aur_pool *pool = pool_of(2);
    AURT_OK(aur_apply_async(pool, &future, add, 3, 4));
    aur_pool_unref(pool);
    AURT_OK(aur_future_result(future, &v, AUR_NO_DEADLINE));
    assert_int_equal(v, 7);
    aur_future_unref(future);
    aurt_threads_settle(threads);
    while (aurt_fd_count() > fds) {
        sched_yield();
    }
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
    end(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calls),          cmocka_unit_test(test_many_empty),
        cmocka_unit_test(test_sizes),          cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_large_failures), cmocka_unit_test(test_beyond_memory),
        cmocka_unit_test(test_view_outlives),  cmocka_unit_test(test_failures),
        cmocka_unit_test(test_deaths),         cmocka_unit_test(test_retries),
        cmocka_unit_test(test_time_limit),     cmocka_unit_test(test_renewal),
        cmocka_unit_test(test_broken),         cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_terminate),      cmocka_unit_test(test_queue_limit),
        cmocka_unit_test(test_stuck),          cmocka_unit_test(test_on_done),
        cmocka_unit_test(test_many_waiters),   cmocka_unit_test(test_nothing_left),
        cmocka_unit_test(test_unref_only),     cmocka_unit_test(test_spawn),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
